/** A node among others, without a kernel: objects as other nodes' agents write them, and the rows that this node makes of them. */
import type { AgentFacts, EncryptionFacts, HealthFacts, KubeObject, RoutingFacts } from '../cluster/events.ts';
import { agentFacts, ServiceWorld } from './services.ts';

const routing: RoutingFacts = {
  mode: 'native',
  tunnelPort: 0,
  underlay: 'auto',
  autoDirectNodeRoutes: false,
  nativeCidr4: '10.0.0.0/8',
  nativeCidr6: 'fd00::/8',
};
const encryption: EncryptionFacts = {
  type: 'none',
  strict: false,
  nodeEncryption: false,
  wireguardPort: 51_871,
  rotationGraceMs: 60_000,
};
const health: HealthFacts = { enabled: false, intervalMs: 60_000, port: 4240 };

export interface NetworkOptions {
  routing?: Partial<RoutingFacts>;
  encryption?: Partial<EncryptionFacts>;
  health?: Partial<HealthFacts>;
}

/** Agent facts of node-1 in a network of a kind. */
export function networkFacts(options: NetworkOptions = {}): AgentFacts {
  const mode = options.routing?.mode ?? 'native';
  const tunnelPort = { native: 0, vxlan: 8472, geneve: 6081 }[mode];
  return {
    ...agentFacts,
    routing: { ...routing, tunnelPort, ...options.routing },
    encryption: { ...encryption, ...options.encryption },
    health: { ...health, ...options.health },
  };
}

/** What a node says of itself; its number makes its name, addresses and pod CIDRs, unless told otherwise. */
export interface Told {
  name?: string;
  /** Of inside; node 2 has 192.0.2.2 and 2001:db8::2. */
  addresses?: readonly string[];
  podCIDRs?: readonly string[];
  health?: { ipv4?: string; ipv6?: string };
  wireguardKey?: string;
  keyId?: number;
  created?: string;
  uid?: string;
}

export const nodeNameOf = (number: number): string => `node-${number}`;
/** 250 nodes to the last byte of an address, so that there is room for thousands. */
const high = (number: number): number => Math.floor(number / 250);
const low = (number: number): number => (number % 250) + 1;
export const nodeAddressesOf = (number: number): [string, string] => [
  number < 250 ? `192.0.2.${number}` : `198.18.${high(number)}.${low(number)}`,
  `2001:db8::${number.toString(16)}`,
];
export const podCidrsOf = (number: number): [string, string] => [
  `10.${high(number)}.${number % 250}.0/24`,
  `fd00:${number.toString(16)}::/64`,
];
export const podAddressesOf = (node: number, pod: number): [string, string] => [
  `10.${high(node)}.${node % 250}.${pod}`,
  `fd00:${node.toString(16)}::${pod.toString(16)}`,
];

/** A public key that is good text; its number tells it from others. */
export const wireguardKeyOf = (number: number): string =>
  Buffer.from(
    Uint8Array.from({ length: 32 }, (_, i) => (i === 31 ? number & 255 : i === 30 ? number >> 8 : 7)),
  ).toString('base64');

export function ciliumNode(number: number, told: Told = {}): KubeObject {
  const { name = nodeNameOf(number), created = '2026-01-01T00:00:00Z', uid = `uid-${number}` } = told;
  const { addresses = nodeAddressesOf(number), podCIDRs = podCidrsOf(number), health, wireguardKey, keyId } = told;
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNode',
    metadata: {
      name,
      uid,
      creationTimestamp: created,
      ...(wireguardKey && { annotations: { 'network.cilium.io/wg-pub-key': wireguardKey } }),
    },
    spec: {
      addresses: addresses.map((ip) => ({ type: 'InternalIP', ip })),
      ipam: { podCIDRs: [...podCIDRs] },
      ...(health && { health }),
      ...(keyId && { encryption: { key: keyId } }),
    },
  };
}

export function kubeNode(number: number, told: Told = {}): KubeObject {
  const { name = nodeNameOf(number), created = '2026-01-01T00:00:00Z', uid = `uid-${number}` } = told;
  const { addresses = nodeAddressesOf(number), podCIDRs = podCidrsOf(number) } = told;
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, uid, creationTimestamp: created },
    spec: { podCIDRs: [...podCIDRs] },
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}

/** A pod on a node as its agent tells of it. `host`: the node's address. */
export function ciliumEndpoint(
  node: number,
  pod: number,
  identity: number | undefined,
  more: { name?: string; host?: string; created?: string; addresses?: readonly [string, string] } = {},
): KubeObject {
  const { name = `pod-${node}-${pod}`, host = nodeAddressesOf(node)[0], created = '2026-01-01T00:00:00Z' } = more;
  const [ipv4, ipv6] = more.addresses ?? podAddressesOf(node, pod);
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumEndpoint',
    metadata: { name, namespace: 'demo', uid: `uid-${name}`, creationTimestamp: created },
    status: {
      ...(identity !== undefined && { identity: { id: identity } }),
      networking: { addressing: [{ ipv4, ipv6 }], node: host },
    },
  };
}

export function endpointSlice(
  name: string,
  pods: readonly { node: number; pod: number; identity: number }[],
): KubeObject {
  return {
    apiVersion: 'cilium.io/v2alpha1',
    kind: 'CiliumEndpointSlice',
    metadata: { name, uid: `uid-${name}`, creationTimestamp: '2026-01-01T00:00:00Z' },
    namespace: 'demo',
    endpoints: pods.map(({ node, pod, identity }) => {
      const [ipv4, ipv6] = podAddressesOf(node, pod);
      return {
        name: `pod-${node}-${pod}`,
        id: identity,
        networking: { addressing: [{ ipv4, ipv6 }], node: nodeAddressesOf(node)[0] },
      };
    }),
  };
}

/** node-1 with 192.0.2.1 and pods in 10.0.1.0/24, which hears of others. */
export class NodesWorld extends ServiceWorld {
  among(options: NetworkOptions = {}): this {
    return this.before(options).listed();
  }

  /** The lists of nodes and pods are not complete yet. */
  before(options: NetworkOptions = {}): this {
    this.say({ type: 'agent.started', config: networkFacts(options) });
    const link = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
    this.say({ type: 'link.upserted', link: { ...link, addresses: ['192.0.2.1/24', '2001:db8::1/64'] } });
    this.upsert('nodes', kubeNode(1));
    return this;
  }

  listed(): this {
    const resources = ['nodes', 'ciliumnodes', 'ciliumendpoints', 'ciliumendpointslices'];
    for (const source of ['local', 'links', ...resources.map((one) => `kube/${one}`)])
      this.say({ type: 'source.synced', source } as { type: 'source.synced'; source: 'local' });
    return this;
  }

  /** A timer fires when it is due. */
  wake(key: string): void {
    const due = this.rows('timers')[key]?.dueMs;
    if (due === undefined) throw new Error(`no timer ${key}`);
    this.passTo(due);
    this.say({ type: 'timer.fired', key });
  }

  stateOf(machine: string): string | undefined {
    return this.engine.machine(machine)?.state;
  }

  problemsOf(node: string): readonly string[] {
    const { problems } = (this.engine.machine(`remote-node/${node}`)?.context ?? { problems: [] }) as {
      problems: readonly string[];
    };
    return problems;
  }
}
