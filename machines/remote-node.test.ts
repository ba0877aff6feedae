/** What a node makes of other nodes and their pods: rows of its kernel, and words for people. */
import { describe, expect, test } from 'vitest';
import {
  ciliumEndpoint,
  ciliumNode,
  endpointSlice,
  kubeNode,
  type NetworkOptions,
  NodesWorld,
} from '../simulations/cluster-nodes.ts';

const world = (options: NetworkOptions = {}): NodesWorld => new NodesWorld().among(options);
const vxlan: NetworkOptions = { routing: { mode: 'vxlan' } };
const node2 = ciliumNode(2);

/** Rows of the ipcache outside this node's own, as `identity tunnelEndpoint encryptKey`. */
function cached(nodes: NodesWorld): Record<string, string> {
  const rows = Object.entries(nodes.rows('bpf.ipcache')).filter(([, { identity }]) => identity !== 1);
  return Object.fromEntries(
    rows.map(([key, { identity, tunnelEndpoint, encryptKey }]) => [
      key,
      [identity, tunnelEndpoint, encryptKey || ''].filter((part) => part !== '').join(' '),
    ]),
  );
}

describe('addresses of another node', () => {
  test('with native routing are of identity remote-node, and its pods have theirs', () => {
    const nodes = world();
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(cached(nodes)).toEqual({
      '10.0.2.9/32': '300',
      '192.0.2.2/32': '6',
      '2001:db8::2/128': '6',
      'fd00:2::9/128': '300',
    });
    expect(nodes.stateOf('remote-node/node-2')).toBe('routed');
  });

  test('behind a tunnel: pods, the pod ranges for those not known yet, and the addresses of its own inside them', () => {
    const nodes = world(vxlan);
    const internal = { type: 'CiliumInternalIP', ip: '10.0.2.1' };
    const spec = node2['spec'] as { addresses: object[] };
    nodes.upsert('ciliumnodes', {
      ...node2,
      spec: { ...spec, addresses: [...spec.addresses, internal], health: { ipv4: '10.0.2.200' } },
    });
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(cached(nodes)).toEqual({
      '10.0.2.0/24': '9 192.0.2.2',
      '10.0.2.1/32': '6 192.0.2.2',
      '10.0.2.200/32': '4 192.0.2.2',
      '10.0.2.9/32': '300 192.0.2.2',
      '192.0.2.2/32': '6',
      '2001:db8::2/128': '6',
      'fd00:2::/64': '10 192.0.2.2',
      'fd00:2::9/128': '300 192.0.2.2',
    });
    const { routes, tunnels } = { routes: nodes.rows('routes'), tunnels: nodes.rows('tunnels') };
    expect(routes['10.0.2.0/24']).toMatchObject({ dev: 'cilium_host', via: '', src: '10.0.1.1', mtu: 1450 });
    expect(routes['fd00:2::/64']).toMatchObject({ dev: 'cilium_host', src: 'fd00:1::1', mtu: 1450 });
    expect(tunnels['cilium_vxlan']).toMatchObject({ kind: 'vxlan', port: 8472, mtu: 1500 });
    expect(nodes.stateOf('tunnel/local')).toBe('open');
  });

  test('over an IPv6 underlay the tunnel ends are IPv6, and packets are smaller', () => {
    const nodes = world({ routing: { mode: 'geneve', underlay: 'ipv6' } });
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(cached(nodes)['10.0.2.9/32']).toBe('300 2001:db8::2');
    expect(nodes.rows('routes')['10.0.2.0/24']?.mtu).toBe(1430);
  });

  test('without an address of the underlay’s family it waits, and says for what', () => {
    const nodes = world({ routing: { mode: 'vxlan', underlay: 'ipv6' } });
    nodes.upsert('ciliumnodes', ciliumNode(2, { addresses: ['192.0.2.2'] }));
    expect(nodes.stateOf('remote-node/node-2')).toBe('discovered');
    expect(nodes.problemsOf('node-2')).toEqual(['node node-2 has no IPv6 address in common with this node']);
    expect(cached(nodes)).toEqual({});
  });

  test('of a node without a CiliumNode are those of its Node, once all CiliumNodes are listed', () => {
    const nodes = new NodesWorld().before(vxlan);
    nodes.upsert('nodes', kubeNode(2));
    expect(cached(nodes)).toEqual({});
    nodes.listed();
    expect(cached(nodes)['10.0.2.0/24']).toBe('9 192.0.2.2');
    nodes.upsert('ciliumnodes', ciliumNode(2, { podCIDRs: ['10.0.7.0/24'] }));
    expect(Object.keys(cached(nodes))).toEqual(['10.0.7.0/24', '192.0.2.2/32', '2001:db8::2/128']);
    nodes.delete('ciliumnodes', node2);
    expect(cached(nodes)['10.0.2.0/24']).toBe('9 192.0.2.2');
    nodes.delete('nodes', kubeNode(2));
    expect(cached(nodes)).toEqual({});
    expect(nodes.stateOf('remote-node/node-2')).toBeUndefined();
  });
});

describe('pods of another node', () => {
  test('one change touches that pod’s rows and no others', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', node2);
    for (let pod = 2; pod < 30; pod++) nodes.upsert('ciliumendpoints', ciliumEndpoint(2, pod, 300));
    const ops = nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 301));
    expect(ops.map(({ table, action, key }) => `${action} ${table} ${key}`)).toEqual([
      'put bpf.ipcache 10.0.2.9/32',
      'put bpf.ipcache fd00:2::9/128',
    ]);
  });

  test('wait for their node, and those of this node are its own affair', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(1, 9, 300));
    nodes.upsert('ciliumnodes', ciliumNode(1));
    expect(cached(nodes)).toEqual({});
    nodes.upsert('ciliumnodes', node2);
    expect(cached(nodes)['10.0.2.9/32']).toBe('300 192.0.2.2');
    expect(cached(nodes)['10.0.1.9/32']).toBeUndefined();
    expect(nodes.stateOf('remote-node/node-1')).toBeUndefined();
  });

  test('move with their object to another node', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumnodes', ciliumNode(3));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300, { host: '192.0.2.3' }));
    expect(cached(nodes)['10.0.2.9/32']).toBe('300 192.0.2.3');
  });

  test('without an identity are unmanaged', () => {
    const nodes = world();
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, undefined));
    expect(cached(nodes)['10.0.2.9/32']).toBe('3');
  });

  test('of which two have one address: the younger has it, and the older again when that goes', () => {
    const nodes = world();
    nodes.upsert('ciliumnodes', node2);
    const young = ciliumEndpoint(2, 9, 301, { name: 'young', created: '2026-01-02T00:00:00Z' });
    nodes.upsert('ciliumendpoints', young);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(cached(nodes)['10.0.2.9/32']).toBe('301');
    nodes.delete('ciliumendpoints', young);
    expect(cached(nodes)['10.0.2.9/32']).toBe('300');
  });

  test('come in slices too, each on its node', () => {
    const nodes = world(vxlan);
    for (const number of [2, 3]) nodes.upsert('ciliumnodes', ciliumNode(number));
    const pods = [
      { node: 2, pod: 9, identity: 300 },
      { node: 3, pod: 9, identity: 301 },
    ];
    nodes.upsert('ciliumendpointslices', endpointSlice('ces-a', pods));
    expect([cached(nodes)['10.0.2.9/32'], cached(nodes)['10.0.3.9/32']]).toEqual(['300 192.0.2.2', '301 192.0.2.3']);
    nodes.upsert('ciliumendpointslices', endpointSlice('ces-a', pods.slice(1)));
    expect(cached(nodes)['10.0.2.9/32']).toBeUndefined();
    nodes.delete('ciliumendpointslices', endpointSlice('ces-a', []));
    expect(cached(nodes)['10.0.3.9/32']).toBeUndefined();
  });

  test('a row says by what object, machine and op it is there', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    const explanation = nodes.engine.explain('bpf.ipcache', '10.0.2.9/32');
    expect(JSON.stringify(explanation)).toContain('ciliumendpoints/demo/pod-2-9');
    expect(explanation).toMatchObject({
      row: { owners: ['remote-node/node-2'], actual: { identity: 300, tunnelEndpoint: '192.0.2.2' } },
    });
  });
});

describe('a node that changes', () => {
  test('its address: nothing of the old one is left, and its pods are behind the new one', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    nodes.upsert('ciliumnodes', ciliumNode(2, { addresses: ['192.0.2.77'] }));
    expect(cached(nodes)).toEqual({
      '10.0.2.0/24': '9 192.0.2.77',
      '192.0.2.77/32': '6',
      'fd00:2::/64': '10 192.0.2.77',
    });
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300, { host: '192.0.2.77' }));
    expect(cached(nodes)['10.0.2.9/32']).toBe('300 192.0.2.77');
  });

  test('leaves, and comes back under its name', () => {
    const nodes = world(vxlan);
    const empty = nodes.engine.stats();
    nodes.upsert('ciliumnodes', node2);
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    nodes.delete('ciliumnodes', node2);
    nodes.delete('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(cached(nodes)).toEqual({});
    expect(nodes.engine.stats()).toMatchObject({ machines: empty.machines, rows: empty.rows });
    nodes.upsert('ciliumnodes', ciliumNode(2, { uid: 'another' }));
    expect(cached(nodes)['10.0.2.0/24']).toBe('9 192.0.2.2');
  });

  test('says nonsense: what is good counts, and what is not is named', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', ciliumNode(2, { podCIDRs: ['10.0.2.0/24', '10.0.2'], wireguardKey: 'secret?' }));
    expect(nodes.problemsOf('node-2')).toEqual([
      'annotation network.cilium.io/wg-pub-key is no WireGuard key',
      'spec.ipam.podCIDRs has "10.0.2", expected a CIDR',
    ]);
    expect(cached(nodes)['10.0.2.0/24']).toBe('9 192.0.2.2');
    nodes.upsert('ciliumnodes', { ...node2, spec: 7 });
    expect(nodes.stateOf('remote-node/node-2')).toBe('discovered');
    expect(cached(nodes)).toEqual({});
  });
});

test.each([null, 7, 'x', [null], [7], { addresses: [null, 7], ipam: { podCIDRs: [null, 7] }, health: 7 }])(
  'objects that say %j break nothing',
  (nonsense) => {
    const nodes = world(vxlan);
    for (const [resource, name] of [
      ['ciliumnodes', 'node-2'],
      ['nodes', 'node-3'],
      ['ciliumendpoints', 'pod'],
      ['ciliumendpointslices', 'slice'],
    ] as const)
      nodes.upsert(resource, {
        ...{ apiVersion: 'v1', kind: 'X', metadata: { name } },
        ...{ spec: nonsense, status: nonsense, endpoints: nonsense },
      });
    nodes.upsert('ciliumendpoints', {
      ...{ apiVersion: 'v1', kind: 'X', metadata: { name: 'odd' } },
      status: { networking: { node: '192.0.2.2', addressing: nonsense }, identity: nonsense },
    });
    nodes.upsert('ciliumnodes', ciliumNode(2));
    expect(Object.keys(cached(nodes))).toEqual(['10.0.2.0/24', '192.0.2.2/32', '2001:db8::2/128', 'fd00:2::/64']);
  },
);

describe('direct routes', () => {
  const direct: NetworkOptions = { routing: { autoDirectNodeRoutes: true } };

  test('go by way of the node on the network that both are on', () => {
    const nodes = world(direct);
    nodes.upsert('ciliumnodes', node2);
    expect(nodes.rows('routes')['10.0.2.0/24']).toMatchObject({ dev: 'eth0', via: '192.0.2.2', mtu: 0 });
    expect(nodes.rows('routes')['fd00:2::/64']).toMatchObject({ dev: 'eth0', via: '2001:db8::2' });
  });

  test('there is none to a node elsewhere, which is said', () => {
    const nodes = world(direct);
    nodes.upsert('ciliumnodes', ciliumNode(2, { addresses: ['198.51.100.2'] }));
    expect(nodes.stateOf('remote-node/node-2')).toBe('unroutable');
    expect(nodes.problemsOf('node-2')).toEqual([
      'no route to 10.0.2.0/24: address 198.51.100.2 is on no network of this node, as autoDirectNodeRoutes needs it',
      'no route to fd00:2::/64: it has no IPv6 address, as autoDirectNodeRoutes needs it',
    ]);
  });
});

describe('two nodes with one range', () => {
  const older = ciliumNode(2, { podCIDRs: ['10.0.0.0/16'] });
  const younger = ciliumNode(3, { podCIDRs: ['10.0.3.0/24'], created: '2026-02-01T00:00:00Z' });

  test.each([['older first'], ['younger first']])('the older has it, whoever is heard of first: %s', (order) => {
    const nodes = world(vxlan);
    const all = order === 'older first' ? [older, younger] : [younger, older];
    for (const one of all) nodes.upsert('ciliumnodes', { ...one });
    nodes.upsert('ciliumendpoints', ciliumEndpoint(3, 9, 300));
    // 10.0.0.0/16 holds this node's own range, which nobody takes away.
    expect(nodes.problemsOf('node-2')).toEqual(['10.0.0.0/16 is in use by node node-1']);
    expect(nodes.problemsOf('node-3')).toEqual(['10.0.3.0/24 is in use by node node-2']);
    expect(Object.keys(cached(nodes)).filter((key) => key.startsWith('10.'))).toEqual([]);
    nodes.delete('ciliumnodes', older);
    expect(cached(nodes)['10.0.3.9/32']).toBe('300 192.0.2.3');
  });

  test('of one age: the one whose name is first', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', ciliumNode(3, { podCIDRs: ['10.0.9.0/24'] }));
    nodes.upsert('ciliumnodes', ciliumNode(2, { podCIDRs: ['10.0.9.0/24'] }));
    expect(cached(nodes)['10.0.9.0/24']).toBe('9 192.0.2.2');
    expect(nodes.problemsOf('node-3')).toEqual(['10.0.9.0/24 is in use by node node-2']);
  });

  test('with one address: the younger is not reached there', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', ciliumNode(3, { addresses: ['192.0.2.2'], created: '2026-02-01T00:00:00Z' }));
    nodes.upsert('ciliumnodes', node2);
    expect(nodes.stateOf('remote-node/node-3')).toBe('discovered');
    expect(nodes.problemsOf('node-3')[0]).toBe('192.0.2.2/32 is in use by node node-2');
    expect(nodes.stateOf('remote-node/node-2')).toBe('routed');
  });

  test('this node being the younger says so in an Event, and keeps its pods', () => {
    const nodes = world(vxlan);
    nodes.upsert('ciliumnodes', ciliumNode(2, { podCIDRs: ['10.0.1.0/24'], created: '2025-01-01T00:00:00Z' }));
    const [event] = Object.entries(nodes.rows('kube.objects')).filter(([key]) => key.startsWith('events/'));
    expect(event?.[1]).toMatchObject({
      reason: 'NodeAddressConflict',
      message: '10.0.1.0/24 is in use by node node-2: other nodes go to the older node',
      involvedObject: { kind: 'Node', name: 'node-1' },
    });
    expect(nodes.rows('routes')['10.0.1.0/24']?.type).toBe('unreachable');
    nodes.delete('ciliumnodes', node2);
    expect(Object.keys(nodes.rows('kube.objects')).filter((key) => key.startsWith('events/'))).toEqual([]);
  });
});

describe('probes', () => {
  const probing: NetworkOptions = { health: { enabled: true, intervalMs: 10_000 } };

  test('ICMP and TCP, to the node and its health endpoint, each node at its own moment', () => {
    const nodes = world(probing);
    for (const number of [2, 3])
      nodes.upsert('ciliumnodes', ciliumNode(number, { health: { ipv4: `10.0.${number}.200` } }));
    const probes = nodes.rows('health.probes');
    expect(Object.keys(probes).filter((key) => key.startsWith('node-2/'))).toEqual([
      'node-2/endpoint/ICMP/10.0.2.200',
      'node-2/endpoint/TCP/10.0.2.200',
      'node-2/node/ICMP/192.0.2.2',
      'node-2/node/TCP/192.0.2.2',
    ]);
    const offsets = new Set(Object.values(probes).map(({ offsetMs }) => offsetMs));
    expect(offsets.size).toBe(2);
    for (const offset of offsets) expect(offset).toBeLessThan(10_000);
  });

  test('one answer makes it reachable, none unreachable, and its rows stay', () => {
    const nodes = world(probing);
    nodes.upsert('ciliumnodes', node2);
    const say = (icmp?: string, tcp?: string) =>
      nodes.say({
        type: 'health.probed',
        node: 'node-2',
        results: [
          { probe: 'node-2/node/ICMP/192.0.2.2', ...(icmp && { error: icmp }) },
          { probe: 'node-2/node/TCP/192.0.2.2', ...(tcp && { error: tcp }) },
        ],
      });
    expect(nodes.stateOf('remote-node/node-2')).toBe('routed');
    expect(say('timeout')).toEqual([]);
    expect(nodes.stateOf('remote-node/node-2')).toBe('reachable');
    expect(say('timeout', 'timeout')).toEqual([]);
    expect(nodes.stateOf('remote-node/node-2')).toBe('unreachable');
    say();
    expect(nodes.stateOf('remote-node/node-2')).toBe('reachable');
  });
});
