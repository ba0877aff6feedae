/** The CiliumNode that tells other nodes of this one, and the Event when another has what this one has. */
import type { AgentFacts, KubeObject } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import type { PoolFact } from './ip-pool.ts';
import { fnv1a } from './naming.ts';
import { addressesOf, healthOf } from './underlay.ts';

/** Where Cilium has it. */
export const WIREGUARD_KEY = 'network.cilium.io/wg-pub-key';
/** `true`: policies with a nodeSelector are in force on it. */
export const HOST_FIREWALL = 'policy.axoneme.io/host-firewall';
/** Of `spec.encryption.key`, and of an address behind WireGuard; reference/datapath.md. */
export const WIREGUARD_KEY_ID = 255;

/** What others need to send this node encrypted packets. */
export interface OwnKeys {
  /** '' without WireGuard, and until the device has the key. */
  wireguard: string;
  /** Number of IPsec's key; 0: none. */
  ipsec: number;
}

/** Of this node's health endpoint, said by the endpoint as long as it is there. */
export const healthEndpointTopic = 'health-endpoint';
export interface HealthEndpointFact {
  ipv4: string;
  ipv6: string;
}

/** Where others ask for this node's pods. Without an endpoint for it a way to the gateway is a way to the pods. */
function healthAddresses(agent: AgentFacts, pool: PoolFact, endpoint: HealthEndpointFact | undefined): object {
  const { enabled, endpoint: hasEndpoint } = healthOf(agent);
  const there = hasEndpoint ? endpoint : { ipv4: pool.gateway4, ipv6: pool.gateway6 };
  if (!enabled || !there) return {};
  return { health: { ...(there.ipv4 && { ipv4: there.ipv4 }), ...(there.ipv6 && { ipv6: there.ipv6 }) } };
}

export const keyIdOf = ({ wireguard, ipsec }: OwnKeys): number => (wireguard ? WIREGUARD_KEY_ID : ipsec);

export function announcementOf(
  agent: AgentFacts,
  object: KubeObject,
  pool: PoolFact,
  keys: OwnKeys,
  healthEndpoint: HealthEndpointFact | undefined,
): Extract<Row, { table: 'kube.objects' }> {
  const gateways = [pool.gateway4, pool.gateway6].filter(Boolean).map((ip) => ({ type: 'CiliumInternalIP', ip }));
  const key = keyIdOf(keys);
  return {
    table: 'kube.objects',
    key: `ciliumnodes/${agent.nodeName}`,
    value: {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNode',
      metadata: {
        name: agent.nodeName,
        ...annotationsOf(agent, keys.wireguard),
      },
      spec: {
        addresses: [...addressesOf(object), ...gateways],
        ...healthAddresses(agent, pool, healthEndpoint),
        ipam: { podCIDRs: [pool.cidr4, pool.cidr6].filter(Boolean) },
        ...(key > 0 && { encryption: { key } }),
        ...(agent.bootId && { bootid: agent.bootId }),
      },
    },
  };
}

/** Said as long as it is not so, too: what is not said stays as it was said before. */
function annotationsOf({ policy }: AgentFacts, key: string): { annotations?: Record<string, string> } {
  const annotations = {
    ...(key && { [WIREGUARD_KEY]: key }),
    ...(policy && { [HOST_FIREWALL]: String(policy.hostFirewall) }),
  };
  return Object.keys(annotations).length > 0 ? { annotations } : {};
}

const MESSAGE_CHARACTERS_MAX = 1_024;

/** `lost` names the older node that has it, by CIDR; said of this node by its own agent, as long as it is so. */
export function conflictEvent(
  { nodeName }: AgentFacts,
  uid: string,
  lost: Readonly<Record<string, string>>,
  sinceMs: number,
): Row[] {
  const parts = Object.entries(lost)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([cidr, by]) => `${cidr} is in use by node ${by}`);
  if (parts.length === 0) return [];
  const message = `${parts.join(', ')}: other nodes go to the older node`.slice(0, MESSAGE_CHARACTERS_MAX);
  const time = new Date(sinceMs).toISOString().replace(/\.\d+Z$/, 'Z');
  const metadata = { name: `${nodeName}.${fnv1a(message)}`, namespace: 'default' };
  return [
    {
      table: 'kube.objects',
      key: `events/default/${metadata.name}`,
      value: {
        apiVersion: 'v1',
        kind: 'Event',
        metadata,
        involvedObject: { apiVersion: 'v1', kind: 'Node', name: nodeName, uid },
        type: 'Warning',
        reason: 'NodeAddressConflict',
        message,
        source: { component: 'axoneme-agent' },
        firstTimestamp: time,
        lastTimestamp: time,
        count: 1,
      },
    },
  ];
}
