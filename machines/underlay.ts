/** How this node reaches the others, as far as it depends on this node alone: its addresses, networks, and sizes of packets. */
import type { AgentFacts, EncryptionFacts, HealthFacts, KubeObject, RoutingFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { canonicalAddress, familyOf } from './cidr.ts';
import type { DeviceFact } from './device.ts';
import type { PoolFact } from './ip-pool.ts';

/** Of recordings from before there were many nodes. */
const routingBefore: RoutingFacts = {
  mode: 'native',
  tunnelPort: 0,
  underlay: 'auto',
  autoDirectNodeRoutes: false,
  nativeCidr4: '',
  nativeCidr6: '',
};
const encryptionBefore: EncryptionFacts = {
  type: 'none',
  strict: false,
  nodeEncryption: false,
  wireguardPort: 0,
  rotationGraceMs: 0,
};
const healthBefore: HealthFacts = { enabled: false, intervalMs: 0, port: 0 };

export const routingOf = ({ routing }: AgentFacts): RoutingFacts => routing ?? routingBefore;
export const encryptionOf = ({ encryption }: AgentFacts): EncryptionFacts => encryption ?? encryptionBefore;
export const healthOf = ({ health }: AgentFacts): HealthFacts => health ?? healthBefore;

export interface Ends {
  ipv4: string;
  ipv6: string;
}

/** Published on topic `underlay/local`. */
export interface UnderlayFact extends Ends {
  /** Addresses with prefix length of native devices. */
  networks: { dev: string; address: string }[];
  gateway4: string;
  gateway6: string;
  /** Of native devices. */
  mtu: number;
}

export const underlayKey = 'underlay/local';

/** Bytes that each wrapping takes of a packet; reference/datapath.md, section 11. */
const TUNNEL_BYTES_IPV4 = 50;
const TUNNEL_BYTES_IPV6 = 70;
export const WIREGUARD_BYTES = 80;
const IPSEC_BYTES = 77;

/** What packets to other nodes are wrapped in; `remote` is the address of the other end. */
export function overheadOf(agent: AgentFacts, remote: string): number {
  const tunnel = familyOf(remote) === 4 ? TUNNEL_BYTES_IPV4 : TUNNEL_BYTES_IPV6;
  const encrypted = { none: 0, wireguard: WIREGUARD_BYTES, ipsec: IPSEC_BYTES };
  return (routingOf(agent).mode === 'native' ? 0 : tunnel) + encrypted[encryptionOf(agent).type];
}

/** The addresses that tunnels and encryption run between; undefined: no family that both have. */
export function endsOf(
  { underlay }: RoutingFacts,
  own: Ends,
  other: Ends,
): { local: string; remote: string } | undefined {
  const families = underlay === 'auto' ? (['ipv4', 'ipv6'] as const) : [underlay];
  const family = families.find((one) => own[one] !== '' && other[one] !== '');
  return family && { local: own[family], remote: other[family] };
}

interface NodeStatus {
  addresses?: { type: string; address: string }[];
}

/** A node's addresses of its Node object, those of inside first. */
export function addressesOf(object: KubeObject | undefined): { type: string; ip: string }[] {
  const { addresses } = (object?.status ?? {}) as NodeStatus;
  return (Array.isArray(addresses) ? addresses : [])
    .filter((one) => one !== null && typeof one === 'object')
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map(({ type, address }) => ({ type, ip: address }))
    .sort((a, b) => (a.type === b.type ? 0 : a.type === 'InternalIP' ? -1 : 1));
}

/** The first good one of each family. */
export function endsAmong(addresses: readonly { ip: string }[]): Ends {
  const first = (family: 4 | 6): string =>
    addresses.map(({ ip }) => canonicalAddress(ip) ?? '').find((ip) => ip !== '' && familyOf(ip) === family) ?? '';
  return { ipv4: first(4), ipv6: first(6) };
}

export function underlayOf(
  object: KubeObject | undefined,
  pool: PoolFact,
  devices: readonly DeviceFact[],
  mtu: number,
): UnderlayFact {
  const native = devices.filter((device) => device.native).sort((a, b) => (a.name < b.name ? -1 : 1));
  const own = endsAmong(addressesOf(object));
  const ofDevice = (family: 'ipv4' | 'ipv6'): string => native.map((device) => device[family]).find(Boolean) ?? '';
  return {
    ipv4: own.ipv4 || ofDevice('ipv4'),
    ipv6: own.ipv6 || ofDevice('ipv6'),
    networks: native.flatMap(({ name, networks }) => networks.map((address) => ({ dev: name, address }))),
    gateway4: pool.gateway4,
    gateway6: pool.gateway6,
    mtu,
  };
}

/**
 * Links by which pods' packets come from other nodes take them from any source, since the way back is another; what `all` says would
 * count as well. Other links keep their own setting.
 */
export const ANY_SOURCE: Row = { table: 'sysctls', key: 'net.ipv4.conf.all.rp_filter', value: { value: '0' } };
