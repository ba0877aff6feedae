/** The agent's configuration file: JSON, validated field by field. */
import { readFileSync } from 'node:fs';
import { type HubbleConfig, hubbleDefaults, hubbleTrouble, listenTrouble } from './hubble-config.ts';
import { type MonitorConfig, monitorChoices, monitorDefaults, monitorTrouble } from './monitor-config.ts';
import {
  type EncryptionConfig,
  encryptionDefaults,
  type HealthConfig,
  healthDefaults,
  networkChoices,
  networkTrouble,
  type RoutingConfig,
  routingDefaults,
} from './network-config.ts';
import { type RecordingConfig, recordingConfigDefaults, recordingTrouble } from './recording-config.ts';
import {
  choices,
  type PolicyConfig,
  policyDefaults,
  type ServicesConfig,
  servicesDefaults,
  servicesTrouble,
} from './services-config.ts';

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
  /** What links new pods to the node; those that are there keep what they have. netkit needs Linux 6.7. */
  datapathMode: 'veth' | 'netkit';
  resyncIntervalMs: number;
  /** Directory for recordings; empty: none. */
  record: string;
  recording: RecordingConfig;
  /** Capacities by map name; absent: the defaults of `state/tables.ts` and `bpf/lib/maps.h`. */
  maps: Record<string, number>;
  services: ServicesConfig;
  policy: PolicyConfig;
  routing: RoutingConfig;
  encryption: EncryptionConfig;
  health: HealthConfig;
  hubble: HubbleConfig;
  monitor: MonitorConfig;
  /** `listen`: HOST:PORT of Prometheus' metrics; empty: only on the debug endpoint, at /metrics. */
  metrics: { listen: string };
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
  datapathMode: 'veth',
  resyncIntervalMs: 30_000,
  record: '',
  recording: recordingConfigDefaults,
  maps: {},
  services: servicesDefaults,
  policy: policyDefaults,
  routing: routingDefaults,
  encryption: encryptionDefaults,
  health: healthDefaults,
  hubble: hubbleDefaults,
  monitor: monitorDefaults,
  metrics: { listen: '' },
};
/** Sections whose fields are checked one by one; the others are taken as they are. */
const sections: ReadonlySet<string> = new Set([
  'services',
  'recording',
  'policy',
  'routing',
  'encryption',
  'health',
  'hubble',
  'monitor',
  'metrics',
]);

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
  if (!isObject(raw)) {
    throw new Error(`agent config ${path}: expected a JSON object, got ${JSON.stringify(raw)?.slice(0, 40)}`);
  }
  const config = checked(raw, defaults as unknown as Fields, path, '') as unknown as AgentConfig;
  if (!config.nodeName)
    throw new Error(`agent config ${path}: field nodeName is empty, expected the Kubernetes node name`);
  if (!config.ipv4 && !config.ipv6) throw new Error(`agent config ${path}: ipv4 and ipv6 are both false, expected one`);
  config.cniSocket ||= `${config.stateDir}/cni.sock`;
  config.debugSocket ||= `${config.stateDir}/debug.sock`;
  config.hubble.socket ||= `${config.stateDir}/hubble.sock`;
  const trouble =
    servicesTrouble(config.services) ||
    recordingTrouble(config.recording) ||
    networkTrouble(config) ||
    hubbleTrouble(config.hubble) ||
    monitorTrouble(config.monitor) ||
    listenTrouble('metrics.listen', config.metrics.listen);
  if (trouble) throw new Error(`agent config ${path}: ${trouble}`);
  return config;
}

type Fields = Record<string, unknown>;

const isObject = (value: unknown): value is Fields =>
  value !== null && typeof value === 'object' && !Array.isArray(value);
const kindOf = (value: unknown): string => (Array.isArray(value) ? 'array' : typeof value);

/** Every field of `raw` is known and of the kind of its default; `prefix` is the section's name and a dot. */
function checked(raw: Fields, known: Fields, path: string, prefix: string): Fields {
  const config = structuredClone(known);
  for (const [field, value] of Object.entries(raw)) {
    const name = `${prefix}${field}`;
    if (!Object.hasOwn(known, field)) {
      throw new Error(`agent config ${path}: unknown field ${name}; known are ${Object.keys(known).join(', ')}`);
    }
    const fallback = known[field];
    const kind = kindOf(fallback);
    if (kind !== kindOf(value) || value === null) {
      throw new Error(`agent config ${path}: field ${name} is ${JSON.stringify(value)}, expected ${kind}`);
    }
    const allowed = choices[name] ?? networkChoices[name] ?? monitorChoices[name];
    if (allowed && !allowed.includes(value as string)) {
      throw new Error(
        `agent config ${path}: field ${name} is ${JSON.stringify(value)}, expected ${allowed.join(' | ')}`,
      );
    }
    const isSection = prefix === '' && sections.has(field);
    config[field] = isSection ? checked(value as Fields, fallback as Fields, path, `${field}.`) : value;
  }
  return config;
}
