/**
 * Whatever happens to policies and labels: the machine's own plans never hurt what is allowed, and never let through what is denied.
 *
 * - Each end is judged by itself. What two ends decide together cannot change at once: where one change of policies opens the one end
 *   and closes the other, one of them is first, as it is with ends on two nodes.
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
    app: fc.constantFrom('a', 'b', ''),
    ingress: fc.option(fc.array(element, { maxLength: 2 })),
    egress: fc.option(fc.array(element, { maxLength: 2 })),
    egressDeny: fc.option(fc.array(element, { minLength: 1, maxLength: 2 })),
  })
  .map(({ app, ingress, egress, egressDeny }) => {
    const to = (list: readonly { peer: object; toPorts: unknown }[]) =>
      list.map(({ peer, toPorts }) => ({ ...peer, ...(toPorts !== undefined && { toPorts }) }));
    const from = (list: readonly { peer: object; toPorts: unknown }[]) =>
      list.map(({ peer, toPorts }) => ({ ...turned(peer), ...(toPorts !== undefined && { toPorts }) }));
    return {
      endpointSelector: app ? { matchLabels: { app } } : {},
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

function flowsOf(made: PolicyWorld): Flow[] {
  const endpoints = Object.entries(made.rows('bpf.endpoints'));
  const ends = [...endpoints.map(([address]) => address), ...outside];
  const family = (address: string): boolean => address.includes(':');
  return endpoints.flatMap(([address, { link }]) =>
    ends
      .filter((end) => end !== address && family(end) === family(address))
      .flatMap((end) =>
        [
          { proto: 6, dport: 80 },
          { proto: 6, dport: 8080 },
          { proto: 17, dport: 53 },
        ].flatMap((port): Flow[] => {
          const packet = (from: string, to: string): Packet => ({
            from,
            to,
            sport: 4000,
            ttl: 64,
            tcpFlags: 2,
            ...port,
          });
          const inward: Place = { program: 'from_netdev', link: 'eth0' };
          const judgedIn: Flow = { place: inward, packet: packet(end, address) };
          const judgedOut: Flow = { place: { program: 'from_endpoint', link }, packet: packet(address, end) };
          return outside.includes(end) ? [judgedIn, judgedOut] : [judgedIn];
        }),
      ),
  );
}

describe('plans of the policy machine', () => {
  it('are safe at every op, over all plans that an event causes', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 6 }), (actions) => {
        const made = world();
        for (const one of actions) {
          const before = rowsOf(made);
          const flows = flowsOf(made);
          take(made, one);
          const steps = made.steps.filter(({ table }) => tables[table].lane === 'kernel');
          expect(checkPrefixes(before, steps, flows), JSON.stringify(one)).toEqual([]);
        }
        expect(made.engine.machine('policy')?.state).toBe('steady');
      }),
      { numRuns: 60 },
    );
  }, 60_000);

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
