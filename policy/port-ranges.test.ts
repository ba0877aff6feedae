/**
 * Denied and allowed ranges of ports that overlap, to reserved identities, to CIDRs and to anybody, in any order of coming and going: a
 * port is denied where any range denies it, and otherwise allowed where any allows it. Maps get only the groups that are said to be touched.
 */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { config, lookupIn, object, parsed, podLabels, reservedIdentities } from '../simulations/policy-fixtures.ts';
import type { Change, PolicyEntry, VerdictQuestion } from './change.ts';
import { apply, cidrIdentityLabels, emptyPolicyState, entries } from './resolver.ts';
import { type Direction, directions, type ProtocolName, policyKey } from './rule.ts';
import { verdictOf } from './verdict.ts';

const ENDPOINT = 7;
const CIDR_IDENTITY = 16_777_217;
const peers = {
  host: [1],
  'remote-node': [6, 7],
  'kube-apiserver': [7],
  world: [9, 10, CIDR_IDENTITY],
  '198.51.100.0/24': [CIDR_IDENTITY],
  all: [1, 6, 7, 9, 10, CIDR_IDENTITY, 999],
} as const;
type PeerName = keyof typeof peers;
const identities = [...new Set(Object.values(peers).flat())];

interface Range {
  peer: PeerName;
  deny: boolean;
  direction: Direction;
  protocol: 'TCP' | 'UDP' | 'SCTP' | 'ANY';
  first: number;
  last: number;
}
const edges = fc.oneof(
  fc.constantFrom(1, 80, 443, 444, 1023, 1024, 7999, 8000, 8191, 8192, 32_767, 32_768, 65_534, 65_535),
  fc.integer({ min: 1, max: 65_535 }),
);
const range: fc.Arbitrary<Range> = fc
  .record({
    peer: fc.constantFrom(...(Object.keys(peers) as PeerName[])),
    deny: fc.boolean(),
    direction: fc.constantFrom(...directions),
    protocol: fc.constantFrom('TCP' as const, 'TCP' as const, 'UDP' as const, 'ANY' as const),
    ends: fc.tuple(edges, edges),
  })
  .map(({ ends: [a, b], ...rest }) => ({ ...rest, first: Math.min(a, b), last: Math.max(a, b) }));

function elementOf({ peer, direction, protocol, first, last }: Range): object {
  const side = direction === 'ingress' ? 'from' : 'to';
  const who = peer.includes('/') ? { [`${side}CIDR`]: [peer] } : { [`${side}Entities`]: [peer] };
  return { ...who, toPorts: [{ ports: [{ port: String(first), endPort: last, protocol }] }] };
}

const policyOf = (name: string, ranges: readonly Range[]) => {
  const section = (direction: Direction, deny: boolean) =>
    ranges.filter((one) => one.direction === direction && one.deny === deny).map(elementOf);
  const spec = {
    endpointSelector: {},
    ...{ ingress: section('ingress', false), ingressDeny: section('ingress', true) },
    ...{ egress: section('egress', false), egressDeny: section('egress', true) },
  };
  return parsed(object('CiliumNetworkPolicy', name, 'x', { spec }));
};

/** Enforced both ways, so that what is not allowed is denied; or everything allowed. */
const base = (rules: readonly object[]) =>
  parsed(
    object('NetworkPolicy', 'base', 'x', {
      spec: { podSelector: {}, policyTypes: ['Ingress', 'Egress'], ingress: rules, egress: rules },
    }),
  );
const bare = base([]);
const open = base([{}]);
const start: Change[] = [
  ...reservedIdentities.map((identity): Change => ({ type: 'identity.upserted', identity })),
  {
    type: 'identity.upserted',
    identity: { identity: CIDR_IDENTITY, labels: cidrIdentityLabels('198.51.100.0/24') },
  },
  {
    type: 'subject.upserted',
    subject: { endpointId: ENDPOINT, identity: 300, labels: podLabels('x', {}), namedPorts: [], host: false },
  },
];
const names = ['p', 'q', 'r'];
const steps = fc.array(fc.tuple(fc.constantFrom(...names), fc.array(range, { maxLength: 3 })), {
  minLength: 1,
  maxLength: 6,
});

/** As maps have it: only touched groups are written. */
class Maps {
  readonly #groups = new Map<number, readonly PolicyEntry[]>();
  #state = emptyPolicyState({ ...config, enforcement: 'default', allowLocalhost: false });

  take(changes: readonly Change[]): void {
    const { state, touched } = apply(this.#state, changes);
    this.#state = state;
    for (const identity of touched.groups.get(ENDPOINT) ?? [])
      this.#groups.set(identity, entries(state, ENDPOINT, identity));
  }

  ask(question: VerdictQuestion): string[] {
    const byMap = lookupIn((identity) => this.#groups.get(identity) ?? [], question);
    return [byMap === 'none' ? 'denied' : byMap, verdictOf(this.#state, question).verdict];
  }
}

const changeTo = (name: string, ranges: readonly Range[]): Change =>
  ranges.length > 0
    ? { type: 'policy.upserted', policy: policyOf(name, ranges) }
    : { type: 'policy.removed', key: policyKey('CiliumNetworkPolicy', 'x', name) };

const isOver = ({ protocol }: Range, asked: ProtocolName): boolean => protocol === 'ANY' || protocol === asked;

function meaning(ranges: readonly Range[], { direction, identity, protocol, port }: VerdictQuestion): string {
  const hits = ranges.filter(
    (one) =>
      one.direction === direction &&
      (peers[one.peer] as readonly number[]).includes(identity) &&
      isOver(one, protocol) &&
      port >= one.first &&
      port <= one.last,
  );
  return hits.length > 0 && hits.every(({ deny }) => !deny) ? 'allowed' : 'denied';
}

function check(said: readonly (readonly [string, readonly Range[]])[], from = bare): void {
  const maps = new Maps();
  maps.take([...start, { type: 'policy.upserted', policy: from }]);
  const inForce = new Map<string, readonly Range[]>();
  for (const [name, ranges] of said) {
    inForce.set(name, ranges);
    maps.take([changeTo(name, ranges)]);
    if (from !== bare) maps.take([{ type: 'policy.upserted', policy: bare }]);
    const all = [...inForce.values()].flat();
    const ports = new Set(all.flatMap(({ first, last }) => [first - 1, first, first + 1, last - 1, last, last + 1]));
    for (const port of ports) {
      if (port < 1 || port > 65_535) continue;
      for (const direction of directions) {
        for (const identity of identities) {
          for (const protocol of ['TCP', 'UDP'] as const) {
            const question = { endpointId: ENDPOINT, direction, identity, protocol, port };
            const right = meaning(all, question);
            expect(maps.ask(question), JSON.stringify([question, all])).toEqual([right, right]);
          }
        }
      }
    }
  }
}

test('mean what they say', () => {
  fc.assert(
    fc.property(steps, (said) => check(said)),
    { numRuns: 150 },
  );
});

test('mean it too where everything was allowed before', () => {
  fc.assert(
    fc.property(steps, (said) => check(said, open)),
    { numRuns: 50 },
  );
});

test('a denial of 443-65535 to the host beats an allowance of 8000-65535, whichever comes first and however often', () => {
  const wide = { direction: 'egress' as const, protocol: 'ANY' as const, last: 65_535 };
  for (const peer of Object.keys(peers) as PeerName[]) {
    const denial: Range = { ...wide, peer: 'host', deny: true, first: 443 };
    const allowance: Range = { ...wide, peer, deny: false, first: 8000 };
    check([
      ['p', [denial]],
      ['q', [allowance]],
    ]);
    check([
      ['q', [allowance]],
      ['p', [denial]],
      ['q', []],
      ['q', [allowance]],
    ]);
    check([['p', [denial, allowance]]]);
  }
});
