/** `axoneme endpoint list|get`: the pods of this node as the datapath knows them. */
import { type EndpointView, endpointForms } from '../../observe/endpoints.ts';
import type { EntryView } from '../../observe/policy.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { DebugError } from '../output/debug-client.ts';
import { clientsFor, type NodeClient, targetFlags, targetUsage } from '../output/debug-target.ts';
import { formatOf, labelText, print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

const NOT_FOUND = 404;

export const summary = 'endpoints of nodes';
export const usage = `axoneme endpoint list [-o json|wide]
axoneme endpoint get ENDPOINT [-o json|policy]

ENFORCEMENT is "Disabled (Audit)" where denials are only logged: on the whole node (policy.audit of the agent's configuration), or of a pod
with the annotation policy.axoneme.io/audit: "true"

get is JSON; -o policy is a table of the entries of its policy map, with the policies behind each

ENDPOINT is ${endpointForms.join(', ')}; of several nodes of an embedded cluster it is looked for on each
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const format = formatOf(flags.output, action === 'list' ? ['json', 'wide'] : ['json', 'policy']);
  const clients = await clientsFor(flags);
  if (action === 'list') {
    noPositionals(rest);
    const endpoints = await endpointsOf(clients);
    if (format === 'json') printJson(endpoints);
    else print(listText(endpoints, format === 'wide'));
    return 0;
  }
  noPositionals(rest.slice(1));
  const endpoint = await endpointIn(clients, required('ENDPOINT', rest[0]));
  if (format === 'policy') print(policyText(endpoint.policy));
  else printJson(endpoint);
  return 0;
}

/** `node` where several nodes were asked. */
type Listed = EndpointView & { node?: string };
type Whole = Listed & { policy: EntryView[] };

async function endpointsOf(clients: readonly NodeClient[]): Promise<Listed[]> {
  const lists = clients.map(async ({ node, client }): Promise<Listed[]> => {
    const all = await client.get<EndpointView[]>('/v1/endpoints');
    return clients.length > 1 ? all.map((one) => ({ node, ...one })) : all;
  });
  return (await Promise.all(lists)).flat();
}

/** The only one of this name; numbers are of one node. */
async function endpointIn(clients: readonly NodeClient[], name: string): Promise<Whole> {
  const path = `/v1/endpoints/${encodeURIComponent(name)}`;
  const [first, ...others] = clients;
  if (first && others.length === 0) return first.client.get<Whole>(path);
  const asked = clients.map(async ({ node, client }): Promise<Whole[]> => {
    try {
      return [{ node, ...(await client.get<Whole>(path)) }];
    } catch (error) {
      if (error instanceof DebugError && error.status === NOT_FOUND) return [];
      throw error;
    }
  });
  const found = (await Promise.all(asked)).flat();
  const [only, ...more] = found;
  if (!only) throw new Error(`no endpoint of ${clients.map(({ node }) => node).join(', ')} is ${name}`);
  if (more.length > 0)
    throw new Error(`endpoint ${name} is on ${found.map(({ node }) => node).join(', ')}; choose one with --node`);
  return only;
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

export function listText(endpoints: readonly Listed[], isWide: boolean): string {
  const hasNodes = endpoints.some(({ node }) => node !== undefined);
  const headers: Cell[] = [
    ...(hasNodes ? [['NODE']] : []),
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
    const own: Cell[] = [id, ingress, egress, identity, labels.map(labelText), ipv6, ipv4, state];
    const row = hasNodes ? [endpoint.node ?? '', ...own] : own;
    return isWide
      ? [...row, endpoint.pod, endpoint.link, `${endpoint.containerId}:${endpoint.ifname}`, endpoint.reason]
      : row;
  });
  return formatTable(isWide ? [...headers, ...wide] : headers, rows);
}
