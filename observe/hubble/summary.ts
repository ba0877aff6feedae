/** A flow in one line of plain words, for logs of others. */
import type { Flow, FlowEndpoint } from './types.ts';

export function summaryOf(flow: Flow): string {
  const ports = flow.l4?.TCP ?? flow.l4?.UDP ?? flow.l4?.SCTP;
  const from = endOf(flow.source, flow.IP?.source, ports?.source_port);
  const to = endOf(flow.destination, flow.IP?.destination, ports?.destination_port);
  const why = flow.drop_reason_desc ? ` (${flow.drop_reason_desc})` : '';
  return `${from} -> ${to} ${protocolOf(flow)} ${flow.verdict}${why}`;
}

export const protocolOf = ({ l4 }: Flow): string => Object.keys(l4 ?? {})[0] ?? 'IP';

function endOf({ namespace, pod_name }: FlowEndpoint, address = '?', port?: number): string {
  const name = pod_name ? `${namespace}/${pod_name}` : address.includes(':') ? `[${address}]` : address;
  return port === undefined ? name : `${name}:${port}`;
}
