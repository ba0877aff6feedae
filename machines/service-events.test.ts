/** Services under streams of events: whatever the order, the end is that of the final objects. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import { kubeObject, ServiceWorld, sliceObject } from '../simulations/services.ts';

interface Said {
  resource: 'services' | 'endpointslices' | 'pods';
  object: KubeObject;
}
type Act = { do: 'upsert' | 'again' | 'delete'; what: Said } | { do: 'relist' } | { do: 'zone'; zone: string };

const SERVICES = ['demo/a', 'demo/b', 'other/a'];
const pick = <T>(...values: T[]): fc.Arbitrary<T> => fc.constantFrom(...values);

const serviceArbitrary: fc.Arbitrary<Said> = fc
  .record({
    name: pick(...SERVICES),
    spec: fc.record({
      type: pick('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
      ports: pick(
        [{ name: 'http', port: 80, nodePort: 30_080 }],
        [
          { name: 'http', port: 80 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
        [{ name: 'other', port: 0 }],
      ),
      externalIPs: fc.subarray(['203.0.113.1', '203.0.113.2', '10.96.0.2']),
      internalTrafficPolicy: pick('Cluster', 'Local'),
      externalTrafficPolicy: pick('Cluster', 'Local'),
      healthCheckNodePort: pick(0, 31_000),
      sessionAffinity: pick('None', 'ClientIP'),
      loadBalancerSourceRanges: pick([], ['10.0.0.0/8']),
      dual: fc.boolean(),
      headless: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
    }),
    ingress: fc.subarray(['203.0.113.1', '203.0.113.9']),
    created: pick('2026-01-01T00:00:00Z', '2026-01-02T00:00:00Z'),
  })
  .map(({ name, spec: { dual, headless, ...spec }, ingress, created }) => {
    const host = SERVICES.indexOf(name) + 1;
    const clusterIPs = headless ? ['None'] : [`10.96.0.${host}`, ...(dual ? [`fd00:96::${host}`] : [])];
    const status = { loadBalancer: { ingress: ingress.map((ip) => ({ ip })) } };
    const object = kubeObject(
      'Service',
      name,
      { spec: { ...spec, clusterIPs }, status },
      { creationTimestamp: created },
    );
    return { resource: 'services', object };
  });

const endpointArbitrary = fc.record({
  host: fc.integer({ min: 1, max: 12 }),
  conditions: pick({}, { ready: false }, { ready: false, serving: true, terminating: true }),
  nodeName: pick('node-1', 'node-2'),
  zone: pick('', 'zone-a', 'zone-b'),
});

const sliceArbitrary = (...services: string[]): fc.Arbitrary<Said> =>
  fc
    .record({
      service: pick(...services),
      name: fc.integer({ min: 1, max: 9 }).map((n) => `slice-${n}`),
      addressType: pick('IPv4', 'IPv4', 'IPv6'),
      ports: pick(
        [{ name: 'http', port: 8080 }],
        [
          { name: 'http', port: 8081 },
          { name: 'dns', port: 53, protocol: 'UDP' },
        ],
        [],
      ),
      endpoints: fc.array(endpointArbitrary, { maxLength: 5 }),
    })
    .map(({ service, name, addressType, ports, endpoints }) => ({
      resource: 'endpointslices',
      object: sliceObject(service, name, {
        addressType,
        ports,
        endpoints: endpoints.map(({ host, conditions, nodeName, zone }) => ({
          addresses: [addressType === 'IPv4' ? `10.0.0.${host}` : `fd00::${host}`],
          conditions,
          nodeName,
          hints: { forZones: zone ? [{ name: zone }] : [] },
        })),
      }),
    }));

const podArbitrary: fc.Arbitrary<Said> = fc
  .record({
    name: pick('demo/p1', 'demo/p2'),
    ip: fc.integer({ min: 20, max: 23 }),
    hostPort: pick(30_080, 8080),
    going: fc.boolean(),
  })
  .map(({ name, ip, hostPort, going }) => ({
    resource: 'pods',
    object: kubeObject(
      'Pod',
      name,
      {
        spec: { containers: [{ ports: [{ containerPort: 80, hostPort }] }] },
        status: { phase: 'Running', podIPs: [{ ip: `10.0.1.${ip}` }] },
      },
      going ? { deletionTimestamp: '2026-02-01T00:00:00Z' } : {},
    ),
  }));

const acts = (said: fc.Arbitrary<Said>): fc.Arbitrary<Act[]> =>
  fc.array(
    fc.oneof(
      { weight: 12, arbitrary: said.map((what): Act => ({ do: 'upsert', what })) },
      { weight: 2, arbitrary: said.map((what): Act => ({ do: 'delete', what })) },
      { weight: 1, arbitrary: said.map((what): Act => ({ do: 'again', what })) },
      { weight: 1, arbitrary: fc.constant<Act>({ do: 'relist' }) },
      { weight: 1, arbitrary: pick('zone-a', 'zone-b').map((zone): Act => ({ do: 'zone', zone })) },
    ),
    { minLength: 1, maxLength: 50 },
  );

const alphabets = {
  'of several services': acts(
    fc.oneof(
      { weight: 3, arbitrary: serviceArbitrary },
      { weight: 6, arbitrary: sliceArbitrary(...SERVICES, 'demo/missing') },
      { weight: 1, arbitrary: podArbitrary },
    ),
  ),
  'of one that becomes big': fc
    .tuple(
      acts(serviceArbitrary.filter(({ object }) => object.metadata.name === 'a')),
      fc.array(
        fc.oneof(
          { weight: 4, arbitrary: sliceArbitrary('demo/a').map((what): Act => ({ do: 'upsert', what })) },
          { weight: 1, arbitrary: sliceArbitrary('demo/a').map((what): Act => ({ do: 'delete', what })) },
        ),
        { minLength: 5, maxLength: 40 },
      ),
    )
    .map(([before, slices]) => [...before, ...slices]),
};

const keyOf = ({ resource, object }: Said): string =>
  `${resource}/${object.metadata.namespace}/${object.metadata.name}`;

/** Says what happens, and remembers what there is. */
function play(acts: readonly Act[], syncedAfter: number): { world: ServiceWorld; final: Said[]; zone: string } {
  const world = new ServiceWorld().start();
  const there = new Map<string, Said>();
  let zone = 'zone-a';
  acts.forEach((act, i) => {
    if (i === syncedAfter) world.synced();
    if (act.do === 'zone') {
      zone = act.zone;
      world.zone(zone);
    } else if (act.do === 'relist') for (const { resource, object } of there.values()) world.upsert(resource, object);
    else if (act.do === 'delete') {
      const known = there.get(keyOf(act.what));
      // A delete of what was never said, or says otherwise, must do no harm.
      world.delete(act.what.resource, known?.object ?? act.what.object);
      there.delete(keyOf(act.what));
    } else {
      world.upsert(act.what.resource, act.what.object);
      if (act.do === 'again') world.upsert(act.what.resource, act.what.object);
      there.set(keyOf(act.what), act.what);
    }
  });
  if (syncedAfter >= acts.length) world.synced();
  return { world, final: [...there.values()], zone };
}

describe.each(Object.entries(alphabets))('any order of events %s', (_, alphabet) => {
  test('ends in the rows of the final objects alone, in any order of theirs', () => {
    fc.assert(
      fc.property(
        alphabet,
        fc.integer({ min: 0, max: 60 }),
        fc.infiniteStream(fc.nat()),
        (acts, syncedAfter, order) => {
          const { world, final, zone } = play(acts, syncedAfter);
          const alone = new ServiceWorld().start();
          alone.zone(zone);
          const shuffled = final
            .map((said) => [order.next().value ?? 0, said] as const)
            .sort(([a], [b]) => a - b)
            .map(([, said]) => said);
          for (const { resource, object } of shuffled) alone.upsert(resource, object);
          alone.synced();
          expect(world.everything()).toEqual(alone.everything());
          const left = (made: ServiceWorld) =>
            made.engine
              .machines()
              .map(({ key, state }) => `${key} ${state}`)
              .sort();
          expect(left(world)).toEqual(left(alone));
        },
      ),
      { numRuns: 300 },
    );
  });

  test('a settled world said again takes no op', () => {
    fc.assert(
      fc.property(alphabet, (acts) => {
        const { world, final } = play(acts, 0);
        const ops = final.flatMap(({ resource, object }) => world.upsert(resource, object));
        expect(ops).toEqual([]);
      }),
      { numRuns: 50 },
    );
  });
});

test('whatever is in a field, no event is a defect, and the next good one is heard', () => {
  const junk = fc.oneof(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(null, [null], [{}], {}, 'x', -1, [['x']]));
  const fields = (...names: string[]) =>
    fc.record(Object.fromEntries(names.map((name) => [name, junk])), { requiredKeys: [] });
  const spec = fields(
    ...['type', 'clusterIP', 'clusterIPs', 'ports', 'externalIPs', 'loadBalancerSourceRanges', 'sessionAffinityConfig'],
    ...['containers', 'initContainers', 'healthCheckNodePort'],
  );
  const status = fc.record({ loadBalancer: fields('ingress'), podIPs: junk, addresses: fc.constant([]) });
  fc.assert(
    fc.property(
      spec,
      status,
      fields('addresses', 'conditions', 'hints', 'nodeName'),
      fields('endpoints', 'ports'),
      pick('LoadBalancer', 'NodePort'),
      (given, state, endpoint, slice, type) => {
        const world = new ServiceWorld().start().synced();
        const bad = { spec: { type, sessionAffinity: 'ClientIP', ...given }, status: state };
        world.upsert('services', kubeObject('Service', 'demo/a', bad));
        world.upsert('pods', kubeObject('Pod', 'demo/p1', bad));
        world.upsert('endpointslices', sliceObject('demo/a', 's1', { endpoints: [endpoint] }));
        world.upsert('endpointslices', sliceObject('demo/a', 's1', slice));
        const good = { spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80 }] } };
        world.upsert('services', kubeObject('Service', 'demo/a', good));
        expect(Object.keys(world.rows('bpf.frontends'))).toContain('10.96.0.1:80/TCP');
      },
    ),
  );
});
