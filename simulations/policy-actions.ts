/** Policies and labels of a small node that change at random, and the flows by which its plans are judged. */
import fc from 'fast-check';
import type { AnyRow, Packet, Place } from './packet-model.ts';
import { PolicyWorld } from './policy-world.ts';
import type { Flow } from './prefix-check.ts';

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

export type Action =
  | { kind: 'policy'; name: string; spec: object }
  | { kind: 'no policy'; name: string }
  | { kind: 'label'; pod: string; version: string };
export const action: fc.Arbitrary<Action> = fc.oneof(
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

export function world(): PolicyWorld {
  const made = new PolicyWorld().start().restored([]).node().synced().namespace('shop');
  for (const pod of pods) made.pod(pod, { app: appOf(pod), version: 'v1' });
  return made;
}

export function take(made: PolicyWorld, one: Action): void {
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

export const rowsOf = (made: PolicyWorld): AnyRow[] =>
  judged.flatMap((table) => [...made.engine.actual(table)].map(([key, value]) => ({ table, key, value })));

const asked = [
  { proto: 6, dport: 80 },
  { proto: 6, dport: 8080 },
  { proto: 17, dport: 53 },
];
const isSix = (address: string): boolean => address.includes(':');

/** Between all pods, and between each and the world both ways. */
export function flowsOf(made: PolicyWorld): Flow[] {
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
