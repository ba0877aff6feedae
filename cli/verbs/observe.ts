/** `axoneme observe`: flows of a node or a relay, by the Hubble API. */
import { readFileSync } from 'node:fs';
import { type ClientTls, HubbleClient } from '../../observe/hubble/client.ts';
import { flowJson } from '../../observe/hubble/flow-json.ts';
import type { GetFlowsRequest, GetFlowsResponse, NodeStatus } from '../../observe/hubble/observer.ts';
import type { Flow } from '../../observe/hubble/types.ts';
import type { StatusView } from '../../observe/status.ts';
import { filterFlags, parseFilters } from '../observe/filters.ts';
import { compact, dict, lostText, policiesOf, TAB_HEADER, tab } from '../observe/flow-text.ts';
import { parseTime } from '../observe/time.ts';
import { noPositionals } from '../output/arguments.ts';
import { coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print } from '../output/print.ts';
import { meant, parseArguments, UsageError, wholeNumber } from '../usage.ts';

export const summary = 'flows: who talks to whom, and what became of it';
export const usage = `axoneme observe [FILTERS] [--last N | --first N | --all] [--since TIME] [--until TIME] [--follow] [-o compact|dict|tab|json|jsonpb]

  --last N          the newest N that match (20)
  --first N         the oldest N
  --all             all that are kept
  --since TIME      from a time on: 5m, 2h, or 2026-11-23T05:00:00Z
  --until TIME      up to a time
  --follow          and those to come
  --server ADDRESS  a Hubble server instead of this node's: unix:///path, host:port
  --tls-ca FILE     over TLS: the server's certificate is of this CA
  --tls-cert FILE --tls-key FILE   shown to the server
  --tls-server-name NAME           in the server's certificate, where it is not its address
  --policy NAME     flows that this policy allowed or denied (namespace/name, or a name)

Filters, each with --from- and --to- for one side: --namespace --pod --ip --label --identity --port --service --fqdn --workload --cluster
and --verdict --drop-reason-desc --protocol --type --traffic-direction --tcp-flags --node-name --node-label --interface --snat-ip
--http-method --http-path --http-status --http-url --http-header --dns-query --trace-id --ip-trace-id --uuid --ip-version --ipv4 --ipv6
--is-reply --encrypted --unencrypted --cel-expression; --not before one of them excludes what it selects.
${targetUsage}`;

const FORMATS = ['compact', 'dict', 'tab', 'json', 'jsonpb'] as const;
const LAST = 20;
const NUMBER_MAX = Number.MAX_SAFE_INTEGER;

const flagSpec = {
  ...targetFlags,
  last: 'N',
  first: 'N',
  all: true,
  since: 'TIME',
  until: 'TIME',
  follow: true,
  server: 'ADDRESS',
  'tls-ca': 'FILE',
  'tls-cert': 'FILE',
  'tls-key': 'FILE',
  'tls-server-name': 'NAME',
  policy: 'NAME',
} as const;

export async function run(args: string[]): Promise<number> {
  const { whitelist, blacklist, rest } = parseFilters(args);
  const unknown = rest.find(
    (arg) => arg.startsWith('--') && !Object.hasOwn(flagSpec, arg.slice(2).replace(/=.*$/s, '')),
  );
  const known = [...Object.keys(flagSpec), ...filterFlags].map((name) => `--${name}`);
  if (unknown) throw new UsageError(`unknown flag ${unknown}${meant(unknown, known)}`);
  const { flags, positionals } = parseArguments(rest, flagSpec);
  noPositionals(positionals);
  const format = flags.output ?? 'compact';
  if (!FORMATS.some((known) => known === format))
    throw new UsageError(`flag --output is ${JSON.stringify(format)}; known are ${FORMATS.join(', ')}`);
  const request: GetFlowsRequest = { whitelist, blacklist, follow: flags.follow === true, ...count(flags) };
  if (flags.since) request.since = parseTime('since', flags.since, Date.now());
  if (flags.until) request.until = parseTime('until', flags.until, Date.now());
  const server = flags.server ?? (await ownServer(flags));
  const show = printer(format);
  const client = new HubbleClient(server, tlsOf(flags));
  // Who follows may hear nothing for long: whether somebody is there is asked first.
  await client.status();
  for await (const response of client.flows(request)) {
    if (response.node_status) warn(response.node_status);
    if (response.lost_events) show(response);
    if (response.flow && (!flags.policy || decidedBy(response.flow as Flow, flags.policy))) show(response);
  }
  client.close();
  return 0;
}

type TlsFlags = { 'tls-ca'?: string; 'tls-cert'?: string; 'tls-key'?: string; 'tls-server-name'?: string };

function tlsOf(flags: TlsFlags): ClientTls {
  const read = (flag: 'tls-ca' | 'tls-cert' | 'tls-key'): Buffer | undefined =>
    flags[flag] === undefined ? undefined : readFileSync(flags[flag]);
  const [ca, cert, key, serverName] = [read('tls-ca'), read('tls-cert'), read('tls-key'), flags['tls-server-name']];
  if ((cert === undefined) !== (key === undefined))
    throw new UsageError('flags --tls-cert and --tls-key: expected both or none');
  if (!ca && (cert || serverName)) throw new UsageError('flag --tls-ca is wanted beside the other --tls flags');
  return { ...(ca && { ca }), ...(cert && { cert }), ...(key && { key }), ...(serverName && { serverName }) };
}

/** Nodes that a relay could not ask. */
function warn({ state_change, node_names, message }: NodeStatus): void {
  if (state_change === 'NODE_CONNECTED') return;
  process.stderr.write(`${state_change} ${node_names.join(', ')}: ${message}\n`);
}

/** Which flows, when neither time nor number says so. */
function count(flags: { last?: string; first?: string; all?: true; follow?: true; since?: string }): GetFlowsRequest {
  if (flags.first !== undefined && flags.last !== undefined)
    throw new UsageError('flags --first and --last exclude each other');
  if (flags.first !== undefined) return { first: true, number: wholeNumber('first', flags.first, 1, NUMBER_MAX) };
  if (flags.last !== undefined) return { number: wholeNumber('last', flags.last, 1, NUMBER_MAX) };
  return flags.all || flags.since || flags.follow ? {} : { number: LAST };
}

async function ownServer(flags: Parameters<typeof clientFor>[0]): Promise<string> {
  const { hubble } = await (await clientFor(flags)).get<StatusView>('/v1/status');
  if (!hubble) throw new Error('this agent has no flows: it runs without a datapath');
  return `unix://${hubble.socket}`;
}

const decidedBy = (flow: Flow, policy: string): boolean =>
  policiesOf(flow).some((name) => name === policy || name.endsWith(`/${policy}`));

function printer(format: string): (response: GetFlowsResponse) => void {
  const colours = coloursFor(process.stdout);
  let printed = 0;
  return (response) => {
    const flow = response.flow as Flow;
    if (format === 'json' || format === 'jsonpb') print(`${JSON.stringify(flowJson(response))}\n`);
    else if (response.lost_events) return print(`${lostText(response.lost_events, colours)}\n`);
    else if (format === 'dict')
      print(`${printed > 0 ? '------------\n' : ''}${dict(flow, response.node_name, colours)}\n`);
    else if (format === 'tab') print(`${printed > 0 ? '' : `${TAB_HEADER.join('\t')}\n`}${tab(flow).join('\t')}\n`);
    else print(`${compact(flow, colours)}\n`);
    printed++;
  };
}
