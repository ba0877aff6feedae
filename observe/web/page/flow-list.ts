/**
 * Flows as rows of a table: the newest ROWS_MAX, each once; pure.
 */
import type { Flow, FlowEndpoint, FlowPolicy } from '../../hubble/types.ts';
import { words } from './format.ts';

export interface FlowEnd {
  /** `shop/web-0`, `world`, or the address. */
  name: string;
  namespace: string;
  address: string;
  port: number;
}

export interface FlowRow {
  id: string;
  ms: number;
  verdict: string;
  from: FlowEnd;
  to: FlowEnd;
  protocol: string;
  /** What happened, in Hubble's words. */
  what: string;
  isReply: boolean | undefined;
  policies: string[];
  node: string;
  flow: Flow;
}

export const ROWS_MAX = 2_000;

/** Newest last. */
export class FlowList {
  readonly rows: FlowRow[] = [];
  readonly #known = new Set<string>();
  /** Of all that were ever added. */
  total = 0;

  add(flow: Flow): boolean {
    if (this.#known.has(flow.uuid)) return false;
    this.#known.add(flow.uuid);
    const row = rowOf(flow);
    // Nodes are merged as they come: a flow may be a little late.
    let at = this.rows.length;
    while (at > 0 && (this.rows[at - 1]?.ms ?? 0) > row.ms && this.rows.length - at < 512) at--;
    if (at === this.rows.length) this.rows.push(row);
    else this.rows.splice(at, 0, row);
    this.total++;
    if (this.rows.length > ROWS_MAX) {
      const gone = this.rows.shift();
      if (gone) this.#known.delete(gone.id);
    }
    return true;
  }

  clear(): void {
    this.rows.length = 0;
    this.#known.clear();
  }
}

export function rowOf(flow: Flow): FlowRow {
  const { l4, IP, time } = flow;
  const ports = l4?.TCP ?? l4?.UDP ?? l4?.SCTP;
  return {
    id: flow.uuid,
    ms: time.seconds * 1000 + time.nanos / 1e6,
    verdict: flow.verdict,
    from: endOf(flow.source, IP?.source ?? '', ports?.source_port ?? 0, flow.source_service),
    to: endOf(flow.destination, IP?.destination ?? '', ports?.destination_port ?? 0, flow.destination_service),
    protocol: protocolOf(flow),
    what: whatOf(flow),
    isReply: flow.is_reply?.value,
    policies: policiesOf(flow),
    node: flow.node_name.replace(/^.*\//, ''),
    flow,
  };
}

function endOf(
  { namespace, pod_name, labels, identity }: FlowEndpoint,
  address: string,
  port: number,
  service: Flow['destination_service'],
): FlowEnd {
  const isSpecial = (label: string): boolean => /^(reserved|cidr|fqdn):/.test(label);
  const special = labels.find((label) => label === 'reserved:kube-apiserver') ?? labels.find(isSpecial);
  const named = special?.slice(special.indexOf(':') + 1).replace(/^world-ipv[46]$/, 'world');
  // A range of one address says no more than the address.
  const isItself = named === `${address}/32` || named === `${address}/128`;
  const known = named === undefined || isItself ? address : named;
  const name = pod_name ? `${namespace}/${pod_name}` : service ? `${service.namespace}/${service.name}` : known;
  return { name: name || `identity ${identity}`, namespace, address, port };
}

function protocolOf({ l4, Summary }: Flow): string {
  if (l4?.TCP) return 'TCP';
  if (l4?.UDP) return 'UDP';
  if (l4?.SCTP) return 'SCTP';
  if (l4?.ICMPv4) return 'ICMPv4';
  if (l4?.ICMPv6) return 'ICMPv6';
  return Summary.split(' ')[0] ?? '';
}

const MATCHES = ['none', 'L3 only', 'L3 and L4', 'L4 only', 'all', 'L3 and protocol', 'protocol only'];

/** A socket and the service it asks for, before a packet is there. */
const SOCKETS: Readonly<Record<string, string>> = {
  SOCK_XLATE_POINT_PRE_DIRECTION_FWD: 'socket asks for a service',
  SOCK_XLATE_POINT_POST_DIRECTION_FWD: 'socket is led to a backend',
  SOCK_XLATE_POINT_PRE_DIRECTION_REV: 'socket is answered by a backend',
  SOCK_XLATE_POINT_POST_DIRECTION_REV: 'socket sees the service’s address',
};

function whatOf({
  event_type,
  drop_reason_desc,
  trace_observation_point,
  policy_match_type,
  l4,
  verdict,
  sock_xlate_point,
}: Flow): string {
  switch (event_type.type) {
    case 1:
      return words(drop_reason_desc ?? 'dropped');
    case 4: {
      const flags = Object.entries(l4?.TCP?.flags ?? {}).filter(([, isSet]) => isSet);
      const tail = flags.length > 0 ? ` · ${flags.map(([flag]) => flag).join(' ')}` : '';
      return `${words(trace_observation_point ?? 'trace').replaceAll(' ', '-')}${tail}`;
    }
    case 5:
      return verdict === 'DROPPED'
        ? `denied${drop_reason_desc ? ` · ${words(drop_reason_desc)}` : ''}`
        : `policy verdict · ${MATCHES[policy_match_type ?? 0] ?? policy_match_type}`;
    case 7:
      return SOCKETS[sock_xlate_point ?? ''] ?? 'socket';
    default:
      return `event ${event_type.type}`;
  }
}

export function policiesOf(flow: Flow): string[] {
  const lists = [flow.egress_allowed_by, flow.ingress_allowed_by, flow.egress_denied_by, flow.ingress_denied_by];
  const name = ({ namespace, name }: FlowPolicy): string => (namespace ? `${namespace}/${name}` : name);
  return [...new Set(lists.flatMap((list) => (list ?? []).map(name)))];
}

/** How a verdict looks. */
export function toneOf(verdict: string): 'good' | 'bad' | 'warn' {
  if (verdict === 'DROPPED' || verdict === 'ERROR' || verdict === 'denied') return 'bad';
  return verdict === 'AUDIT' || verdict === 'audit' ? 'warn' : 'good';
}

/** `[fd00::1]:80`, `10.0.0.1:80`. */
export const placeText = (address: string, port: number): string =>
  port === 0 ? address : `${address.includes(':') ? `[${address}]` : address}:${port}`;
