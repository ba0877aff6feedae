/** The addresses and ports that Services ask for, one line for each rule: objects in, rows out. */
import { describe, expect, test } from 'vitest';
import type { KubeObject, ServiceFacts } from '../cluster/events.ts';
import {
  kubeObject,
  type ServiceWorld,
  webService as service,
  sliceOf as slice,
  worldOf as world,
} from '../simulations/services.ts';

const frontends = (made: ServiceWorld): string[] =>
  Object.entries(made.rows('bpf.frontends')).map(([key, { type }]) => `${type} ${key}`);
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

  const conditions = (made: ServiceWorld) =>
    Object.entries(made.rows('kube.status')).map(([key, { status }]) => [
      key,
      (status as ReturnType<typeof said>).conditions[0]?.status,
    ]);
  const said = (status: string) => ({ conditions: [{ type: 'axoneme.io/FrontendConflict', status }] });

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
      expect(conditions(made)).toEqual([['services/demo/a-younger', 'True']]);
      // The Service comes back with what was said of it.
      made.upsert('services', { ...younger, status: said('True') });
      expect(conditions(made)).toEqual([['services/demo/a-younger', 'True']]);
      made.delete('services', older);
      expect(conditions(made)).toEqual([['services/demo/a-younger', 'False']]);
      made.upsert('services', { ...younger, status: said('False') });
      expect(conditions(made)).toEqual([]);
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
