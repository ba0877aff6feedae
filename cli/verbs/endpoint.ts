/** `axoneme endpoint list|get`: the pods of this node as the datapath knows them. */
import { type EndpointView, endpointForms } from '../../observe/endpoints.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { formatOf, labelText, print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'endpoints of a node';
export const usage = `axoneme endpoint list [-o json|wide]
axoneme endpoint get ENDPOINT

ENDPOINT is ${endpointForms.join(', ')}
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const format = formatOf(flags.output, ['json', 'wide']);
  if (action === 'list') {
    noPositionals(rest);
    const endpoints = await (await clientFor(flags)).get<EndpointView[]>('/v1/endpoints');
    if (format === 'json') printJson(endpoints);
    else print(listText(endpoints, format === 'wide'));
    return 0;
  }
  noPositionals(rest.slice(1));
  const path = `/v1/endpoints/${encodeURIComponent(required('ENDPOINT', rest[0]))}`;
  printJson(await (await clientFor(flags)).get(path));
  return 0;
}

export function listText(endpoints: readonly EndpointView[], isWide: boolean): string {
  const headers: Cell[] = [
    ['ENDPOINT'],
    ['POLICY (ingress)', 'ENFORCEMENT'],
    ['POLICY (egress)', 'ENFORCEMENT'],
    ['IDENTITY'],
    ['LABELS (source:key[=value])'],
    ['IPv6'],
    ['IPv4'],
    ['STATUS'],
  ];
  const wide: Cell[] = ['POD', 'LINK', 'CONTAINER', 'REASON'];
  const rows = endpoints.map((endpoint): Cell[] => {
    const { id, ingress, egress, identity, labels, ipv6, ipv4, state } = endpoint;
    const row: Cell[] = [id, ingress, egress, identity, labels.map(labelText), ipv6, ipv4, state];
    return isWide
      ? [...row, endpoint.pod, endpoint.link, `${endpoint.containerId}:${endpoint.ifname}`, endpoint.reason]
      : row;
  });
  return formatTable(isWide ? [...headers, ...wide] : headers, rows);
}
