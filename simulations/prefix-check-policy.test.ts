/** Whatever happens to policies, every op of the real machines' plans lets through and stops what it did before or does after. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ClusterEvent, KubeObject } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import type { TableName } from '../state/tables.ts';
import { lookup, meaning } from './packet-model/policy.ts';
import { type AnyRow, ModelTables, type Packet, type Place } from './packet-model.ts';
import { identityObject, PolicyWorld, peers, podObject, subject } from './policies.ts';
import { checkPrefixes, type Flow } from './prefix-check.ts';

const tables = ['bpf.policy-maps', 'bpf.policy', 'bpf.ipcache', 'bpf.endpoints'] as const satisfies TableName[];
const NODE = '192.168.7.1';
const addresses: Record<string, number> = {
  '10.0.0.3': peers.client,
  '10.0.1.2': peers.other,
  [NODE]: 1,
  '192.168.7.2': 6,
};
const outside = ['198.51.7.7', '198.51.100.9', '198.51.100.5', '203.0.113.9'];
const probes = [
  { proto: 6, dport: 80 },
  { proto: 6, dport: 81 },
  { proto: 6, dport: 8005 },
  { proto: 17, dport: 53 },
  { proto: 132, dport: 80 },
  { proto: 1, dport: 0, icmpType: 8, icmpCode: 0 },
];

/** What others wrote. */
const around: AnyRow[] = [
  { table: 'bpf.netdevs', key: 'eth0', value: {} },
  ...Object.entries(addresses).map(
    ([address, identity]): AnyRow => ({ table: 'bpf.ipcache', key: `${address}/32`, value: { identity } }),
  ),
];

const flows: Flow[] = [...Object.keys(addresses), ...outside].flatMap((peer) =>
  probes.flatMap((probe): Flow[] => {
    const packet = (from: string, to: string): Packet => ({ from, to, sport: 4000, ttl: 64, tcpFlags: 2, ...probe });
    const inward: Place =
      peer === NODE ? { program: 'to_endpoint', link: 'lxca' } : { program: 'from_netdev', link: 'eth0' };
    return [
      { place: { program: 'from_endpoint', link: 'lxca' }, packet: packet(subject.ipv4, peer) },
      { place: inward, packet: packet(peer, subject.ipv4) },
    ];
  }),
);

type Side = 'ingress' | 'egress' | 'ingressDeny' | 'egressDeny';

const peer: fc.Arbitrary<object> = fc.constantFrom<object>(
  {},
  { endpoints: [{ matchLabels: { app: 'client' } }] },
  { endpoints: [{ matchLabels: { app: 'other' } }] },
  { endpoints: [{}] },
  { entities: ['world'] },
  { entities: ['host'] },
  { entities: ['cluster'] },
  { entities: ['all'] },
  { CIDR: ['198.51.0.0/16'] },
  { CIDR: ['198.51.100.5/32'] },
  { CIDRSet: [{ cidr: '198.51.0.0/16', except: ['198.51.100.0/24'] }] },
  { CIDRSet: [{ cidr: '0.0.0.0/0', except: ['198.51.100.5/32'] }] },
);
const ports: fc.Arbitrary<object> = fc.constantFrom<object>(
  {},
  { toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] },
  { toPorts: [{ ports: [{ port: '80' }] }] },
  { toPorts: [{ ports: [{ port: '8000', endPort: 8009, protocol: 'TCP' }] }] },
  { toPorts: [{ ports: [{ port: '53', protocol: 'UDP' }] }] },
  { toPorts: [{ ports: [{ port: '0', protocol: 'TCP' }] }] },
  { icmps: [{ fields: [{ type: 8, family: 'IPv4' }] }] },
);
const rule = fc.tuple(fc.constantFrom<Side>('ingress', 'egress', 'ingressDeny', 'egressDeny'), peer, ports);
const spec = fc.array(rule, { minLength: 1, maxLength: 3 }).map((rules) => {
  const found: Record<string, unknown> = {};
  for (const [side, to, on] of rules) {
    const word = side.startsWith('ingress') ? 'from' : 'to';
    const members = Object.entries(to).map(([key, value]) => [`${word}${key[0]?.toUpperCase()}${key.slice(1)}`, value]);
    const element = { ...Object.fromEntries(members), ...on };
    found[side] = [...((found[side] as object[] | undefined) ?? []), element];
  }
  return found;
});
const selector = fc.constantFrom<object>(
  { matchLabels: { app: 'web' } },
  { matchLabels: { app: 'web' } },
  {},
  { matchLabels: { app: 'web2' } },
);

type Change =
  /** A policy of this number changes, or goes. */
  | { policy: number; spec: object | undefined }
  /** The pod gets other labels, and with them another identity. */
  | { app: 'web' | 'web2' }
  /** Some pods elsewhere come, or are gone for good. */
  | { peer: keyof typeof peers; isThere: boolean };
const change: fc.Arbitrary<Change> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(fc.nat(2), fc.option(spec, { freq: 5, nil: undefined }), selector)
      .map(([policy, rules, endpointSelector]) => ({ policy, spec: rules && { endpointSelector, ...rules } })),
  },
  { weight: 1, arbitrary: fc.record({ app: fc.constantFrom('web', 'web2') }) },
  { weight: 1, arbitrary: fc.record({ peer: fc.constantFrom('client', 'other'), isThere: fc.boolean() }) },
);

function policyObject(number: number, specOf: object, generation: number): KubeObject {
  const metadata = { name: `p${number}`, namespace: 'demo', uid: `p${number}`, generation };
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: metadata as KubeObject['metadata'],
    spec: specOf,
  };
}

interface Played {
  violations: string[];
  ops: number;
}

class Player {
  readonly world = new PolicyWorld();
  readonly #live = new Map<number, KubeObject>();
  #generation = 0;

  /** Undefined: nothing happens. */
  event(one: Change): ClusterEvent | undefined {
    if ('app' in one) return { type: 'kube.upserted', resource: 'pods', object: podObject(one.app) };
    if ('peer' in one) {
      const object = identityObject(peers[one.peer], one.peer);
      return { type: one.isThere ? 'kube.upserted' : 'kube.deleted', resource: 'ciliumidentities', object };
    }
    const { policy, spec: specOf } = one;
    const object = specOf ? policyObject(policy, specOf, ++this.#generation) : this.#live.get(policy);
    if (!object) return undefined;
    if (specOf) this.#live.set(policy, object);
    else this.#live.delete(policy);
    return { type: specOf ? 'kube.upserted' : 'kube.deleted', resource: 'ciliumnetworkpolicies', object };
  }

  /** Rows before, and the ops in their order. */
  play(one: Change): { before: AnyRow[]; ops: Op[] } {
    const before = [...around, ...this.world.rows(tables)];
    const event = this.event(one);
    const done = event ? this.world.say(event) : [];
    return { before, ops: done.filter(({ table }) => (tables as readonly string[]).includes(table)) };
  }
}

function play(changes: readonly Change[]): Played {
  const player = new Player();
  const played: Played = { violations: [], ops: 0 };
  for (const one of changes) {
    const { before, ops } = player.play(one);
    played.ops += ops.length;
    played.violations.push(...checkPrefixes(before, [{ table: 'bpf.policy', action: 'put', ops }], flows));
    played.violations.push(...ambiguities(player.world));
  }
  return played;
}

/** What a policy map answers must be what its entries mean. */
function ambiguities(world: PolicyWorld): string[] {
  const now = new ModelTables([...around, ...world.rows(tables)]);
  const identities = new Set([0, 9, ...now.identities.values(), ...Object.values(addresses)]);
  const found: string[] = [];
  for (const identity of identities) {
    for (const { proto, dport, icmpType } of probes) {
      for (const direction of ['ingress', 'egress'] as const) {
        const question = { endpoint: subject.endpointId, direction, identity, proto, port: icmpType ?? dport };
        const [answered, meant] = [lookup(now, question, true).reason, meaning(now, question, true).reason];
        if (answered !== meant)
          found.push(
            `ambiguous: ${JSON.stringify(question)} is answered ${answered ?? 'allowed'}, meant ${meant ?? 'allowed'}`,
          );
      }
    }
  }
  return found;
}

it('policies change safely at every op', () => {
  let all = 0;
  fc.assert(
    fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
      const { violations, ops } = play(changes);
      expect(violations).toEqual([]);
      all += ops;
    }),
    { numRuns: 60 },
  );
  expect(all).toBeGreaterThan(200);
}, 60_000);

it('a change whose ops come the other way round is found out', () => {
  const player = new Player();
  const web = { endpointSelector: { matchLabels: { app: 'web' } } };
  const toOne = { toCIDR: ['198.51.100.5/32'] };
  player.play({ policy: 0, spec: { ...web, egress: [{ toEntities: ['all'] }], egressDeny: [toOne] } });
  const dns = { toEntities: ['all'], toPorts: [{ ports: [{ port: '53', protocol: 'UDP' }] }] };
  const { before, ops } = player.play({ policy: 0, spec: { ...web, egress: [dns] } });
  const found = checkPrefixes(before, [{ table: 'bpf.policy', action: 'put', ops: ops.toReversed() }], flows);
  expect(found.map((line) => line.split(':')[0])).toContain('leakless');
});
