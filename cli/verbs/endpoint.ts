/** `axoneme endpoint list|get`: the pods of this node as the datapath knows them. */
import { type EndpointView, endpointForms } from '../../observe/endpoints.ts';
import type { EntryView } from '../../observe/policy.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { formatOf, labelText, print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'endpoints of a node';
export const usage = `axoneme endpoint list [-o json|wide]
axoneme endpoint get ENDPOINT [-o json|policy]

ENFORCEMENT is "Disabled (Audit)" where denials are only logged: on the whole node (policy.audit of the agent's configuration), or of a pod
with the annotation policy.axoneme.io/audit: "true"

get is JSON; -o policy is a table of the entries of its policy map, with the policies behind each

ENDPOINT is ${endpointForms.join(', ')}
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const format = formatOf(flags.output, action === 'list' ? ['json', 'wide'] : ['json', 'policy']);
  if (action === 'list') {
    noPositionals(rest);
    const endpoints = await (await clientFor(flags)).get<EndpointView[]>('/v1/endpoints');
    if (format === 'json') printJson(endpoints);
    else print(listText(endpoints, format === 'wide'));
    return 0;
  }
  noPositionals(rest.slice(1));
  const path = `/v1/endpoints/${encodeURIComponent(required('ENDPOINT', rest[0]))}`;
  const endpoint = await (await clientFor(flags)).get<EndpointView & { policy: EntryView[] }>(path);
  if (format === 'policy') print(policyText(endpoint.policy));
  else printJson(endpoint);
  return 0;
}

/** Entries as they are in the kernel. */
export function policyText(entries: readonly EntryView[]): string {
  const rows = entries.map(({ action, direction, identity, labels, port, policies, state }): Cell[] => [
    direction,
    action,
    identity === 0 ? 'any' : identity,
    labels.map(labelText),
    port,
    policies,
    state,
  ]);
  return formatTable(['DIRECTION', 'ACTION', 'IDENTITY', 'LABELS', 'PORT', 'POLICIES', 'STATE'], rows);
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
