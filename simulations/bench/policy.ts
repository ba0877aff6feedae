/**
 * What policy costs: resolving 5,000 policies over 20,000 identities for 110 endpoints, then one change after another; and packets.
 *
 * - Times are of the pure resolver, from a change to the entries of all touched groups; writing them to a map is `policy-packets.ts`' kernel's.
 * - `--small` is a hundredth, for seeing that it works.
 */

import { execFileSync } from 'node:child_process';
import type { Change } from '../../policy/change.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { apply, emptyPolicyState, entries, type PolicyState } from '../../policy/resolver.ts';
import type { Policy } from '../../policy/rule.ts';
import { cases, measurePackets } from './policy-packets.ts';

const scale = process.argv.includes('--small') ? 0.01 : 1;
const NAMESPACES = 100;
const APPS = 50;
const ENDPOINTS = 110;
const ROUNDS = 1_000;

interface Size {
  policies: number;
  identities: number;
}

const labelsOf = (i: number): Record<string, string> => ({
  'k8s:app': `app-${i % APPS}`,
  'k8s:version': `v${Math.floor(i / (APPS * NAMESPACES))}`,
  'k8s:io.kubernetes.pod.namespace': `ns-${Math.floor(i / APPS) % NAMESPACES}`,
  'k8s:io.cilium.k8s.namespace.labels.team': `team-${Math.floor(i / APPS) % 10}`,
  'k8s:io.cilium.k8s.policy.cluster': 'default',
});
const identityOf = (i: number): Change => ({
  type: 'identity.upserted',
  identity: { identity: 1_000 + i, labels: labelsOf(i) },
});

/** Mostly of one app in one namespace; some open a namespace, some a team's, some name networks, some deny. */
function policyOf(i: number): Policy {
  const namespace = `ns-${i % NAMESPACES}`;
  const app = Math.floor(i / NAMESPACES) % APPS;
  const port = String(1_024 + (i % 500));
  const ports = [{ ports: [{ port, protocol: 'TCP' }] }];
  const peer = { matchLabels: { app: `app-${(app + 1 + (i % 7)) % APPS}` } };
  const rules = [
    { ingress: [{ fromEndpoints: [peer], toPorts: ports }] },
    { ingress: [{ fromEndpoints: [{}] }], egress: [{ toEndpoints: [peer] }] },
    {
      ingress: [
        {
          fromEndpoints: [
            { matchLabels: { 'k8s:io.cilium.k8s.namespace.labels.team': `team-${i % 10}`, app: `app-${app}` } },
          ],
          toPorts: ports,
        },
      ],
    },
    { egress: [{ toCIDR: [`10.${i % 250}.0.0/16`], toPorts: ports }, { toEntities: ['kube-apiserver'] }] },
    {
      ingress: [
        {
          fromEntities: ['world', 'host'],
          toPorts: [{ ports: [{ port, endPort: Number(port) + 77, protocol: 'TCP' }] }],
        },
      ],
      ingressDeny: [{ fromEndpoints: [peer] }],
    },
  ];
  const { policy, problems } = parsePolicy({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { namespace, name: `p-${i}` },
    spec: { endpointSelector: { matchLabels: { app: `app-${app}` } }, ...rules[i % rules.length] },
  });
  if (!policy) throw new Error(JSON.stringify(problems));
  return policy;
}

const subjectOf = (endpointId: number, identities: number): number => (endpointId * 181) % identities;
const placeOf = (labels: Record<string, string>): string =>
  `${labels['k8s:io.kubernetes.pod.namespace']}/${labels['k8s:app']}`;
const placeOfPolicy = (i: number): string => `ns-${i % NAMESPACES}/app-${Math.floor(i / NAMESPACES) % APPS}`;

function measure({ policies, identities }: Size): Record<string, string | number> {
  const start = emptyPolicyState({
    enforcement: 'default',
    allowLocalhost: true,
    audit: false,
    clusterName: 'default',
  });
  const endpoints = Array.from({ length: ENDPOINTS }, (_, i) => i + 1);
  const changes: Change[] = [
    ...Array.from({ length: identities }, (_, i) => identityOf(i)),
    ...endpoints.map((endpointId): Change => {
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
  const namespaceStarts = endpoints.map((endpointId) => Math.floor(subjectOf(endpointId, identities) / APPS) * APPS);
  const identityMs = Array.from({ length: ROUNDS }, (_, i) => {
    const labels = labelsOf((namespaceStarts[i % ENDPOINTS] as number) + (i % APPS));
    const identity = { identity: 1_000_000 + i, labels: { ...labels, 'k8s:version': `new-${i}` } };
    return step({ type: 'identity.upserted', identity });
  });
  const selected = new Set(endpoints.map((endpointId) => placeOf(labelsOf(subjectOf(endpointId, identities)))));
  const concerned = Array.from({ length: policies }, (_, i) => i).filter((i) => selected.has(placeOfPolicy(i)));
  const policyMs = Array.from({ length: ROUNDS }, (_, i) => {
    const one = concerned[i % concerned.length] ?? 0;
    const { key } = policyOf(one);
    const changed = policyOf(one + NAMESPACES * APPS * (1 + (i % 3)));
    return step({ type: 'policy.upserted', policy: { ...changed, key } });
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

const at = (values: readonly number[], share: number): number =>
  Math.round((values.toSorted((x, y) => x - y)[Math.floor(values.length * share)] ?? Number.NaN) * 1_000) / 1_000;

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
