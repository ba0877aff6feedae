/** A flow for people: compact, dict, tab. */
import type { Flow, FlowEndpoint, LostEvents, Timestamp } from '../../observe/hubble/types.ts';
import type { Colours } from '../output/colours.ts';

const RESERVED = /^reserved:/;

/** `shop/web-0:1024 (ID:4000)`, `198.51.100.7:80 (world)`; `shop/web:80` for the address of a service. */
function endText(
  { namespace, pod_name, identity = 0, labels = [] }: FlowEndpoint,
  address = '',
  port = 0,
  service?: Flow['destination_service'],
): string {
  const name = pod_name ? `${namespace}/${pod_name}` : service ? `${service.namespace}/${service.name}` : '';
  const host = name || address;
  const place = port > 0 ? `${host.includes(':') ? `[${host}]` : host}:${port}` : host;
  const reserved = labels.find((label) => RESERVED.test(label));
  if (reserved) return `${place} (${reserved.replace(RESERVED, '')})`;
  if (identity > 0) return `${place} (ID:${identity})`;
  return name ? place : `${place} (unknown)`;
}

const portsOf = ({ l4 }: Flow): { source_port?: number; destination_port?: number } =>
  l4?.TCP ?? l4?.UDP ?? l4?.SCTP ?? {};

export function ends(flow: Flow): { source: string; destination: string } {
  const { source_port, destination_port } = portsOf(flow);
  return {
    source: endText(flow.source, flow.IP?.source, source_port, flow.source_service),
    destination: endText(flow.destination, flow.IP?.destination, destination_port, flow.destination_service),
  };
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];

function timeText({ seconds, nanos }: Timestamp): string {
  const date = new Date(seconds * 1000);
  const two = (number: number): string => String(number).padStart(2, '0');
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${MONTHS[date.getMonth()]} ${String(date.getDate()).padStart(2)} ${clock}.${String(Math.floor(nanos / 1e6)).padStart(3, '0')}`;
}

/** What happened, in the words of Hubble's client. */
export function typeText(flow: Flow): string {
  const { event_type, drop_reason_desc, trace_observation_point, policy_match_type = 0 } = flow;
  switch (event_type.type) {
    case 1:
      return (drop_reason_desc ?? 'dropped').toLowerCase().replaceAll('_', ' ');
    case 4:
      return (trace_observation_point ?? 'trace').toLowerCase().replaceAll('_', '-');
    case 5:
      return `policy-verdict:${MATCHES[policy_match_type] ?? policy_match_type} ${flow.traffic_direction}`;
    case 7:
      return socketText(flow.sock_xlate_point);
    default:
      return `event ${event_type.type}`;
  }
}

/** `SOCK_XLATE_POINT_PRE_DIRECTION_FWD` as `pre-xlate-fwd`. */
const socketText = (point = 'UNKNOWN'): string =>
  point
    .replace(/^SOCK_XLATE_POINT_/, '')
    .replace('_DIRECTION_', '-xlate-')
    .toLowerCase();

const MATCHES = ['none', 'L3-Only', 'L3-L4', 'L4-Only', 'all', 'L3-Proto', 'Proto-Only'];

/** Policies that decided, as `namespace/name`. */
export function policiesOf(flow: Flow): string[] {
  const all = [flow.egress_allowed_by, flow.ingress_allowed_by, flow.egress_denied_by, flow.ingress_denied_by];
  return all.flatMap((policies = []) =>
    policies.map(({ namespace, name }) => (namespace ? `${namespace}/${name}` : name)),
  );
}

/** Of policy verdicts Hubble's client says what policy did, not what became of the packet. */
const DECIDED: Readonly<Record<string, string>> = { FORWARDED: 'ALLOWED', DROPPED: 'DENIED', AUDIT: 'AUDITED' };

const verdictWord = ({ verdict, event_type }: Flow): string =>
  event_type.type === 5 ? (DECIDED[verdict] ?? verdict) : verdict;

function verdictText(flow: Flow, { red, green, yellow }: Colours): string {
  const { verdict } = flow;
  const word = verdictWord(flow);
  if (verdict === 'FORWARDED' || verdict === 'TRANSLATED') return green(word);
  return verdict === 'DROPPED' || verdict === 'ERROR' ? red(word) : yellow(word);
}

export function compact(flow: Flow, colours: Colours): string {
  const { source, destination } = ends(flow);
  const arrow = flow.is_reply?.value ? '<-' : flow.is_reply ? '->' : '<>';
  const [left, right] = flow.is_reply?.value ? [destination, source] : [source, destination];
  const policies = policiesOf(flow);
  const by = policies.length > 0 ? ` by ${policies.join(', ')}` : '';
  return `${timeText(flow.time)}: ${left} ${arrow} ${right} ${typeText(flow)} ${verdictText(flow, colours)}${by} (${flow.Summary})`;
}

/** What is missing between two flows, as Hubble's client says it. */
export function lostText({ source, cpu, num_events_lost }: LostEvents, { red }: Colours): string {
  return red(`EVENTS LOST: ${source}${cpu ? ` CPU(${cpu.value ?? 0})` : ''} ${num_events_lost}`);
}

export function dict(flow: Flow, nodeName: string, colours: Colours): string {
  const { source, destination } = ends(flow);
  const rows = [
    ['TIMESTAMP', timeText(flow.time)],
    ['NODE', nodeName],
    ['SOURCE', source],
    ['DESTINATION', destination],
    ['TYPE', typeText(flow)],
    ['VERDICT', verdictText(flow, colours)],
    ['POLICIES', policiesOf(flow).join(', ')],
    ['SUMMARY', flow.Summary],
  ];
  return rows.map(([name, value]) => `${`${name}:`.padStart(12)} ${value}`).join('\n');
}

export const TAB_HEADER = ['TIMESTAMP', 'SOURCE', 'DESTINATION', 'TYPE', 'VERDICT', 'SUMMARY'];

export function tab(flow: Flow): string[] {
  const { source, destination } = ends(flow);
  return [timeText(flow.time), source, destination, typeText(flow), verdictWord(flow), flow.Summary];
}
