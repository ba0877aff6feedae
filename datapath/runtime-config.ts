/**
 * The configuration of the datapath: what becomes `.rodata` of the programs and capacity of the maps.
 *
 * - Defaults are those of the compiled object: `config` in bpf/lib/maps.h, max_entries there, and `state/tables.ts`.
 * - The build names object and configuration together: the same build, the same behaviour.
 */
import { createHash } from 'node:crypto';
import type { EncryptionFacts, RoutingFacts, ServiceFacts } from '../cluster/events.ts';
import type { Btf, BtfMap } from '../native/index.ts';
import { tables } from '../state/tables.ts';
import { familyOf, parsePrefix } from './address.ts';
import { Codecs, encode, type Fields } from './codec.ts';
import { elfSection } from './elf.ts';

const BUILD_DIGITS = 16;
const aggregations = ['none', 'low', 'medium', 'maximum', 'off'] as const;
/** TCP flags by their bits, RFC 9293. */
export const traceFlags = {
  fin: 0x01,
  syn: 0x02,
  rst: 0x04,
  psh: 0x08,
  ack: 0x10,
  urg: 0x20,
  ece: 0x40,
  cwr: 0x80,
} as const;
export type TraceFlag = keyof typeof traceFlags;
/** By number, as in bpf/lib/structs.h. */
const tunnels = ['native', 'vxlan', 'geneve'] as const;
const encryptions = ['none', 'wireguard', 'ipsec'] as const;

/** A part of the agent's configuration; what is absent is as compiled. */
export interface DatapathConfig {
  /** Folder on a bpffs; no dots in its names, the kernel reserves them. */
  pinRoot: string;
  ipv4: boolean;
  ipv6: boolean;
  masquerade: boolean;
  ipv4NativeRoutingCIDR: string;
  ipv6NativeRoutingCIDR: string;
  /** Capacities by map name; `policy_entries` is that of one endpoint's policy. */
  maps: Record<string, number>;
  timeoutsS?: { tcpSyn?: number; tcpEstablished?: number; tcpClosing?: number; any?: number };
  natPorts?: { min: number; max: number };
  /** Hooks of sockets to load programs for. Default: none. */
  sockHooks?: readonly string[];
  /** Default: as compiled, services are there. */
  services?: Pick<ServiceFacts, 'mode' | 'forwarding' | 'xdp'>;
  policy?: { allowLocalhost: boolean; hostFirewall: boolean };
  /** Default: pods of other nodes are reached natively. */
  routing?: Pick<RoutingFacts, 'mode' | 'tunnelPort'>;
  /** Default: none. Strict mode holds for the native routing CIDRs, and for every address that is known as a pod's. */
  encryption?: Pick<EncryptionFacts, 'type' | 'strict' | 'nodeEncryption'>;
  monitor?: { aggregation?: (typeof aggregations)[number]; intervalS?: number; flags?: readonly TraceFlag[] };
}

export interface Runtime {
  build: string;
  /** `config` as the programs will see it. */
  rodata: Buffer;
  /** The same, readable. */
  values: Readonly<Record<string, unknown>>;
  capacities: Readonly<Record<string, number>>;
}

/** The inner maps of `policy` have a capacity of their own. */
export const POLICY_ENTRIES = 'policy_entries';

/** Maps that C names; the object's `.rodata` and the like are maps too. */
export const namedMaps = (btf: Btf): BtfMap[] => btf.maps.filter(({ name }) => !name.includes('.'));

/** The bytes of a variable of an object: as compiled, with some fields of its struct changed. */
export function rodataOf(
  object: Buffer,
  btf: Btf,
  name: string,
  changes: Fields,
): { bytes: Buffer; values: Readonly<Fields> } {
  const variable = btf.variables.find((candidate) => candidate.name === name);
  const section = variable && elfSection(object, variable.section);
  if (!variable || !section) throw new TypeError(`the BPF object has no variable ${name}`);
  const codec = new Codecs(btf).struct(name);
  const values = { ...codec.read(section, variable.offset), ...defined(changes) };
  return { bytes: encode(codec, values), values };
}

/** Throws a TypeError that names the field of the configuration. `others` are the parts of the build beside this object. */
export function runtimeOf(
  config: DatapathConfig,
  object: Buffer,
  btf: Btf,
  hz: number,
  others: readonly Uint8Array[] = [],
): Runtime {
  const { bytes: rodata, values } = rodataOf(object, btf, 'config', {
    hz,
    ipv4: Number(config.ipv4),
    ipv6: Number(config.ipv6),
    masqueradeIpv4: Number(config.masquerade && config.ipv4),
    masqueradeIpv6: Number(config.masquerade && config.ipv6),
    nativeRoutingIpv4: cidr('ipv4NativeRoutingCIDR', config.ipv4NativeRoutingCIDR, 4),
    nativeRoutingIpv6: cidr('ipv6NativeRoutingCIDR', config.ipv6NativeRoutingCIDR, 6),
    timeoutTcpSyn: config.timeoutsS?.tcpSyn,
    timeoutTcpEstablished: config.timeoutsS?.tcpEstablished,
    timeoutTcpClosing: config.timeoutsS?.tcpClosing,
    timeoutAny: config.timeoutsS?.any,
    natPortMin: config.natPorts?.min,
    natPortMax: config.natPorts?.max,
    traceAggregation: config.monitor?.aggregation && aggregations.indexOf(config.monitor.aggregation),
    traceInterval: config.monitor?.intervalS,
    traceFlags: config.monitor?.flags?.reduce((bits, flag) => bits | traceFlags[flag], 0),
    allowLocalhost: config.policy && Number(config.policy.allowLocalhost),
    hostFirewall: config.policy && Number(config.policy.hostFirewall),
    services: config.services && Number(config.services.mode !== 'off'),
    tunnel: config.routing && tunnels.indexOf(config.routing.mode),
    tunnelPort: config.routing?.tunnelPort,
    encryption: config.encryption && encryptions.indexOf(config.encryption.type),
    encryptionStrict: config.encryption && Number(config.encryption.strict),
    nodeEncryption: config.encryption && Number(config.encryption.nodeEncryption),
    strictIpv4: config.encryption?.strict ? config.ipv4NativeRoutingCIDR : '',
    strictIpv6: config.encryption?.strict ? config.ipv6NativeRoutingCIDR : '',
    dsr: config.services && Number(config.services.mode !== 'off' && config.services.forwarding === 'dsr'),
  });
  if (config.natPorts && config.natPorts.min > config.natPorts.max) {
    throw new TypeError(`config natPorts: min ${config.natPorts.min} is above max ${config.natPorts.max}`);
  }
  const capacities = capacitiesOf(config, btf);
  const hash = createHash('sha256').update(object).update(rodata).update(JSON.stringify(capacities));
  for (const other of others) hash.update(other);
  return { build: hash.digest('hex').slice(0, BUILD_DIGITS), rodata, values, capacities };
}

function capacitiesOf({ maps }: DatapathConfig, btf: Btf): Record<string, number> {
  const capacities: Record<string, number> = {};
  for (const { name, maxEntries, inner, type } of namedMaps(btf)) {
    if (type === 'percpu_array') continue; // its size is part of the C source
    capacities[name] = maxEntries;
    if (inner && name === 'policy') capacities[POLICY_ENTRIES] = inner.maxEntries;
  }
  for (const { map } of Object.values(tables)) if (map) capacities[map.name] = map.entriesMax;
  for (const [name, capacity] of Object.entries(maps)) {
    if (!Object.hasOwn(capacities, name)) {
      throw new TypeError(
        `config maps: there is no map ${name}; known are ${Object.keys(capacities).sort().join(', ')}`,
      );
    }
    if (!Number.isInteger(capacity) || capacity < 1 || capacity > 2 ** 31) {
      throw new TypeError(`config maps: ${name} is ${capacity}, expected a number of entries`);
    }
    capacities[name] = capacity;
  }
  for (const [name, others] of Object.entries(companions)) {
    if (Object.hasOwn(capacities, name) && !Object.hasOwn(maps, name))
      capacities[name] = others.reduce((sum, other) => sum + (capacities[other] ?? 0), 0);
  }
  return capacities;
}

/** Maps with an entry for each entry of others. */
const companions: Readonly<Record<string, readonly string[]>> = {
  service_names: ['frontends', 'backend_sets'],
  maglev: ['backend_sets'],
};

function cidr(field: string, text: string, family: 4 | 6): string {
  if (text === '') return '';
  try {
    const { length } = parsePrefix(text);
    if (familyOf(text) !== family || length === 0) throw new TypeError(`expected an IPv${family} prefix`);
    return text;
  } catch (error) {
    throw new TypeError(
      `config ${field} is ${JSON.stringify(text)}: ${error instanceof Error ? error.message : error}`,
    );
  }
}

const defined = (values: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
