/** The agent's configuration file: JSON, validated field by field. */
import { readFileSync } from 'node:fs';

export interface AgentConfig {
  nodeName: string;
  clusterName: string;
  /** Path of a kubeconfig; empty: in-cluster. */
  kubeconfig: string;
  /** Holds state.db and, by default, the sockets. */
  stateDir: string;
  /** Directory on a bpffs for maps/ and links/. */
  pinRoot: string;
  cniSocket: string;
  debugSocket: string;
  /** Loopback port of the debug endpoint; 0: unix socket only. */
  debugPort: number;
  devices: string[];
  ipv4: boolean;
  ipv6: boolean;
  masquerade: boolean;
  ipv4NativeRoutingCIDR: string;
  ipv6NativeRoutingCIDR: string;
  mtu: number;
  resyncIntervalMs: number;
  /** Directory for recordings; empty: none. */
  record: string;
  /** Capacities by map name; absent: the defaults of `state/tables.ts` and `bpf/lib/maps.h`. */
  maps: Record<string, number>;
}

const defaults: AgentConfig = {
  nodeName: '',
  clusterName: 'default',
  kubeconfig: '',
  stateDir: '/var/lib/axoneme',
  pinRoot: '/sys/fs/bpf/axoneme',
  cniSocket: '',
  debugSocket: '',
  debugPort: 0,
  devices: [],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  ipv4NativeRoutingCIDR: '',
  ipv6NativeRoutingCIDR: '',
  mtu: 0,
  resyncIntervalMs: 30_000,
  record: '',
  maps: {},
};

/** Throws with the file, the field, the value and what was expected. */
export function loadAgentConfig(path: string): AgentConfig {
  let raw: unknown;
  try {
    raw = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Error(`agent config ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
  return parseAgentConfig(raw, path);
}

export function parseAgentConfig(raw: unknown, path: string): AgentConfig {
  if (raw === null || typeof raw !== 'object' || Array.isArray(raw)) {
    throw new Error(`agent config ${path}: expected a JSON object, got ${JSON.stringify(raw)?.slice(0, 40)}`);
  }
  const config = structuredClone(defaults);
  for (const [field, value] of Object.entries(raw)) {
    if (!Object.hasOwn(defaults, field)) {
      throw new Error(`agent config ${path}: unknown field ${field}; known are ${Object.keys(defaults).join(', ')}`);
    }
    const expected = defaults[field as keyof AgentConfig];
    const kind = Array.isArray(expected) ? 'array' : typeof expected;
    const got = Array.isArray(value) ? 'array' : typeof value;
    if (kind !== got) {
      throw new Error(`agent config ${path}: field ${field} is ${JSON.stringify(value)}, expected ${kind}`);
    }
    Object.assign(config, { [field]: value });
  }
  if (!config.nodeName)
    throw new Error(`agent config ${path}: field nodeName is empty, expected the Kubernetes node name`);
  if (!config.ipv4 && !config.ipv6) throw new Error(`agent config ${path}: ipv4 and ipv6 are both false, expected one`);
  config.cniSocket ||= `${config.stateDir}/cni.sock`;
  config.debugSocket ||= `${config.stateDir}/debug.sock`;
  return config;
}
