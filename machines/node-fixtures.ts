/** What the machines of many nodes may hear, for the test of all machines. */
import type { AgentFacts } from '../cluster/events.ts';
import type { Message } from './machine.ts';

const at = 1_000;
const object = (kind: string, name: string, more: object, spec: object = {}) => ({
  apiVersion: 'cilium.io/v2',
  kind,
  metadata: { name, ...more },
  spec,
});
const upserted = (resource: string, o: object) =>
  ({ type: 'kube.upserted', resource, object: o, at }) as unknown as Message;
const deleted = (resource: string, o: object) =>
  ({ type: 'kube.deleted', resource, object: o, at }) as unknown as Message;
const fact = (topic: string, value: unknown, from = topic): Message => ({ type: 'fact', at, topic, from, value });
const failed: Message = {
  type: 'failed',
  at,
  table: 'routes',
  key: '10.0.2.0/24',
  error: { kind: 'kernel', errno: 'EBUSY', message: 'routes 10.0.2.0/24: busy', retryable: true },
};
const settled: Message = { type: 'settled', at };
const timer: Message = { type: 'timer.fired', at: at + 10_000, key: 'x' };
const KEYS = ['AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=', 'BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='] as const;

const underlay = {
  ipv4: '192.0.2.1',
  ipv6: '2001:db8::1',
  networks: [{ dev: 'eth0', address: '192.0.2.1/24' }],
  gateway4: '10.0.1.1',
  gateway6: 'fd00:1::1',
  mtu: 1500,
};
const ciliumNode = (addresses: string[], podCIDRs: string[]) =>
  object(
    'CiliumNode',
    'n2',
    { annotations: { 'network.cilium.io/wg-pub-key': KEYS[0] } },
    { addresses: addresses.map((ip) => ({ type: 'InternalIP', ip })), ipam: { podCIDRs }, encryption: { key: 3 } },
  );
const there = ciliumNode(['192.0.2.2'], ['10.0.2.0/24']);
const pod = (identity: number) => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumEndpoint',
  metadata: { name: 'p', namespace: 'demo' },
  status: { identity: { id: identity }, networking: { addressing: [{ ipv4: '10.0.2.9' }], node: '192.0.2.2' } },
});
const clusterNode = {
  ...{ name: 'n2', id: 7, local: '192.0.2.1', remote: '192.0.2.2', podCidrs: ['10.0.2.0/24'] },
  ...{ addresses: ['192.0.2.2'], internal: [], wireguardKey: KEYS[0], keyId: 3 },
};

interface World {
  inputs: unknown[];
  prelude?: Message[];
  alphabet: Message[];
  limit?: number;
}

export function worldsOfNodes(agent: AgentFacts): Record<string, World> {
  const started = (more: Partial<AgentFacts>): Message => ({
    type: 'agent.started',
    at,
    config: { ...agent, ...more },
  });
  const routing = { mode: 'native', tunnelPort: 0, underlay: 'auto', nativeCidr4: '', nativeCidr6: '' } as const;
  const encryption = { strict: true, nodeEncryption: false, wireguardPort: 51_871, rotationGraceMs: 9_000 };
  const direct = { routing: { ...routing, autoDirectNodeRoutes: true } };
  const health = { enabled: true, intervalMs: 1_000, port: 4240 };
  const probe = (error?: string): Message => ({
    type: 'health.probed',
    at,
    node: 'n2',
    results: ['ICMP', 'TCP'].map((protocol) => ({
      probe: `n2/node/${protocol}/192.0.2.2`,
      ...(error && { error }),
    })),
  });
  const geneve = { routing: { ...routing, autoDirectNodeRoutes: false, mode: 'geneve' as const, tunnelPort: 6081 } };
  return {
    'node-directory': {
      inputs: [{}],
      limit: 100,
      alphabet: [
        { type: 'local.restored', at, endpoints: [], nodeIds: { '192.0.2.2': 9 } },
        fact('node-claims', { name: 'n1', own: true, created: '', cidrs: ['10.0.1.0/24'] }, 'node/local'),
        fact('node-claims', { name: 'n2', own: false, created: '', cidrs: ['10.0.0.0/16'] }, 'remote-node/n2'),
        fact('node-claims', { name: 'n3', own: false, created: '', cidrs: ['10.0.2.0/24'] }, 'remote-node/n3'),
        fact('node-claims', undefined, 'remote-node/n2'),
      ],
    },
    tunnel: {
      limit: 150,
      inputs: [{ agent: { ...agent, ...geneve } }],
      alphabet: [fact('underlay/local', underlay), fact('underlay/local', undefined), settled, failed, timer],
    },
    wireguard: {
      limit: 150,
      inputs: [{ agent: { ...agent, encryption: { ...encryption, type: 'wireguard' } } }],
      alphabet: [
        fact('underlay/local', underlay),
        ...KEYS.map((publicKey): Message => ({ type: 'wireguard.keyed', at, publicKey })),
        settled,
        failed,
        timer,
      ],
    },
    ipsec: {
      inputs: [{ agent: { ...agent, encryption: { ...encryption, type: 'ipsec' } } }],
      limit: 200,
      alphabet: [
        { type: 'local.restored', at, endpoints: [], ipsecKeys: [{ id: 2, fingerprint: 'a' }] },
        { type: 'ipsec.keyed', at, keys: [{ id: 3, fingerprint: 'b' }] },
        { type: 'ipsec.keyed', at, keys: [{ id: 4, fingerprint: 'c' }] },
        { type: 'ipsec.keyed', at, keys: [] },
        settled,
        failed,
        { type: 'timer.fired', at: at + 10_000, key: 'ipsec/local/rotation' },
      ],
    },
    'remote-node': {
      inputs: [{ name: 'n2' }, { name: 'n1' }],
      limit: 250,
      prelude: [
        { type: 'source.synced', at, source: 'kube/ciliumnodes' },
        { type: 'source.synced', at, source: 'kube/ciliumendpoints' },
        fact('underlay/local', underlay),
      ],
      alphabet: [
        started({ ...direct, health }),
        upserted('ciliumnodes', there),
        upserted('ciliumnodes', ciliumNode(['198.51.100.2'], ['10.0.2.0/24'])),
        deleted('ciliumnodes', there),
        fact('node-standing', { id: 7, refused: {} }, 'node-directory'),
        upserted('ciliumendpoints', pod(300)),
        deleted('ciliumendpoints', pod(300)),
        probe(),
        probe('no answer'),
        settled,
        failed,
        timer,
      ],
    },
    'wireguard-peer': {
      limit: 150,
      inputs: [{ key: 'wireguard-peer/n2' }],
      prelude: [started({ encryption: { ...encryption, type: 'wireguard' } })],
      alphabet: [
        fact('node-of-cluster/n2', clusterNode),
        fact('node-of-cluster/n2', { ...clusterNode, wireguardKey: '' }),
        fact('wireguard/local', { publicKey: KEYS[1] }),
        settled,
        failed,
        timer,
        { type: 'unwanted', at },
      ],
    },
    'ipsec-peer': {
      limit: 150,
      inputs: [{ key: 'ipsec-peer/n2' }],
      prelude: [started({ encryption: { ...encryption, type: 'ipsec' } })],
      alphabet: [
        fact('node-of-cluster/n2', clusterNode),
        fact('node-of-cluster/n2', { ...clusterNode, keyId: 0 }),
        fact('ipsec/local', { keys: [{ id: 3, fingerprint: 'b' }], announced: 3 }),
        settled,
        failed,
        timer,
        { type: 'unwanted', at },
      ],
    },
  };
}
