/** The backends that connections are spread over, one line for each rule: objects in, rows out. */
import { describe, expect, test } from 'vitest';
import {
  chosen,
  type Endpoint,
  webService as service,
  sliceOf as slice,
  worldOf as world,
} from '../simulations/services.ts';

const VIP = '10.96.0.1:80/TCP';

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
