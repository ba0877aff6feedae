/** Whatever happens to services, every op of the real machines' plans leaves a datapath that serves as before or as after. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { ClusterEvent } from '../cluster/events.ts';
import type { BackendRow, FrontendRow, TableName } from '../state/tables.ts';
import { SimulatedApi } from './node/api.ts';
import { actOnServices, ENDPOINTS, SERVICES, type ServiceAction, SLICES, serviceKinds } from './node/services.ts';
import type { AnyRow } from './packet-model.ts';
import { checkPrefixes, type Flow } from './prefix-check.ts';
import { ServiceWorld } from './services.ts';

const POD = { IPv4: '10.0.0.2', IPv6: 'fd00::2' };
const CLIENTS = ['203.0.113.9', '192.0.2.77', '2001:db8:99::9', '2001:db8:1::77'];
const tables = [
  'bpf.backends',
  'bpf.backend-sets',
  'bpf.source-ranges',
  'bpf.frontends',
] as const satisfies TableName[];

const action: fc.Arbitrary<ServiceAction> = fc.oneof(
  fc.record({
    do: fc.constant('service' as const),
    service: fc.nat(SERVICES - 1),
    as: fc.constantFrom('none' as const, ...serviceKinds),
  }),
  fc.record({
    do: fc.constant('endpoints' as const),
    service: fc.nat(SERVICES - 1),
    slice: fc.nat(SLICES - 1),
    ready: fc.nat(2 ** ENDPOINTS - 1),
    draining: fc.nat(2 ** ENDPOINTS - 1),
  }),
);

/** What is on this node beside services: a pod that nobody keeps from anything, and the native device. */
const node: AnyRow[] = [
  ...Object.values(POD).map(
    (key): AnyRow => ({
      table: 'bpf.endpoints',
      key,
      value: { link: 'lxca', identity: 1001, id: 1, flags: 0, policyRevision: 0 },
    }),
  ),
  { table: 'bpf.netdevs', key: 'eth0', value: { ipv4: '192.0.2.1', ipv6: '2001:db8::1', mac: '', flags: 0 } },
];

function rowsOf(world: ServiceWorld): AnyRow[] {
  return [
    ...node,
    ...tables.flatMap((table) => [...world.engine.actual(table)].map(([key, value]) => ({ table, key, value }))),
  ];
}

/** From a pod and from outside, to every frontend of these rows. */
function flowsTo(rows: readonly AnyRow[]): Flow[] {
  const keys = new Set(rows.filter(({ table }) => table === 'bpf.frontends').map(({ key }) => key));
  return [...keys].flatMap((key) => {
    const { address, port } = placeOf(key);
    const isV6 = address.includes(':');
    const packet = (from: string) => ({ from, to: address, proto: 6, sport: 4000, dport: port, ttl: 64, tcpFlags: 2 });
    const inside = packet(isV6 ? POD.IPv6 : POD.IPv4);
    return [
      { place: { program: 'from_endpoint' as const, link: 'lxca' }, packet: inside },
      ...CLIENTS.filter((client) => client.includes(':') === isV6).map((client) => ({
        place: { program: 'from_netdev' as const, link: 'eth0' },
        packet: packet(client),
      })),
    ];
  });
}

function placeOf(key: string): Pick<BackendRow, 'address' | 'port'> {
  const [, v6, v4, port] = /^(?:\[(.*)\]|([^:]*)):(\d+)\/TCP$/.exec(key) ?? [];
  return { address: v6 ?? v4 ?? '', port: Number(port) };
}

function play(
  actions: readonly ServiceAction[],
  algorithm: 'random' | 'maglev',
): { violations: string[]; served: number } {
  const world = new ServiceWorld().start({ algorithm }).synced();
  const api = new SimulatedApi();
  const events: ClusterEvent[] = [];
  api.watch((event) => events.push(event), { order: ['services', 'endpointslices'] });
  events.splice(0);
  const violations: string[] = [];
  let served = 0;
  for (const one of actions) {
    actOnServices(api, one);
    for (const event of events.splice(0)) {
      const before = rowsOf(world);
      const ops = world.say(event).filter(({ table }) => (tables as readonly string[]).includes(table));
      const flows = flowsTo([...before, ...rowsOf(world)]);
      served += flows.length;
      violations.push(...checkPrefixes(before, [{ table: 'bpf.backends', action: 'put', ops }], flows));
    }
  }
  return { violations, served };
}

it('the way to a service is whole at every op', () => {
  let all = 0;
  fc.assert(
    fc.property(fc.array(action, { maxLength: 12 }), fc.constantFrom('random', 'maglev'), (actions, algorithm) => {
      const { violations, served } = play(actions, algorithm);
      expect(violations).toEqual([]);
      all += served;
    }),
    { numRuns: 60 },
  );
  expect(all).toBeGreaterThan(1_000);
}, 60_000);

it('a plan that takes a backend away before its set is found out', () => {
  const world = new ServiceWorld().start().synced();
  const api = new SimulatedApi();
  const events: ClusterEvent[] = [];
  api.watch((event) => events.push(event), { order: ['services', 'endpointslices'] });
  actOnServices(api, { do: 'service', service: 0, as: 'plain' });
  actOnServices(api, { do: 'endpoints', service: 0, slice: 0, ready: 3, draining: 0 });
  for (const event of events.splice(0)) world.say(event);
  const before = rowsOf(world);
  actOnServices(api, { do: 'endpoints', service: 0, slice: 0, ready: 12, draining: 0 });
  const ops = events.flatMap((event) => world.say(event)).toReversed();
  const found = checkPrefixes(before, [{ table: 'bpf.backends', action: 'put', ops }], flowsTo(before));
  expect(
    before.some(({ table, value }) => table === 'bpf.frontends' && (value as FrontendRow).type === 'ClusterIP'),
  ).toBe(true);
  expect(found.map((line) => line.split(':')[0])).toContain('hitless');
});
