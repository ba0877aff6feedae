/** Sections `routing`, `encryption` and `health` of the agent's configuration: how this node reaches the others. */
import type { EncryptionFacts, HealthFacts, RoutingFacts } from '../cluster/events.ts';

/** `tunnelPort` 0: the usual one of the mode. */
export type RoutingConfig = Omit<RoutingFacts, 'nativeCidr4' | 'nativeCidr6'>;

export interface EncryptionConfig extends EncryptionFacts {
  /** `namespace/name` of the Secret with IPsec's keys. */
  ipsecSecret: string;
}

export interface HealthConfig extends Omit<HealthFacts, 'endpoint'> {
  /** Path of the network namespace of the health endpoint, which the agent makes; '': there is none. */
  netns: string;
}

export const routingDefaults: RoutingConfig = {
  mode: 'native',
  tunnelPort: 0,
  underlay: 'auto',
  autoDirectNodeRoutes: false,
};

export const encryptionDefaults: EncryptionConfig = {
  type: 'none',
  strict: false,
  nodeEncryption: false,
  wireguardPort: 51_871,
  ipsecSecret: 'kube-system/cilium-ipsec-keys',
  rotationGraceMs: 300_000,
};

export const healthDefaults: HealthConfig = { enabled: true, intervalMs: 60_000, port: 4240, netns: '' };

/** The only values that a field may have, by `section.field`. */
export const networkChoices: Readonly<Record<string, readonly string[]>> = {
  datapathMode: ['veth', 'netkit'],
  'routing.mode': ['native', 'vxlan', 'geneve'],
  'routing.underlay': ['ipv4', 'ipv6', 'auto'],
  'encryption.type': ['none', 'wireguard', 'ipsec'],
};

/** IANA's for VXLAN in Linux' old way, as Cilium has it, and for Geneve. */
const usualPorts = { native: 0, vxlan: 8472, geneve: 6081 };
const PORT_MAX = 65_535;
const INTERVAL_MIN_MS = 100;
/** As Kubernetes names objects. */
const OBJECT_NAME = /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?\/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/;

interface NetworkConfig {
  routing: RoutingConfig;
  encryption: EncryptionConfig;
  health: HealthConfig;
  ipv4: boolean;
  ipv6: boolean;
  ipv4NativeRoutingCIDR: string;
  ipv6NativeRoutingCIDR: string;
}

/** What the machines know of these sections. */
export function networkFacts(config: NetworkConfig): {
  routing: RoutingFacts;
  encryption: EncryptionFacts;
  health: HealthFacts;
} {
  const { routing } = config;
  const { netns, ...health } = config.health;
  const { ipsecSecret: _, ...encryption } = config.encryption;
  return {
    routing: {
      ...routing,
      tunnelPort: routing.mode === 'native' ? 0 : routing.tunnelPort || usualPorts[routing.mode],
      nativeCidr4: config.ipv4NativeRoutingCIDR,
      nativeCidr6: config.ipv6NativeRoutingCIDR,
    },
    encryption,
    health: { ...health, ...(health.enabled && netns !== '' && { endpoint: true }) },
  };
}

/** What does not go together, as field, value and what was expected; empty: nothing. */
export function networkTrouble({ routing, encryption, health, ipv4, ipv6 }: NetworkConfig): string {
  const bad = (field: string, value: unknown, expected: string): string =>
    `field ${field} is ${JSON.stringify(value)}, expected ${expected}`;
  const isWhole = (value: number, min: number, max: number): boolean =>
    Number.isInteger(value) && value >= min && value <= max;
  if (!isWhole(routing.tunnelPort, 0, PORT_MAX)) return bad('routing.tunnelPort', routing.tunnelPort, 'a port, or 0');
  if (routing.mode !== 'native' && routing.autoDirectNodeRoutes)
    return bad('routing.autoDirectNodeRoutes', true, `false with routing.mode ${routing.mode}`);
  if (routing.mode === 'native' && ((routing.underlay === 'ipv4' && !ipv4) || (routing.underlay === 'ipv6' && !ipv6)))
    return bad('routing.underlay', routing.underlay, 'a family that is on');
  const { type, strict, nodeEncryption, wireguardPort, ipsecSecret, rotationGraceMs } = encryption;
  if (strict && type === 'none') return bad('encryption.strict', true, 'false with encryption.type none');
  if (nodeEncryption && type !== 'wireguard')
    return bad('encryption.nodeEncryption', true, `false with encryption.type ${type}`);
  if (!isWhole(wireguardPort, 1, PORT_MAX)) return bad('encryption.wireguardPort', wireguardPort, 'a port');
  if (!OBJECT_NAME.test(ipsecSecret)) return bad('encryption.ipsecSecret', ipsecSecret, 'NAMESPACE/NAME');
  if (!isWhole(rotationGraceMs, 0, Number.MAX_SAFE_INTEGER))
    return bad('encryption.rotationGraceMs', rotationGraceMs, 'milliseconds');
  if (!isWhole(health.intervalMs, INTERVAL_MIN_MS, Number.MAX_SAFE_INTEGER))
    return bad('health.intervalMs', health.intervalMs, `milliseconds from ${INTERVAL_MIN_MS}`);
  if (!isWhole(health.port, 1, PORT_MAX)) return bad('health.port', health.port, 'a port');
  if (health.netns !== '' && !health.netns.startsWith('/'))
    return bad('health.netns', health.netns, 'an absolute path, or nothing');
  return '';
}
