/** One line for each event of the datapath, in the words of `cilium-dbg monitor`; pure. */
import type { MonitorEnd, MonitorRecord } from '../../observe/monitor.ts';
import { identityName } from '../../observe/names.ts';

export interface LineOptions {
  /** Show pods beside their addresses. */
  names: boolean;
}

const TARGETS: Readonly<Record<string, string>> = {
  'to-endpoint': '->',
  'to-host': '->',
  'to-stack': '->',
  'to-network': '->',
  'to-overlay': '->',
  'to-proxy': '->',
};

export function monitorLine(record: MonitorRecord, options: LineOptions): string {
  switch (record.type) {
    case 'drop':
      return dropLine(record, options);
    case 'trace':
      return traceLine(record, options);
    case 'policy-verdict':
      return verdictLine(record, options);
    case 'trace-sock':
      return socketLine(record, options);
    case 'unknown':
      return `?? event ${record.subtype} flow ${record.flow}`;
  }
}

function traceLine(record: MonitorRecord, options: LineOptions): string {
  const { subtype, flow, connection, link, original, originalEnd } = record;
  const arrow = TARGETS[subtype] ?? '<-';
  const point = subtype.replace(/^(to|from)-/, '');
  const { endpointId } = arrow === '->' ? record.destination : record.source;
  const target = point === 'endpoint' ? `endpoint ${endpointId || record.endpointId}` : point;
  const state = connection ? ` state ${connection}` : '';
  const device = link ? ` ifindex ${link}` : '';
  const before = original ? ` ${originalEnd === 'destination' ? 'service' : 'orig-ip'} ${original}` : '';
  return `${arrow} ${target} flow ${flow} , identity ${identities(record)}${state}${device}${before}: ${packet(record, options)}`;
}

function dropLine(record: MonitorRecord, options: LineOptions): string {
  const { subtype, flow, link, place } = record;
  const { endpointId } = record.destination;
  return `xx drop (${subtype}) flow ${flow} to endpoint ${endpointId}, ifindex ${link}, file ${place}, , identity ${identities(record)}: ${packet(record, options)}`;
}

function verdictLine(record: MonitorRecord, options: LineOptions): string {
  const { flow, endpointId, direction, proto, subtype, match, source, destination } = record;
  const remote = identityName((direction === 'egress' ? destination : source).identity);
  return `Policy verdict log: flow ${flow} local EP ID ${endpointId}, remote ID ${remote}, proto ${proto}, ${direction}, action ${subtype}, auth: disabled, match ${match}, ${packet(record, options)}`;
}

function socketLine({ subtype, socket, source, destination, protocol }: MonitorRecord, { names }: LineOptions): string {
  const from = names ? `, of ${source.pod || identityName(source.identity)}` : '';
  const target = end(destination, { names });
  return `[${subtype}] cgroup_id: ${socket?.cgroupId} sock_cookie: ${socket?.number}, dst ${target} ${protocol}${from}`;
}

const identities = ({ source, destination }: MonitorRecord): string =>
  `${identityName(source.identity)}->${identityName(destination.identity)}`;

function packet({ source, destination, protocol, tcpFlags, icmp }: MonitorRecord, options: LineOptions): string {
  const detail = icmp || tcpFlags.join(', ');
  return `${end(source, options)} -> ${end(destination, options)} ${protocol}${detail ? ` ${detail}` : ''}`.trimEnd();
}

function end({ address, port, pod }: MonitorEnd, { names }: LineOptions): string {
  const host = port > 0 ? (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`) : address || '?';
  return names && pod ? `${host} (${pod})` : host;
}
