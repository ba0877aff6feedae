/** What WireGuard and IPsec come to in rows, and how keys change. */
import { describe, expect, test } from 'vitest';
import type { ClusterEvent, KubeObject } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import {
  ciliumEndpoint,
  ciliumNode,
  type NetworkOptions,
  NodesWorld,
  wireguardKeyOf,
} from '../simulations/cluster-nodes.ts';

const ownKey = wireguardKeyOf(1);
const keyed = (number: number, key = number) => ciliumNode(number, { wireguardKey: wireguardKeyOf(key) });

function wireguard(options: NetworkOptions = {}): NodesWorld {
  const nodes = new NodesWorld().among({ ...options, encryption: { type: 'wireguard', ...options.encryption } });
  nodes.say({ type: 'wireguard.keyed', publicKey: ownKey });
  return nodes;
}
const cachedKey = (nodes: NodesWorld, cidr: string) => nodes.rows('bpf.ipcache')[cidr]?.encryptKey;
const announced = (nodes: NodesWorld) =>
  nodes.rows('kube.objects')['ciliumnodes/node-1'] as unknown as {
    metadata: { annotations?: Record<string, string> };
    spec: { encryption?: { key: number } };
  };

describe('WireGuard', () => {
  test('the device has this node’s key, and others are told of it', () => {
    const nodes = wireguard();
    expect(nodes.rows('wireguard.devices')).toEqual({
      cilium_wg0: { publicKey: ownKey, listenPort: 51_871, mtu: 1420, fwmark: 0x1e00 },
    });
    expect(announced(nodes).metadata.annotations).toEqual({ 'network.cilium.io/wg-pub-key': ownKey });
    expect(announced(nodes).spec.encryption).toEqual({ key: 255 });
    expect(nodes.stateOf('wireguard/local')).toBe('up');
  });

  test('a node is a peer for its pods; packets to them are encrypted, to itself not', () => {
    const nodes = wireguard();
    nodes.upsert('ciliumnodes', keyed(2));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    expect(nodes.rows('wireguard.peers')).toEqual({
      [wireguardKeyOf(2)]: {
        dev: 'cilium_wg0',
        node: 'node-2',
        endpoint: '192.0.2.2:51871',
        allowedIps: ['10.0.2.0/24', 'fd00:2::/64'],
        keepaliveSeconds: 0,
      },
    });
    expect(['10.0.2.9/32', '10.0.2.0/24', '192.0.2.2/32'].map((cidr) => cachedKey(nodes, cidr))).toEqual([255, 255, 0]);
  });

  test.each([
    ['what nodes send is to be encrypted', { encryption: { nodeEncryption: true } }],
    ['tunnels run between nodes', { routing: { mode: 'vxlan' as const } }],
  ])('node addresses are allowed where %s', (_, options) => {
    const nodes = wireguard(options);
    nodes.upsert('ciliumnodes', keyed(2));
    expect(Object.values(nodes.rows('wireguard.peers'))[0]?.allowedIps).toEqual([
      '10.0.2.0/24',
      '192.0.2.2/32',
      '2001:db8::2/128',
      'fd00:2::/64',
    ]);
    expect(cachedKey(nodes, '192.0.2.2/32')).toBe('encryption' in options ? 255 : 0);
  });

  test('over an IPv6 underlay the peer’s end is IPv6', () => {
    const nodes = wireguard({ routing: { underlay: 'ipv6' } });
    nodes.upsert('ciliumnodes', keyed(2));
    expect(Object.values(nodes.rows('wireguard.peers'))[0]?.endpoint).toBe('[2001:db8::2]:51871');
  });

  test('a node without a key: in clear, but in strict mode nothing goes', () => {
    for (const strict of [false, true]) {
      const nodes = wireguard({ encryption: { strict } });
      nodes.upsert('ciliumnodes', ciliumNode(2));
      nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
      expect(cachedKey(nodes, '10.0.2.9/32')).toBe(strict ? 255 : 0);
      expect(nodes.rows('wireguard.peers')).toEqual({});
      expect(nodes.problemsOf('node-2')).toEqual(['node node-2 has told no key of wireguard']);
    }
  });

  test('before this node has a key nothing is sent in clear, as at a start', () => {
    const nodes = new NodesWorld().among({ encryption: { type: 'wireguard' } });
    for (const one of [keyed(2), ciliumNode(3)]) nodes.upsert('ciliumnodes', one);
    expect([cachedKey(nodes, '10.0.2.0/24'), cachedKey(nodes, '10.0.3.0/24')]).toEqual([255, 255]);
    nodes.say({ type: 'wireguard.keyed', publicKey: ownKey });
    expect([cachedKey(nodes, '10.0.2.0/24'), cachedKey(nodes, '10.0.3.0/24')]).toEqual([255, 0]);
  });

  test('a node that has this node’s own key is no peer', () => {
    const nodes = wireguard();
    nodes.upsert('ciliumnodes', keyed(2, 1));
    expect(nodes.rows('wireguard.peers')).toEqual({});
    expect(nodes.stateOf('wireguard-peer/node-2')).toBe('keyless');
  });

  test('another node’s new key is put before the old one goes, and pods stay encrypted', () => {
    const nodes = wireguard();
    nodes.upsert('ciliumnodes', keyed(2));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    const ops = nodes.upsert('ciliumnodes', keyed(2, 77));
    expect(ops.map(({ table, action, key }) => `${action} ${table} ${key}`)).toEqual([
      `put wireguard.peers ${wireguardKeyOf(77)}`,
      `delete wireguard.peers ${wireguardKeyOf(2)}`,
    ]);
  });

  test('this node’s new key is told when the device has it', () => {
    const nodes = wireguard();
    const ops = nodes.say({ type: 'wireguard.keyed', publicKey: wireguardKeyOf(99) });
    expect(ops.map(({ table, key }) => `${table} ${key}`)).toEqual([
      'wireguard.devices cilium_wg0',
      'kube.objects ciliumnodes/node-1',
    ]);
    expect(announced(nodes).metadata.annotations).toEqual({ 'network.cilium.io/wg-pub-key': wireguardKeyOf(99) });
  });

  test('a device that cannot be made is told to nobody', () => {
    const nodes = new NodesWorld().among({ encryption: { type: 'wireguard' } });
    nodes.refuse = ({ table }) => table === 'wireguard.devices';
    nodes.say({ type: 'wireguard.keyed', publicKey: ownKey });
    expect(nodes.stateOf('wireguard/local')).toBe('failing');
    expect(announced(nodes).metadata.annotations).toBeUndefined();
    nodes.refuse = () => false;
    nodes.say({ type: 'timer.fired', key: 'wireguard/local/retry' });
    expect(nodes.stateOf('wireguard/local')).toBe('up');
    expect(announced(nodes).metadata.annotations).toEqual({ 'network.cilium.io/wg-pub-key': ownKey });
  });

  test('a node replaced under its name has a new peer, and nothing of the old one', () => {
    const nodes = wireguard();
    nodes.upsert('ciliumnodes', keyed(2));
    nodes.delete('ciliumnodes', keyed(2));
    expect(nodes.rows('wireguard.peers')).toEqual({});
    expect(nodes.stateOf('wireguard-peer/node-2')).toBeUndefined();
    nodes.upsert('ciliumnodes', { ...keyed(2, 55), metadata: { ...keyed(2, 55).metadata, uid: 'new' } });
    expect(Object.keys(nodes.rows('wireguard.peers'))).toEqual([wireguardKeyOf(55)]);
  });
});

describe('IPsec', () => {
  const three = { id: 3, fingerprint: 'aaaa' };
  const four = { id: 4, fingerprint: 'bbbb' };
  const ipsec = (options: NetworkOptions = {}): NodesWorld =>
    new NodesWorld().among({ ...options, encryption: { type: 'ipsec', ...options.encryption } });
  const states = (nodes: NodesWorld) => Object.keys(nodes.rows('xfrm.states'));

  test('an association each way, marked with the key and the node', () => {
    const nodes = ipsec();
    nodes.say({ type: 'ipsec.keyed', keys: [three] });
    nodes.upsert('ciliumnodes', ciliumNode(2, { keyId: 3 }));
    nodes.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
    const { nodeId, encryptKey } = nodes.rows('bpf.nodes')['192.0.2.2'] as { nodeId: number; encryptKey: number };
    expect(encryptKey).toBe(3);
    const out = nodes.rows('xfrm.states')['192.0.2.1>192.0.2.2/3'];
    expect(out).toMatchObject({ direction: 'out', mark: nodeId * 65_536 + 0x3e00, markMask: 0xffffff00, reqid: 120 });
    const into = nodes.rows('xfrm.states')['192.0.2.2>192.0.2.1/3'];
    expect(into).toMatchObject({ direction: 'in', mark: nodeId * 65_536 + 0x0d00, markMask: 0xffff0f00 });
    expect(Object.keys(nodes.rows('xfrm.policies')).map((key) => key.split('/')[0])).toEqual([
      ...['fwd', 'fwd', 'in', 'in'],
      ...['out', 'out'],
    ]);
    expect(nodes.rows('bpf.ipcache')['10.0.2.9/32']).toMatchObject({ encryptKey: 3, tunnelEndpoint: '192.0.2.2' });
    expect(announced(nodes).spec.encryption).toEqual({ key: 3 });
  });

  test('a rotation: both keys are accepted, what is sent follows what the other has told, and the old one goes', () => {
    const nodes = ipsec();
    nodes.say({ type: 'ipsec.keyed', keys: [three] });
    nodes.upsert('ciliumnodes', ciliumNode(2, { keyId: 3 }));
    const put = nodes.say({ type: 'ipsec.keyed', keys: [four] });
    expect(put.filter(({ action }) => action === 'delete')).toEqual([]);
    expect(states(nodes)).toEqual([
      '192.0.2.1>192.0.2.2/3',
      '192.0.2.1>192.0.2.2/4',
      '192.0.2.2>192.0.2.1/3',
      '192.0.2.2>192.0.2.1/4',
    ]);
    expect([announced(nodes).spec.encryption, nodes.rows('bpf.nodes')['192.0.2.2']?.encryptKey]).toEqual([
      { key: 3 },
      3,
    ]);
    expect(nodes.stateOf('ipsec/local')).toBe('rotating');
    nodes.wake('ipsec/local/rotation');
    expect(announced(nodes).spec.encryption).toEqual({ key: 4 });
    nodes.upsert('ciliumnodes', ciliumNode(2, { keyId: 4 }));
    expect(nodes.rows('bpf.nodes')['192.0.2.2']?.encryptKey).toBe(4);
    nodes.wake('ipsec/local/rotation');
    expect(states(nodes)).toEqual(['192.0.2.1>192.0.2.2/4', '192.0.2.2>192.0.2.1/4']);
    expect(nodes.stateOf('ipsec/local')).toBe('keyed');
  });

  test('a clock that was put back holds no rotation up', () => {
    const nodes = ipsec();
    nodes.say({ type: 'ipsec.keyed', keys: [three] });
    nodes.say({ type: 'ipsec.keyed', keys: [four] });
    // Timers count what passes; the time of day is before they were due.
    nodes.say({ type: 'timer.fired', key: 'ipsec/local/rotation' });
    expect(announced(nodes).spec.encryption).toEqual({ key: 4 });
    nodes.say({ type: 'timer.fired', key: 'ipsec/local/rotation' });
    expect(nodes.stateOf('ipsec/local')).toBe('keyed');
  });

  test('a node that is ahead of this one is sent what this one has', () => {
    const nodes = ipsec();
    nodes.say({ type: 'ipsec.keyed', keys: [three] });
    nodes.upsert('ciliumnodes', ciliumNode(2, { keyId: 4 }));
    expect(nodes.rows('bpf.nodes')['192.0.2.2']?.encryptKey).toBe(3);
  });

  test('after a restart in the middle of a rotation the old key is still accepted', () => {
    const nodes = new NodesWorld();
    nodes.say({ type: 'local.restored', endpoints: [] });
    nodes.before({ encryption: { type: 'ipsec' } });
    nodes.say({ type: 'local.restored', endpoints: [], ipsecKeys: [three], nodeIds: { '192.0.2.2': 9 } });
    nodes.listed();
    nodes.upsert('ciliumnodes', ciliumNode(2, { keyId: 3 }));
    nodes.say({ type: 'ipsec.keyed', keys: [four] });
    expect(states(nodes).length).toBe(4);
    expect(nodes.rows('bpf.nodes')['192.0.2.2']).toEqual({ nodeId: 9, encryptKey: 3 });
  });
});

describe('what encrypts is there before an address asks for it, and goes when nothing asks any more', () => {
  const keyId = 3;
  test.each<['wireguard' | 'ipsec', ClusterEvent, KubeObject, readonly string[]]>([
    ['wireguard', { type: 'wireguard.keyed', publicKey: ownKey }, keyed(2), ['wireguard.peers', 'bpf.ipcache']],
    [
      'ipsec',
      { type: 'ipsec.keyed', keys: [{ id: keyId, fingerprint: 'aaaa' }] },
      ciliumNode(2, { keyId }),
      ['xfrm.states', 'xfrm.policies', 'bpf.nodes', 'bpf.ipcache'],
    ],
  ])('%s', (type, key, node, order) => {
    const nodes = new NodesWorld().among({ encryption: { type } });
    nodes.say(key);
    const tablesOf = (ops: readonly Op[]): string[] => [
      ...new Set(
        ops
          .map(({ action, table }) => `${action} ${table}`)
          .filter((name) => order.includes(name.slice(name.indexOf(' ') + 1))),
      ),
    ];
    expect(tablesOf(nodes.upsert('ciliumnodes', node))).toEqual(order.map((table) => `put ${table}`));
    expect(tablesOf(nodes.delete('ciliumnodes', node))).toEqual(order.toReversed().map((table) => `delete ${table}`));
  });
});
