/**
 * What another node says of itself, read from its CiliumNode or, where it has none, from its Node.
 *
 * - What is malformed is left out and named in `problems`; the rest counts.
 */
import type { KubeObject } from '../cluster/events.ts';
import { canonicalAddress, canonicalCidr } from './cidr.ts';
import { WIREGUARD_KEY } from './node-announcement.ts';
import { addressesOf, type Ends, endsAmong } from './underlay.ts';

export interface NodeView {
  uid: string;
  created: string;
  /** As it says, for what its endpoints are said to be on. */
  addresses: readonly string[];
  /** Those that it is reached at. */
  ends: Ends;
  /** Of its `cilium_host`: where its own packets to pods come from. */
  internal: readonly string[];
  health: readonly string[];
  podCidrs: readonly string[];
  labels: Readonly<Record<string, string>>;
  /** WireGuard's public key; '': none. */
  wireguardKey: string;
  /** Number of IPsec's key; 0: none. */
  keyId: number;
  bootId: string;
  problems: readonly string[];
}

interface Said {
  addresses?: unknown;
  health?: { ipv4?: unknown; ipv6?: unknown };
  ipam?: { podCIDRs?: unknown };
  encryption?: { key?: unknown };
  bootid?: unknown;
}

const WIREGUARD_KEY_TEXT = /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/;
const IPSEC_KEY_MAX = 15;

const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string => (typeof value === 'string' ? value : '');

export function viewOf(resource: string, object: KubeObject): NodeView {
  return resource === 'ciliumnodes' ? ofCiliumNode(object) : ofNode(object);
}

function ofCiliumNode(object: KubeObject): NodeView {
  const problems: string[] = [];
  const said = (object.spec ?? {}) as Said;
  const all = list(said.addresses).map((one) => {
    const { type, ip } = (one ?? {}) as { type?: unknown; ip?: unknown };
    return { type: text(type), ip: text(ip) };
  });
  const good = all
    .filter(({ type }) => type !== 'Hostname')
    .flatMap(({ type, ip }) => {
      const address = canonicalAddress(ip);
      if (address === undefined) problems.push(`spec.addresses has ${JSON.stringify(ip)}, expected an address`);
      return address === undefined ? [] : [{ type, ip: address }];
    });
  const outside = good
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .sort((a, b) => (a.type === b.type ? 0 : a.type === 'InternalIP' ? -1 : 1));
  const health = [said.health?.ipv4, said.health?.ipv6].map(text).filter(Boolean);
  const key = text(object.metadata.annotations?.[WIREGUARD_KEY]);
  const isKey = WIREGUARD_KEY_TEXT.test(key);
  if (key !== '' && !isKey) problems.push(`annotation ${WIREGUARD_KEY} is no WireGuard key`);
  const keyId = Number(said.encryption?.key ?? 0);
  return {
    ...named(object),
    addresses: unique(outside),
    ends: endsAmong(outside),
    internal: unique(good.filter(({ type }) => type === 'CiliumInternalIP')),
    health: health.flatMap((ip) => canonicalAddress(ip) ?? []),
    podCidrs: cidrs(said.ipam?.podCIDRs, 'spec.ipam.podCIDRs', problems),
    wireguardKey: isKey ? key : '',
    keyId: Number.isInteger(keyId) && keyId > 0 && keyId <= IPSEC_KEY_MAX ? keyId : 0,
    bootId: text(said.bootid),
    problems,
  };
}

function ofNode(object: KubeObject): NodeView {
  const problems: string[] = [];
  const { podCIDR, podCIDRs } = (object.spec ?? {}) as { podCIDR?: unknown; podCIDRs?: unknown };
  const outside = addressesOf(object).flatMap(({ type, ip }) => {
    const address = canonicalAddress(text(ip));
    return address === undefined ? [] : [{ type, ip: address }];
  });
  return {
    ...named(object),
    addresses: unique(outside),
    ends: endsAmong(outside),
    internal: [],
    health: [],
    podCidrs: cidrs(podCIDRs ?? (podCIDR ? [podCIDR] : []), 'spec.podCIDRs', problems),
    wireguardKey: '',
    keyId: 0,
    bootId: '',
    problems,
  };
}

const named = ({ metadata }: KubeObject): Pick<NodeView, 'uid' | 'created' | 'labels'> => ({
  uid: metadata.uid ?? '',
  labels: metadata.labels ?? {},
  created: metadata.creationTimestamp ?? '',
});

const unique = (addresses: readonly { ip: string }[]): string[] => [...new Set(addresses.map(({ ip }) => ip))];

function cidrs(value: unknown, field: string, problems: string[]): string[] {
  const good = list(value).flatMap((one) => {
    const cidr = typeof one === 'string' ? canonicalCidr(one) : undefined;
    if (cidr === undefined) problems.push(`${field} has ${JSON.stringify(one)}, expected a CIDR`);
    return cidr === undefined ? [] : [cidr];
  });
  return [...new Set(good)].sort();
}
