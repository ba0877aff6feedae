/**
 * Whatever happens to policies and labels: the machine's own plans never hurt what is allowed, and never let through what is denied.
 * Flows between pods are judged whole, by the policies of both ends.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tables } from '../state/tables.ts';
import type { AnyRow, Packet, Place } from './packet-model.ts';
import { PolicyWorld } from './policy-world.ts';
import { checkPrefixes, type Flow } from './prefix-check.ts';

const pods = ['shop/a', 'shop/b', 'shop/c'];
const outside = ['198.51.7.7', '198.51.100.9', '198.51.100.5', '203.0.113.9', '2001:db8:51::5', '2001:db8:99::1'];
const judged = ['bpf.policy-maps', 'bpf.policy', 'bpf.ipcache', 'bpf.endpoints', 'bpf.netdevs'] as const;

const peers = [
  { toEndpoints: [{ matchLabels: { app: 'a' } }] },
  { toEndpoints: [{ matchLabels: { version: 'v1' } }] },
  { toEndpoints: [{ matchLabels: { version: 'v2' } }] },
  { toEndpoints: [{}] },
  { toCIDR: ['198.51.0.0/16'] },
  { toCIDR: ['198.51.100.0/24'] },
  { toCIDRSet: [{ cidr: '198.51.0.0/16', except: ['198.51.100.5/32'] }] },
  { toCIDR: ['2001:db8:51::/48'] },
  { toEntities: ['world'] },
  { toEntities: ['all'] },
  { toEntities: ['host'] },
  {},
];
const ports = [
  undefined,
  [{ ports: [{ port: '80', protocol: 'TCP' }] }],
  [{ ports: [{ port: '80', endPort: 8100, protocol: 'TCP' }] }],
  [{ ports: [{ port: '53', protocol: 'UDP' }] }],
];
const turned = (peer: object): object =>
  Object.fromEntries(Object.entries(peer).map(([key, value]) => [key.replace(/^to/, 'from'), value]));

const element = fc.tuple(fc.constantFrom(...peers), fc.constantFrom(...ports)).map(([peer, toPorts]) => ({
  peer,
  toPorts: toPorts ?? (Object.keys(peer).length === 0 ? ports[1] : undefined),
}));
const spec = fc
  .record({
    subject: fc.constantFrom({ app: 'a' }, { app: 'b' }, {}, { version: 'v1' }, { version: 'v2' }),
    ingress: fc.option(fc.array(element, { maxLength: 2 })),
    egress: fc.option(fc.array(element, { maxLength: 2 })),
    egressDeny: fc.option(fc.array(element, { minLength: 1, maxLength: 2 })),
  })
  .map(({ subject, ingress, egress, egressDeny }) => {
    const to = (list: readonly { peer: object; toPorts: unknown }[]) =>
      list.map(({ peer, toPorts }) => ({ ...peer, ...(toPorts !== undefined && { toPorts }) }));
    const from = (list: readonly { peer: object; toPorts: unknown }[]) =>
      list.map(({ peer, toPorts }) => ({ ...turned(peer), ...(toPorts !== undefined && { toPorts }) }));
    return {
      endpointSelector: { matchLabels: subject },
      ...(ingress && { ingress: from(ingress) }),
      ...(egress && { egress: to(egress) }),
      ...(egressDeny && { egressDeny: to(egressDeny) }),
      ...(!ingress && !egress && !egressDeny && { ingress: [{}] }),
    };
  });

type Action =
  | { kind: 'policy'; name: string; spec: object }
  | { kind: 'no policy'; name: string }
  | { kind: 'label'; pod: string; version: string };
const action: fc.Arbitrary<Action> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('policy' as const), name: fc.constantFrom('p', 'q'), spec }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('no policy' as const), name: fc.constantFrom('p', 'q') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('label' as const),
      pod: fc.constantFrom(...pods),
      version: fc.constantFrom('v1', 'v2'),
    }),
  },
);

const appOf = (pod: string): string => pod.slice('shop/'.length);

function world(): PolicyWorld {
  const made = new PolicyWorld().start().restored([]).node().synced().namespace('shop');
  for (const pod of pods) made.pod(pod, { app: appOf(pod), version: 'v1' });
  return made;
}

function take(made: PolicyWorld, one: Action): void {
  switch (one.kind) {
    case 'policy':
      made.cnp(`shop/${one.name}`, one.spec);
      break;
    case 'no policy':
      made.delete('ciliumnetworkpolicies', {
        ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumNetworkPolicy' },
        metadata: { namespace: 'shop', name: one.name },
      });
      break;
    case 'label':
      made.label(one.pod, { app: appOf(one.pod), version: one.version });
  }
}

const rowsOf = (made: PolicyWorld): AnyRow[] =>
  judged.flatMap((table) => [...made.engine.actual(table)].map(([key, value]) => ({ table, key, value })));

const asked = [
  { proto: 6, dport: 80 },
  { proto: 6, dport: 8080 },
  { proto: 17, dport: 53 },
];
const isSix = (address: string): boolean => address.includes(':');

/** Between all pods, and between each and the world both ways. */
function flowsOf(made: PolicyWorld): Flow[] {
  const endpoints = Object.entries(made.rows('bpf.endpoints'));
  const inward: Place = { program: 'from_netdev', link: 'eth0' };
  const starts = [
    ...endpoints.map(([from, { link }]) => ({ from, place: { program: 'from_endpoint', link } satisfies Place })),
    ...outside.map((from) => ({ from, place: inward })),
  ];
  const ends = [...endpoints.map(([address]) => address), ...outside];
  return starts.flatMap(({ from, place }) =>
    ends
      .filter((to) => to !== from && isSix(to) === isSix(from) && !(outside.includes(to) && outside.includes(from)))
      .flatMap((to) =>
        asked.map((port): Flow => {
          const packet: Packet = { from, to, sport: 4000, ttl: 64, tcpFlags: 2, ...port };
          return { place, packet };
        }),
      ),
  );
}

/** What is wrong with the plans that the actions cause. */
function wrongs(actions: readonly Action[]): string[] {
  const made = world();
  const found = actions.flatMap((one) => {
    const before = rowsOf(made);
    const flows = flowsOf(made);
    take(made, one);
    const steps = made.steps.filter(({ table }) => tables[table].lane === 'kernel');
    return checkPrefixes(before, steps, flows).map((wrong) => `${JSON.stringify(one)}: ${wrong}`);
  });
  expect(made.engine.machine('policy')?.state).toBe('steady');
  return found;
}

const everybody = { endpointSelector: {} };
const toSome = [{ toCIDR: ['198.51.100.0/24'] }];
const all = [{ toEndpoints: [{}] }];
const fromV1 = [{ fromEndpoints: [{ matchLabels: { version: 'v1' } }] }];

describe('plans of the policy machine', () => {
  it('are safe at every op, over all plans that an event causes', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 6 }), (actions) => {
        expect(wrongs(actions)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  it('close the one end before they open the other', () => {
    const closed = { ...everybody, ingress: all, egress: toSome };
    const turned = { ...everybody, ingress: [], egress: all };
    expect(
      wrongs([
        { kind: 'policy', name: 'p', spec: closed },
        { kind: 'policy', name: 'p', spec: turned },
        { kind: 'policy', name: 'p', spec: closed },
      ]),
    ).toEqual([]);
  });

  it('give an address its new identity under what both labels allow', () => {
    const v2 = { endpointSelector: { matchLabels: { version: 'v2' } }, egress: all };
    expect(
      wrongs([
        { kind: 'policy', name: 'p', spec: v2 },
        { kind: 'policy', name: 'q', spec: { ...everybody, ingress: fromV1, egress: toSome } },
        { kind: 'label', pod: 'shop/a', version: 'v2' },
        { kind: 'label', pod: 'shop/a', version: 'v1' },
      ]),
    ).toEqual([]);
  });

  it('end where a fresh start ends', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 8 }), (actions) => {
        const made = world();
        for (const one of actions) take(made, one);
        const entries = (one: PolicyWorld) => {
          // Numbers of CIDRs differ; their CIDRs do not.
          const cidrs = new Map(
            Object.entries(one.rows('bpf.ipcache')).map(([cidr, { identity }]) => [identity, cidr]),
          );
          const name = (key: string) =>
            key.replace(/^(\d+\|\w+\|)(\d+)/, (_, head: string, id: string) =>
              Number(id) >= 2 ** 24 ? `${head}${cidrs.get(Number(id))}` : `${head}${id}`,
            );
          return Object.entries(one.rows('bpf.policy'))
            .map(([key, { deny }]) => `${name(key)} ${deny ? 'deny' : 'allow'}`)
            .sort();
        };
        const again = world();
        // Labels first, in the same order: numbers of identities are the same.
        for (const one of actions) if (one.kind === 'label') take(again, one);
        for (const one of actions) if (one.kind !== 'label') take(again, one);
        expect(entries(made)).toEqual(entries(again));
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
