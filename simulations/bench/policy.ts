/**
 * What policy costs: resolving 5,000 policies over 20,000 identities for 110 endpoints, then one change after another; and packets.
 *
 * - Times are of the pure resolver, from a change to the entries of all touched groups; `policy-live.ts` goes on to the map.
 * - `--small` is a hundredth, for seeing that it works.
 */

import { execFileSync } from 'node:child_process';
import type { Change } from '../../policy/change.ts';
import { apply, emptyPolicyState, entries, type PolicyState } from '../../policy/resolver.ts';
import {
  at,
  concerned,
  ENDPOINTS,
  endpointIds,
  labelsOf,
  newLabels,
  otherVersion,
  policyOf,
  ROUNDS,
  subjectOf,
} from './policy-cluster.ts';
import { cases, measurePackets } from './policy-packets.ts';

const scale = process.argv.includes('--small') ? 0.01 : 1;
interface Size {
  policies: number;
  identities: number;
}

const identityOf = (i: number): Change => ({
  type: 'identity.upserted',
  identity: { identity: 1_000 + i, labels: labelsOf(i) },
});

function measure({ policies, identities }: Size): Record<string, string | number> {
  const start = emptyPolicyState({
    enforcement: 'default',
    allowLocalhost: true,
    audit: false,
    clusterName: 'default',
  });
  const changes: Change[] = [
    ...Array.from({ length: identities }, (_, i) => identityOf(i)),
    ...endpointIds.map((endpointId): Change => {
      const i = subjectOf(endpointId, identities);
      return {
        type: 'subject.upserted',
        subject: { endpointId, identity: 1_000 + i, labels: labelsOf(i), namedPorts: [], host: false },
      };
    }),
    ...Array.from({ length: policies }, (_, i): Change => ({ type: 'policy.upserted', policy: policyOf(i) })),
  ];
  const rssBefore = process.memoryUsage().rss;
  const began = performance.now();
  let { state, touched } = apply(start, changes);
  let total = entriesTouched(state, touched.groups);
  const initialMs = performance.now() - began;
  const initialEntries = total;
  globalThis.gc?.();
  const rssMiB = (process.memoryUsage().rss - rssBefore) / 2 ** 20;
  const step = (change: Change): number => {
    const at = performance.now();
    ({ state, touched } = apply(state, [change]));
    total += entriesTouched(state, touched.groups);
    return performance.now() - at;
  };
  // What concerns nobody here costs next to nothing: only what does is measured.
  const identityMs = Array.from({ length: ROUNDS }, (_, i) =>
    step({ type: 'identity.upserted', identity: { identity: 1_000_000 + i, labels: newLabels(i, identities) } }),
  );
  const here = concerned(policies, identities);
  const policyMs = Array.from({ length: ROUNDS }, (_, i) => {
    const one = here[i % here.length] ?? 0;
    const { key } = policyOf(one);
    return step({ type: 'policy.upserted', policy: { ...policyOf(otherVersion(one, i)), key } });
  });
  return {
    policies,
    identities,
    'initial ms': Math.round(initialMs),
    'entries an endpoint': Math.round(initialEntries / ENDPOINTS),
    'identity p50 ms': at(identityMs, 0.5),
    'identity p99 ms': at(identityMs, 0.99),
    'policy p50 ms': at(policyMs, 0.5),
    'policy p99 ms': at(policyMs, 0.99),
    'RSS MiB': Math.round(rssMiB),
  };
}

function entriesTouched(state: PolicyState, groups: ReadonlyMap<number, ReadonlySet<number>>): number {
  let count = 0;
  for (const [endpointId, identities] of groups)
    for (const identity of identities) count += entries(state, endpointId, identity).length;
  return count;
}

const full: Size = { policies: 5_000 * scale, identities: 20_000 * scale };
const sizes = [
  { policies: full.policies / 10, identities: full.identities / 10 },
  { policies: full.policies, identities: full.identities / 10 },
  { policies: full.policies / 10, identities: full.identities },
  full,
];
console.log(`resolver, ${ENDPOINTS} endpoints; a change is one identity, or one policy replaced by another`);
console.table(sizes.map(measure));
execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
console.log('packets, ns by test run: two bare look-ups in a map of that size, then what policy adds to a packet');
console.table(
  (await measurePackets([10, 10_000])).map(({ entries: size, lookups, over }) => ({
    entries: size,
    'two look-ups': lookups,
    ...Object.fromEntries(cases.flatMap((one) => (one === 'none' ? [] : [[one, over[one]]]))),
  })),
);
