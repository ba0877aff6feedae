/**
 * Hubble's flow filters as predicates: fields of a filter all hold, values of a field are alternatives, filters are alternatives.
 *
 * - Regular expressions are RE2's: their time is linear in the text, whatever a client sends.
 * - What cannot be understood is a FilterError with field and value, never a filter that matches nothing or all.
 */
import { createRequire } from 'node:module';
import { isIP } from 'node:net';
import { RE2JS } from 're2js';
import { formatAddress, parseAddress } from '../../datapath/address.ts';
import { contains } from '../../machines/cidr.ts';
import { labelled } from './label-filter.ts';
import type { Flow, FlowEndpoint, TcpFlags, Timestamp } from './types.ts';

/** As a client sends it; absent and empty fields do not filter. */
export interface FlowFilter {
  source_ip?: string[];
  source_pod?: string[];
  destination_ip?: string[];
  destination_pod?: string[];
  verdict?: string[];
  event_type?: { type?: number; match_sub_type?: boolean; sub_type?: number }[];
  source_fqdn?: string[];
  destination_fqdn?: string[];
  http_status_code?: string[];
  source_label?: string[];
  destination_label?: string[];
  protocol?: string[];
  source_port?: string[];
  destination_port?: string[];
  reply?: boolean[];
  source_service?: string[];
  destination_service?: string[];
  dns_query?: string[];
  source_identity?: number[];
  destination_identity?: number[];
  http_method?: string[];
  http_path?: string[];
  tcp_flags?: TcpFlags[];
  node_name?: string[];
  ip_version?: string[];
  source_workload?: { name?: string; kind?: string }[];
  destination_workload?: { name?: string; kind?: string }[];
  trace_id?: string[];
  uuid?: string[];
  traffic_direction?: string[];
  http_url?: string[];
  http_header?: { key?: string; value?: string }[];
  drop_reason_desc?: string[];
  source_ip_xlated?: string[];
  interface?: { index?: number; name?: string }[];
  node_labels?: string[];
  source_cluster_name?: string[];
  destination_cluster_name?: string[];
  ip_trace_id?: number[];
  encrypted?: boolean[];
  experimental?: { cel_expression?: string[] };
}

export class FilterError extends Error {
  /** What is wrong, without field and value. */
  readonly reason: string;

  constructor(field: string, value: unknown, reason: string) {
    super(`filter ${field}: ${JSON.stringify(value)}: ${reason}`);
    this.reason = reason;
  }
}

export type Predicate = (flow: Flow) => boolean;

/** Each flow is held against all of them; expressions cost most. */
const VALUES_MAX = 1_000;
const EXPRESSIONS_MAX = 32;
const TEXT_MAX = 4_096;

/** In none of the blacklist, and in one of the whitelist unless that is empty. */
export function compileFilters(
  whitelist: readonly FlowFilter[] = [],
  blacklist: readonly FlowFilter[] = [],
): Predicate {
  const all = [...whitelist, ...blacklist];
  const values = all.length + all.flatMap((filter) => Object.values(filter).filter(Array.isArray).flat()).length;
  if (values > VALUES_MAX) throw new FilterError('of all', values, `expected at most ${VALUES_MAX} values together`);
  const { length } = all.flatMap(({ experimental }) => experimental?.cel_expression ?? []);
  if (length > EXPRESSIONS_MAX) throw new FilterError('cel_expression', length, `expected at most ${EXPRESSIONS_MAX}`);
  const wanted = whitelist.map(compileFilter);
  const unwanted = blacklist.map(compileFilter);
  return (flow) => (wanted.length === 0 || wanted.some((is) => is(flow))) && !unwanted.some((is) => is(flow));
}

type Fields = Omit<FlowFilter, 'experimental'>;
type Compilers = { [F in keyof Required<Fields>]: (value: NonNullable<Fields[F]>[number]) => Predicate };

export function compileFilter(filter: FlowFilter): Predicate {
  const parts: Predicate[] = [];
  for (const [field, value] of Object.entries(filter)) {
    if (field === 'experimental') {
      const expressions = (filter.experimental?.cel_expression ?? []).map((text) =>
        told('experimental.cel_expression', text, () => celOf(text)),
      );
      if (expressions.length > 0) parts.push((flow) => expressions.some((is) => is(flow)));
      continue;
    }
    const compile = compilers[field as keyof Fields] as ((value: unknown) => Predicate) | undefined;
    const values = value as unknown[];
    if (!compile || values.length === 0) continue;
    const alternatives = values.map((one) => told(field, one, () => compile(one)));
    parts.push((flow) => alternatives.some((is) => is(flow)));
  }
  return (flow) => parts.every((is) => is(flow));
}

/** With it the protocol's descriptors are loaded: only for those who ask. */
const celOf = (text: string): Predicate => (require('./cel.ts') as typeof import('./cel.ts')).compileCel(text);
const require = createRequire(import.meta.url);

/** Says of which field and value it is what is wrong. */
function told(field: string, value: unknown, compile: () => Predicate): Predicate {
  if (typeof value === 'string' && value.length > TEXT_MAX)
    throw new FilterError(field, `${value.slice(0, 40)}…`, `longer than ${TEXT_MAX} characters`);
  try {
    return compile();
  } catch (error) {
    throw new FilterError(field, value, error instanceof Error ? error.message : String(error));
  }
}

const compilers: Compilers = {
  source_ip: (text) => address(text, (flow) => flow.IP?.source),
  destination_ip: (text) => address(text, (flow) => flow.IP?.destination),
  source_ip_xlated: (text) => address(text, (flow) => flow.IP?.source_xlated),
  source_pod: (text) => named(text, (flow) => podOf(flow.source)),
  destination_pod: (text) => named(text, (flow) => podOf(flow.destination)),
  source_service: (text) => named(text, (flow) => flow.source_service),
  destination_service: (text) => named(text, (flow) => flow.destination_service),
  verdict: (name) => (flow) => flow.verdict === name,
  event_type: ({ type = 0, match_sub_type = false, sub_type = 0 }) => {
    return ({ event_type }) =>
      (type === 0 || event_type.type === type) && (!match_sub_type || event_type.sub_type === sub_type);
  },
  // Names of DNS come with the DNS proxy: no flow has any yet.
  source_fqdn: glob,
  destination_fqdn: glob,
  http_status_code: (text) => {
    if (!/^([1-5][0-9]{2}|[1-5][0-9]?\+)$/.test(text)) throw new Error('expected three digits, or a prefix such as 4+');
    return never;
  },
  http_method: () => never,
  http_path: regex,
  http_url: regex,
  http_header: () => never,
  dns_query: regex,
  source_label: (text) => labelled(text, (flow) => flow.source.labels),
  destination_label: (text) => labelled(text, (flow) => flow.destination.labels),
  node_labels: (text) => labelled(text, (flow) => flow.node_labels ?? []),
  protocol,
  source_port: (text) => port(text, 'source_port'),
  destination_port: (text) => port(text, 'destination_port'),
  reply: (wanted) => (flow) => {
    if (flow.is_reply) return flow.is_reply.value === wanted;
    return flow.verdict === 'DROPPED' && !wanted;
  },
  source_identity: (identity) => (flow) => flow.source.identity === identity,
  destination_identity: (identity) => (flow) => flow.destination.identity === identity,
  tcp_flags: (wanted) => {
    const flags = Object.entries(wanted).filter(([, on]) => on);
    return ({ l4 }) => l4?.TCP !== undefined && flags.every(([flag]) => l4.TCP?.flags[flag as keyof TcpFlags] === true);
  },
  node_name: nodeName,
  ip_version: (version) => (flow) => flow.IP?.ipVersion === version,
  source_workload: (wanted) => workload(wanted, (flow) => flow.source),
  destination_workload: (wanted) => workload(wanted, (flow) => flow.destination),
  trace_id: () => never,
  ip_trace_id: () => never,
  uuid: (text) => (flow) => flow.uuid === text,
  traffic_direction: (direction) => (flow) => flow.traffic_direction === direction,
  drop_reason_desc: (name) => (flow) => flow.drop_reason_desc === name,
  interface:
    ({ index = 0, name = '' }) =>
    (flow) =>
      flow.interface !== undefined &&
      (!index || flow.interface.index === index) &&
      (!name || flow.interface.name === name),
  source_cluster_name: (name) => (flow) => flow.source.cluster_name === name,
  destination_cluster_name: (name) => (flow) => flow.destination.cluster_name === name,
  encrypted: (wanted) => (flow) => (flow.IP?.encrypted === true) === wanted,
};

const never: Predicate = () => false;

function address(text: string, of: (flow: Flow) => string | undefined): Predicate {
  const [ip = '', length, more] = text.split('/');
  const bits = isIP(ip) === 6 ? 128 : 32;
  const isLength = length === undefined || (/^[0-9]{1,3}$/.test(length) && Number(length) <= bits);
  if (isIP(ip) === 0 || !isLength || more !== undefined) throw new Error('expected an IP address or a CIDR');
  if (length === undefined) {
    const wanted = formatAddress(parseAddress(ip));
    return (flow) => of(flow) === wanted;
  }
  return (flow) => {
    const ip = of(flow);
    return ip !== undefined && ip.includes(':') === text.includes(':') && contains(text, ip);
  };
}

const podOf = ({ namespace, pod_name }: FlowEndpoint) => (pod_name ? { namespace, name: pod_name } : undefined);

/** `ns/prefix`, `ns/`, `/prefix`, or a bare prefix in the namespace `default`. */
function named(text: string, of: (flow: Flow) => { namespace: string; name: string } | undefined): Predicate {
  const slash = text.indexOf('/');
  const namespace = slash < 0 ? 'default' : text.slice(0, slash);
  const prefix = text.slice(slash + 1);
  return (flow) => {
    const found = of(flow);
    return found !== undefined && (namespace === '' || found.namespace === namespace) && found.name.startsWith(prefix);
  };
}

function protocol(text: string): Predicate {
  switch (text.toLowerCase()) {
    case 'tcp':
      return ({ l4 }) => l4?.TCP !== undefined;
    case 'udp':
      return ({ l4 }) => l4?.UDP !== undefined;
    case 'sctp':
      return ({ l4 }) => l4?.SCTP !== undefined;
    case 'icmp':
      return ({ l4 }) => l4?.ICMPv4 !== undefined || l4?.ICMPv6 !== undefined;
    case 'icmpv4':
      return ({ l4 }) => l4?.ICMPv4 !== undefined;
    case 'icmpv6':
      return ({ l4 }) => l4?.ICMPv6 !== undefined;
    case 'vrrp':
    case 'igmp':
    case 'dns':
    case 'http':
      return never;
    default:
      throw new Error('expected tcp, udp, sctp, icmp, icmpv4, icmpv6, vrrp, igmp, dns or http');
  }
}

function port(text: string, side: 'source_port' | 'destination_port'): Predicate {
  const number = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || number > 65_535) throw new Error('expected a port number');
  return ({ l4 }) => (l4?.TCP ?? l4?.UDP ?? l4?.SCTP)?.[side] === number;
}

function workload(
  { name = '', kind = '' }: { name?: string; kind?: string },
  of: (flow: Flow) => FlowEndpoint,
): Predicate {
  return (flow) =>
    of(flow).workloads?.some((one) => (!name || one.name === name) && (!kind || one.kind === kind)) ?? false;
}

/** `cluster/node` with globs; a part that is missing is any. */
function nodeName(text: string): Predicate {
  const slash = text.indexOf('/');
  const [cluster, node] = slash < 0 ? ['', text] : [text.slice(0, slash), text.slice(slash + 1)];
  const [isCluster, isNode] = [globRegex(cluster || '*'), globRegex(node || '*')];
  return (flow) => {
    const at = flow.node_name.indexOf('/');
    const own = at < 0 ? 'default' : flow.node_name.slice(0, at);
    return isCluster.matches(own) && isNode.matches(flow.node_name.slice(at + 1));
  };
}

function globRegex(text: string): RE2JS {
  return RE2JS.compile(
    text
      .toLowerCase()
      .split('*')
      .map((part) => RE2JS.quote(part))
      .join('[-.0-9a-z]*'),
  );
}

function glob(text: string): Predicate {
  globRegex(text);
  return never;
}

function regex(text: string): Predicate {
  RE2JS.compile(text);
  return never;
}

/** `since` and `until` are inclusive. */
export function within(
  since: Timestamp | undefined,
  until: Timestamp | undefined,
): (item: { time: Timestamp }) => boolean {
  const notBefore = (a: Timestamp, b: Timestamp): boolean =>
    a.seconds - b.seconds > 0 || (a.seconds === b.seconds && a.nanos >= b.nanos);
  return ({ time }) => (!since || notBefore(time, since)) && (!until || notBefore(until, time));
}
