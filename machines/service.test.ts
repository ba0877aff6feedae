/** What Services and EndpointSlices mean, one line for each rule: objects in, rows out. */
import { describe, expect, test } from 'vitest';
import type { KubeObject, ServiceFacts } from '../cluster/events.ts';
import { kubeObject, ServiceWorld, sliceObject } from '../simulations/services.ts';

interface Endpoint {
  ip: string;
  /** r: ready, t: terminating and serving, d: terminating and not serving, n: not ready; by default r. */
  is?: 'r' | 't' | 'd' | 'n';
  node?: string;
  zones?: string[];
  nodes?: string[];
}
const conditionsOf = { r: {}, t: [false, true, true], d: [false, false, true], n: [false, false, false] } as const;

function endpoint({ ip, is = 'r', node = 'node-2', zones, nodes }: Endpoint): object {
  const named = (names: string[]) => names.map((name) => ({ name }));
  const [ready, serving, terminating] = Array.isArray(conditionsOf[is]) ? conditionsOf[is] : [];
  return {
    addresses: [ip],
    conditions: is === 'r' ? {} : { ready, serving, terminating },
    nodeName: node,
    hints: { ...(zones && { forZones: named(zones) }), ...(nodes && { forNodes: named(nodes) }) },
  };
}

const service = (spec: object = {}, more: object = {}, metadata: object = {}): KubeObject =>
  kubeObject(
    'Service',
    'demo/web',
    { spec: { clusterIPs: ['10.96.0.1'], ports: [{ port: 80, protocol: 'TCP' }], ...spec }, ...more },
    metadata,
  );
const slice = (endpoints: Endpoint[], fields: object = {}, name = 'web-1'): KubeObject =>
  sliceObject('demo/web', name, { endpoints: endpoints.map(endpoint), ...fields });

function world(objects: KubeObject[], facts: Partial<ServiceFacts> = {}, addresses?: string[]): ServiceWorld {
  const made = new ServiceWorld().start(facts, addresses);
  for (const object of objects)
    made.upsert(object.kind === 'Service' ? 'services' : object.kind === 'Pod' ? 'pods' : 'endpointslices', object);
  return made.synced();
}
const frontends = (made: ServiceWorld): string[] =>
  Object.entries(made.rows('bpf.frontends')).map(([key, { type }]) => `${type} ${key}`);
/** Backends that a frontend's connections choose from. */
function chosen(made: ServiceWorld, frontend: string, from: 'internalSet' | 'externalSet' = 'internalSet'): string[] {
  const set = made.rows('bpf.frontends')[frontend]?.[from] ?? '';
  return (made.rows('bpf.backend-sets')[set]?.backends ?? []).map((key) => key.replace(/:8080\/TCP$/, ''));
}
const VIP = '10.96.0.1:80/TCP';
const lb = (ingress: object[]): object => ({ status: { loadBalancer: { ingress } } });

describe('frontends', () => {
  test.each<[string, object, object, string[]]>([
    ['cluster address', {}, {}, [`ClusterIP ${VIP}`]],
    [
      'both families',
      { clusterIPs: ['10.96.0.1', 'fd00:96::1'] },
      {},
      [`ClusterIP ${VIP}`, 'ClusterIP [fd00:96::1]:80/TCP'],
    ],
    ['clusterIP alone', { clusterIPs: undefined, clusterIP: '10.96.0.1' }, {}, [`ClusterIP ${VIP}`]],
    ['headless', { clusterIPs: ['None'] }, {}, []],
    ['external name', { type: 'ExternalName', clusterIPs: undefined, externalName: 'example.org' }, {}, []],
    [
      'protocols and ports',
      {
        ports: [
          { name: 'a', port: 53, protocol: 'UDP' },
          { name: 'b', port: 53, protocol: 'TCP' },
          { name: 'c', port: 9, protocol: 'SCTP' },
        ],
      },
      {},
      ['ClusterIP 10.96.0.1:53/TCP', 'ClusterIP 10.96.0.1:53/UDP', 'ClusterIP 10.96.0.1:9/SCTP'],
    ],
    [
      'ports out of range and unknown protocols are left out',
      { ports: [{ port: 0 }, { port: 65_536 }, { port: 1.5 }, { port: 80, protocol: 'HTTP' }, { port: 81 }] },
      {},
      ['ClusterIP 10.96.0.1:81/TCP'],
    ],
    [
      'node ports on every node address of the families, and on loopback',
      { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] },
      {},
      [`ClusterIP ${VIP}`, 'NodePort 127.0.0.1:30080/TCP', 'NodePort 192.0.2.1:30080/TCP'],
    ],
    [
      'load balancer addresses but those of mode Proxy, and its node ports',
      { type: 'LoadBalancer', ports: [{ port: 80, nodePort: 30_080 }] },
      lb([{ ip: '203.0.113.9', ipMode: 'VIP' }, { ip: '203.0.113.8', ipMode: 'Proxy' }, { hostname: 'example.org' }]),
      [
        `ClusterIP ${VIP}`,
        'NodePort 127.0.0.1:30080/TCP',
        'NodePort 192.0.2.1:30080/TCP',
        'LoadBalancer 203.0.113.9:80/TCP',
      ],
    ],
    [
      'allocateLoadBalancerNodePorts false',
      { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false },
      lb([{ ip: '203.0.113.9' }]),
      [`ClusterIP ${VIP}`, 'LoadBalancer 203.0.113.9:80/TCP'],
    ],
    [
      'a load balancer class that is ours',
      { type: 'LoadBalancer', loadBalancerClass: 'io.cilium/bgp-control-plane' },
      lb([{ ip: '203.0.113.9' }]),
      [`ClusterIP ${VIP}`, 'LoadBalancer 203.0.113.9:80/TCP'],
    ],
    [
      'a load balancer class of somebody else: its address is theirs, the node port is not',
      { type: 'LoadBalancer', loadBalancerClass: 'example.org/lb', ports: [{ port: 80, nodePort: 30_080 }] },
      lb([{ ip: '203.0.113.9' }]),
      [`ClusterIP ${VIP}`, 'NodePort 127.0.0.1:30080/TCP', 'NodePort 192.0.2.1:30080/TCP'],
    ],
    [
      'external addresses, canonical and of the families of the service only',
      { clusterIPs: ['fd00:96::1'], externalIPs: ['2001:DB8:0:0::9', '203.0.113.9', 'nonsense', '::ffff:1.2.3.4'] },
      {},
      ['ExternalIP [2001:db8::9]:80/TCP', 'ClusterIP [fd00:96::1]:80/TCP'],
    ],
    [
      'one address asked for twice is of the more particular kind',
      { type: 'LoadBalancer', externalIPs: ['10.96.0.1', '203.0.113.9'] },
      lb([{ ip: '203.0.113.9' }]),
      [`ClusterIP ${VIP}`, 'LoadBalancer 203.0.113.9:80/TCP'],
    ],
  ])('%s', (_, spec, more, expected) => {
    expect(frontends(world([service(spec, more)]))).toEqual(expected);
  });

  test('a service of another proxy is not ours', () => {
    const labels = { 'service.kubernetes.io/service-proxy-name': 'other' };
    const made = world([service({}, {}, { labels })]);
    expect([frontends(made), made.state('demo/web')]).toEqual([[], 'unserved']);
  });

  const nodePort = service({
    type: 'NodePort',
    clusterIPs: ['10.96.0.1', 'fd00:96::1'],
    ports: [{ port: 80, nodePort: 30_080 }],
  });
  const places = (facts: Partial<ServiceFacts>, addresses?: string[]) =>
    frontends(world([nodePort], facts, addresses))
      .filter((line) => line.startsWith('NodePort'))
      .map((line) => line.slice('NodePort '.length, -':30080/TCP'.length));
  test.each<[string, Partial<ServiceFacts>, string[]]>([
    ['all', {}, ['127.0.0.1', '192.0.2.1', '198.51.100.1', '[2001:db8::1]', '[::1]']],
    ['in CIDRs', { nodePortAddresses: ['198.51.100.0/24'] }, ['127.0.0.1', '198.51.100.1', '[::1]']],
    ['primary', { nodePortAddresses: ['primary'] }, ['127.0.0.1', '192.0.2.1', '[::1]']],
    ['of node ports not done here', { nodePort: false }, []],
  ])('node port addresses: %s', (_, facts, expected) => {
    expect(places(facts, ['192.0.2.1/24', '198.51.100.1/24', '2001:db8::1/64'])).toEqual(expected);
  });

  test('mode off wants nothing', () => {
    const made = world([nodePort, slice([{ ip: '10.0.0.1' }])], { mode: 'off', nodePort: false });
    expect(made.everything()).toMatchObject({ 'bpf.frontends': {}, 'bpf.backends': {}, 'bpf.backend-sets': {} });
  });

  test('when the node gets another address its node ports follow', () => {
    const made = world([nodePort]);
    const link = { name: 'eth0', kind: '', mac: '', mtu: 1500, up: true, defaultRoute: true };
    made.say({ type: 'link.upserted', link: { ...link, addresses: ['192.0.2.7/24'] } });
    expect(frontends(made).filter((line) => line.includes('192.0.2'))).toEqual(['NodePort 192.0.2.7:30080/TCP']);
  });
});

describe('backends', () => {
  const choices = (endpoints: Endpoint[], spec: object = {}) => chosen(world([service(spec), slice(endpoints)]), VIP);

  test.each<[string, Endpoint[], string[], string]>([
    ['ready ones only', [{ ip: '10.0.0.1' }, { ip: '10.0.0.2', is: 'n' }], ['10.0.0.1'], 'balancing'],
    [
      'terminating ones not while one is ready',
      [{ ip: '10.0.0.1', is: 't' }, { ip: '10.0.0.2' }],
      ['10.0.0.2'],
      'balancing',
    ],
    [
      'serving-terminating ones if none is ready',
      [
        { ip: '10.0.0.1', is: 't' },
        { ip: '10.0.0.2', is: 'd' },
        { ip: '10.0.0.3', is: 'n' },
      ],
      ['10.0.0.1'],
      'draining',
    ],
    ['none', [{ ip: '10.0.0.3', is: 'n' }], [], 'no-backends'],
  ])('%s', (_, endpoints, expected, state) => {
    const made = world([service(), slice(endpoints)]);
    expect([chosen(made, VIP), made.state('demo/web')]).toEqual([expected, state]);
    expect(Object.keys(made.rows('bpf.backends'))).toHaveLength(endpoints.length);
  });

  test('not ready addresses that are published are ready in the slice', () => {
    const published = { addresses: ['10.0.0.1'], conditions: { ready: true, serving: false, terminating: true } };
    const made = world([service({ publishNotReadyAddresses: true }), slice([], { endpoints: [published] })]);
    expect(chosen(made, VIP)).toEqual(['10.0.0.1']);
  });

  test('serving defers to ready where it is not said', () => {
    const said = (ready: boolean) => ({ addresses: ['10.0.0.1'], conditions: { ready, terminating: true } });
    expect(chosen(world([service(), slice([], { endpoints: [said(false)] })]), VIP)).toEqual([]);
  });

  test('named target ports may differ from slice to slice', () => {
    const ports = (port: number) => ({ ports: [{ name: 'http', port, protocol: 'TCP' }] });
    const made = world([
      service({ ports: [{ name: 'http', port: 80, targetPort: 'http' }] }),
      slice([{ ip: '10.0.0.1' }], ports(8080)),
      slice([{ ip: '10.0.0.2' }], ports(9090), 'web-2'),
    ]);
    expect(chosen(made, VIP)).toEqual(['10.0.0.1', '10.0.0.2:9090/TCP']);
  });

  test('each port has its own, by name and protocol', () => {
    const made = world([
      service({
        ports: [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'dns-tcp', port: 53, protocol: 'TCP' },
        ],
      }),
      slice([{ ip: '10.0.0.1' }], {
        ports: [
          { name: 'dns', port: 53, protocol: 'UDP' },
          { name: 'dns-tcp', port: 54, protocol: 'TCP' },
        ],
      }),
    ]);
    expect(made.rows('bpf.backend-sets')).toMatchObject({
      'demo/web:dns/IPv4': { backends: ['10.0.0.1:53/UDP'] },
      'demo/web:dns-tcp/IPv4': { backends: ['10.0.0.1:54/TCP'] },
    });
  });

  test('an endpoint of several slices is one backend, as well as the best of them says', () => {
    const made = world([
      service(),
      slice([{ ip: '10.0.0.1', is: 'n' }]),
      slice([{ ip: '10.0.0.1' }], {}, 'web-2'),
      slice([{ ip: '10.0.0.1' }, { ip: '10.0.0.1', is: 't' }], {}, 'web-3'),
    ]);
    expect(chosen(made, VIP)).toEqual(['10.0.0.1']);
    expect(Object.keys(made.rows('bpf.backends'))).toEqual(['10.0.0.1:8080/TCP']);
  });

  test('families do not mix, and domain names are nobody’s', () => {
    const made = world([
      service({ clusterIPs: ['10.96.0.1', 'fd00:96::1'] }),
      slice([{ ip: '10.0.0.1' }, { ip: 'fd00::1' }, { ip: '300.0.0.1' }]),
      slice([{ ip: 'fd00::2' }], { addressType: 'IPv6' }, 'web-2'),
      slice([{ ip: 'example.org' }], { addressType: 'FQDN' }, 'web-3'),
    ]);
    expect(made.rows('bpf.backend-sets')).toEqual({
      'demo/web:/IPv4': { backends: ['10.0.0.1:8080/TCP'], maglevSize: 0, affinityTimeout: 0 },
      'demo/web:/IPv6': { backends: ['[fd00::2]:8080/TCP'], maglevSize: 0, affinityTimeout: 0 },
    });
  });

  test('bad ports of a slice are left out', () => {
    const ports = [{ port: 0 }, { port: 70_000 }, { port: null }, { port: 8080, protocol: 'ICMP' }, { port: 8080 }];
    const made = world([service(), slice([{ ip: '10.0.0.1' }], { ports })]);
    expect(Object.keys(made.rows('bpf.backends'))).toEqual(['10.0.0.1:8080/TCP']);
  });

  test.each<[string, Endpoint[], string[]]>([
    [
      'zone',
      [
        { ip: '10.0.0.1', zones: ['zone-a'] },
        { ip: '10.0.0.2', zones: ['zone-b'] },
      ],
      ['10.0.0.1'],
    ],
    ['a hint is missing: all', [{ ip: '10.0.0.1', zones: ['zone-a'] }, { ip: '10.0.0.2' }], ['10.0.0.1', '10.0.0.2']],
    [
      'none for this zone: all',
      [
        { ip: '10.0.0.1', zones: ['zone-c'] },
        { ip: '10.0.0.2', zones: ['zone-b'] },
      ],
      ['10.0.0.1', '10.0.0.2'],
    ],
    [
      'node before zone',
      [
        { ip: '10.0.0.1', zones: ['zone-a'], nodes: ['node-1'] },
        { ip: '10.0.0.2', zones: ['zone-a'], nodes: ['node-2'] },
      ],
      ['10.0.0.1'],
    ],
    [
      'none for this node: zone',
      [
        { ip: '10.0.0.1', zones: ['zone-a'], nodes: ['node-3'] },
        { ip: '10.0.0.2', zones: ['zone-b'], nodes: ['node-2'] },
      ],
      ['10.0.0.1'],
    ],
    [
      'hints of those that are not ready do not count',
      [
        { ip: '10.0.0.1', zones: ['zone-a'] },
        { ip: '10.0.0.2', zones: ['zone-b'] },
        { ip: '10.0.0.3', is: 'n' },
      ],
      ['10.0.0.1'],
    ],
    [
      'serving-terminating ones count wherever they are',
      [
        { ip: '10.0.0.1', is: 't', zones: ['zone-a'] },
        { ip: '10.0.0.2', is: 't', zones: ['zone-b'] },
      ],
      ['10.0.0.1', '10.0.0.2'],
    ],
  ])('topology: %s', (_, endpoints, expected) => {
    expect(choices(endpoints)).toEqual(expected);
  });

  test('when the node changes its zone its backends change', () => {
    const made = world([
      service(),
      slice([
        { ip: '10.0.0.1', zones: ['zone-a'] },
        { ip: '10.0.0.2', zones: ['zone-b'] },
      ]),
    ]);
    made.zone('zone-b');
    expect(chosen(made, VIP)).toEqual(['10.0.0.2']);
  });
});

describe('traffic policies', () => {
  const endpoints: Endpoint[] = [{ ip: '10.0.0.1', node: 'node-1' }, { ip: '10.0.0.2' }];
  const NODE = '192.0.2.1:30080/TCP';
  const nodePort = { type: 'NodePort', ports: [{ port: 80, nodePort: 30_080 }] };

  test('internal Local: the cluster address leads to this node only, node ports everywhere', () => {
    const made = world([service({ ...nodePort, internalTrafficPolicy: 'Local' }), slice(endpoints)]);
    expect(chosen(made, VIP)).toEqual(['10.0.0.1']);
    expect(chosen(made, VIP, 'externalSet')).toEqual(['10.0.0.1']);
    expect(chosen(made, NODE, 'externalSet')).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(made.rows('bpf.frontends')[NODE]?.externalLocal).toBe(false);
  });

  test('external Local: from outside this node only, from inside everywhere', () => {
    const made = world([service({ ...nodePort, externalTrafficPolicy: 'Local' }), slice(endpoints)]);
    expect(chosen(made, NODE, 'externalSet')).toEqual(['10.0.0.1']);
    expect(chosen(made, NODE)).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(chosen(made, VIP)).toEqual(['10.0.0.1', '10.0.0.2']);
    expect(made.rows('bpf.frontends')[NODE]?.externalLocal).toBe(true);
    expect(made.rows('bpf.frontends')[VIP]?.externalLocal).toBe(false);
  });

  test('of local backends the serving-terminating ones count if none is ready', () => {
    const made = world([
      service({ ...nodePort, externalTrafficPolicy: 'Local' }),
      slice([{ ip: '10.0.0.1', node: 'node-1', is: 't' }, { ip: '10.0.0.2' }]),
    ]);
    expect(chosen(made, NODE, 'externalSet')).toEqual(['10.0.0.1']);
    expect(chosen(made, NODE)).toEqual(['10.0.0.2']);
  });

  test('the health check port counts ready endpoints of this node, a dual-stack pod once', () => {
    const both = service({
      type: 'LoadBalancer',
      clusterIPs: ['10.96.0.1', 'fd00:96::1'],
      externalTrafficPolicy: 'Local',
      healthCheckNodePort: 31_000,
    });
    const made = world([
      both,
      slice([...endpoints, { ip: '10.0.0.3', node: 'node-1' }, { ip: '10.0.0.4', node: 'node-1', is: 't' }]),
      slice([{ ip: 'fd00::1', node: 'node-1' }], { addressType: 'IPv6' }, 'web-2'),
    ]);
    const row = { namespace: 'demo', service: 'web' };
    expect(made.rows('health.checks')).toEqual({ 31000: { ...row, localEndpoints: 2 } });
    made.upsert('endpointslices', slice([{ ip: '10.0.0.2' }]));
    made.delete('endpointslices', slice([], {}, 'web-2'));
    expect(made.rows('health.checks')).toEqual({ 31000: { ...row, localEndpoints: 0 } });
  });
});

describe('options', () => {
  test.each<[string, object, number]>([
    ['none', {}, 0],
    ['the default', { sessionAffinity: 'ClientIP' }, 10_800],
    ['its own', { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 30 } } }, 30],
    [
      'a day at most',
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 1e9 } } },
      86_400,
    ],
  ])('session affinity: %s', (_, spec, seconds) => {
    expect(world([service(spec)]).rows('bpf.backend-sets')['demo/web:/IPv4']?.affinityTimeout).toBe(seconds);
  });

  test('Maglev tables only for what is chosen from outside', () => {
    const facts = { algorithm: 'maglev', maglevTableSize: 251 } as const;
    const size = (spec: object) => world([service(spec)], facts).rows('bpf.backend-sets')['demo/web:/IPv4']?.maglevSize;
    expect(size({})).toBe(0);
    expect(size({ externalIPs: ['203.0.113.9'] })).toBe(251);
  });

  test('DSR is said of each frontend', () => {
    expect(world([service()], { forwarding: 'dsr' }).rows('bpf.frontends')[VIP]?.forwarding).toBe('dsr');
  });

  const balanced = { type: 'LoadBalancer', externalIPs: ['203.0.113.8'], ports: [{ port: 80, nodePort: 30_080 }] };
  const ranges = (spec: object, annotations: object = {}) => {
    const made = world([service({ ...balanced, ...spec }, lb([{ ip: '203.0.113.9' }]), { annotations })]);
    const restricted = Object.entries(made.rows('bpf.frontends')).filter(([, { sourceRanges }]) => sourceRanges);
    return [restricted.map(([key]) => key), Object.keys(made.rows('bpf.source-ranges'))];
  };
  const both = ['203.0.113.8:80/TCP', '203.0.113.9:80/TCP'];
  test('source ranges hold for load balancer and external addresses, without host bits', () => {
    expect(ranges({ loadBalancerSourceRanges: [' 10.1.2.3/8', '2001:db8::/32'] })).toEqual([
      both,
      both.map((key) => `${key}|10.0.0.0/8`),
    ]);
  });
  test('source ranges of the annotation count if the field is empty', () => {
    const annotations = { 'service.beta.kubernetes.io/load-balancer-source-ranges': '10.0.0.0/8, 11.0.0.0/8' };
    expect(ranges({}, annotations)[1]).toHaveLength(4);
    expect(ranges({ loadBalancerSourceRanges: ['12.0.0.0/8'] }, annotations)[1]).toEqual(
      both.map((key) => `${key}|12.0.0.0/8`),
    );
  });
  test('ranges of which none can be read let nobody in', () => {
    expect(ranges({ loadBalancerSourceRanges: ['nonsense'] })).toEqual([both, []]);
  });
});

describe('two services and one address', () => {
  const claimant = (name: string, created: string, spec: object = {}): KubeObject =>
    kubeObject(
      'Service',
      `demo/${name}`,
      { spec: { clusterIPs: [], ports: [{ port: 80 }], externalIPs: ['203.0.113.9'], ...spec } },
      { creationTimestamp: created },
    );
  const vip = (name: string, last: number, created = '2026-01-03T00:00:00Z', spec: object = {}) =>
    claimant(name, created, { clusterIPs: [`10.96.1.${last}`], ...spec });
  const EXTERNAL = '203.0.113.9:80/TCP';
  const ownerOf = (made: ServiceWorld, key = EXTERNAL) => made.rows('bpf.frontends')[key]?.service;
  const events = (made: ServiceWorld) =>
    Object.values(made.rows('kube.objects'))
      .filter(({ kind }) => kind === 'Event')
      .map(({ involvedObject, message }) => `${(involvedObject as { name: string }).name}: ${message}`);

  test('the oldest has it, whatever came first; the other says so, and has it when it is free', () => {
    const older = vip('z-older', 1, '2026-01-01T00:00:00Z');
    const younger = vip('a-younger', 2);
    for (const order of [
      [older, younger],
      [younger, older],
    ]) {
      const made = world(order);
      expect(ownerOf(made)).toBe('demo/z-older');
      expect([made.state('demo/z-older'), made.state('demo/a-younger')]).toEqual(['no-backends', 'contested']);
      expect(events(made)).toEqual([
        expect.stringMatching(/^a-younger: 203\.0\.113\.9:80\/TCP is served for demo\/z-older/),
      ]);
      expect(made.rows('bpf.frontends')['10.96.1.2:80/TCP']?.service).toBe('demo/a-younger');
      made.delete('services', older);
      expect([ownerOf(made), made.state('demo/a-younger'), events(made)]).toEqual([
        'demo/a-younger',
        'no-backends',
        [],
      ]);
    }
  });
  test('of the same age the first by name has it; other ports and protocols are no conflict', () => {
    const made = world([vip('b', 1), vip('a', 2), vip('c', 3, undefined, { ports: [{ port: 80, protocol: 'UDP' }] })]);
    expect([ownerOf(made), ownerOf(made, '203.0.113.9:80/UDP')]).toEqual(['demo/a', 'demo/c']);
  });
  test('nobody takes over the cluster address of another, however old', () => {
    const thief = vip('thief', 1, '2020-01-01T00:00:00Z', { externalIPs: ['10.96.1.2'] });
    for (const order of [
      [thief, vip('victim', 2)],
      [vip('victim', 2), thief],
    ])
      expect(ownerOf(world(order), '10.96.1.2:80/TCP')).toBe('demo/victim');
  });
  test('the address passes from one to the other in one op', () => {
    const made = world([vip('b', 1)]);
    const ops = made.upsert('services', vip('a', 2));
    expect(ops.filter(({ key }) => key === EXTERNAL).map(({ action }) => action)).toEqual(['put']);
  });
});

describe('life', () => {
  test('nothing is wanted before all lists are complete, and then what is in the kernel is taken over', () => {
    const first = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const made = new ServiceWorld();
    for (const table of ['bpf.backends', 'bpf.backend-sets', 'bpf.frontends'] as const)
      made.say({
        type: 'observed',
        table,
        changes: Object.entries(first.rows(table)).map(([key, value]) => ({ key, value })),
      });
    made.start();
    made.upsert('services', service());
    expect(made.state('demo/web')).toBe('waiting');
    made.upsert('endpointslices', slice([{ ip: '10.0.0.1' }]));
    made.synced();
    expect(made.ops.filter(({ table }) => table.startsWith('bpf.b') || table === 'bpf.frontends')).toEqual([]);
    expect(made.state('demo/web')).toBe('balancing');
  });

  test('a slice of a service that is not there waits, in any namespace but its own it is nobody’s', () => {
    const made = world([slice([{ ip: '10.0.0.1' }])]);
    expect([made.state('demo/web'), made.rows('bpf.backends')]).toEqual(['waiting', {}]);
    const foreign = sliceObject('other/web', 'web-1', { endpoints: [endpoint({ ip: '10.0.9.9' })] });
    made.upsert('endpointslices', foreign);
    made.upsert('services', service());
    expect(chosen(made, VIP)).toEqual(['10.0.0.1']);
    made.delete('services', service());
    expect([made.state('demo/web'), made.rows('bpf.backends'), made.rows('bpf.frontends')]).toEqual([
      'waiting',
      {},
      {},
    ]);
    made.delete('endpointslices', slice([]));
    expect(made.state('demo/web')).toBeUndefined();
  });

  test('a slice that is given to another service leaves this one', () => {
    const made = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const moved = slice([{ ip: '10.0.0.1' }]);
    made.upsert('endpointslices', {
      ...moved,
      metadata: { ...moved.metadata, labels: { 'kubernetes.io/service-name': 'other' } },
    });
    expect(chosen(made, VIP)).toEqual([]);
  });

  test('deletes go frontends first, backends last', () => {
    const made = world([service(), slice([{ ip: '10.0.0.1' }])]);
    const tables = made.delete('services', service()).map(({ table, action }) => `${action} ${table}`);
    expect(tables).toEqual(['delete bpf.frontends', 'delete bpf.backend-sets', 'delete bpf.backends']);
  });
});
