/** `axoneme service list|get`: services as this node serves them. */
import { type BackendView, type FrontendView, type ServiceView, serviceForms } from '../../observe/services.ts';
import { chosen, noPositionals, required } from '../output/arguments.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { formatFacts, formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'services of a node';
export const usage = `axoneme service list [-o json]
axoneme service get SERVICE [-o json]

SERVICE is ${serviceForms.join(', ')}
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['list', 'get']);
  const isJson = wantsJson(flags.output);
  noPositionals(action === 'list' ? rest : rest.slice(1));
  const path = action === 'list' ? '' : `/${encodeURIComponent(required('SERVICE', rest[0]))}`;
  const services = await (await clientFor(flags)).get<ServiceView[]>(`/v1/services${path}`);
  if (isJson) printJson(services);
  else print(action === 'list' ? listText(services) : services.map(serviceText).join('\n'));
  return 0;
}

/** A line of the frontend, and one for each backend. */
export function listText(services: readonly ServiceView[]): string {
  const rows = services.flatMap(({ frontends }) =>
    frontends.map((frontend) => [
      frontend.frontend,
      frontend.type,
      `${frontend.service}${frontend.portName ? `:${frontend.portName}` : ''}`,
      backendLines(frontend),
    ]),
  );
  return formatTable(['FRONTEND', 'SERVICE TYPE', 'SERVICE', 'BACKEND'], rows);
}

function backendLines({ backends, external, row }: FrontendView): string[] {
  const lines = (views: readonly BackendView[], where: string): string[] =>
    views.length === 0
      ? [`<none>${where}`]
      : views.map(({ backend, state }, i) => `${i + 1} => ${backend} (${state})${where}`);
  const all = external
    ? [...lines(backends, ' from this node'), ...lines(external, ' from outside')]
    : lines(backends, '');
  return row === 'in-sync' ? all : [...all, `(${row})`];
}

function serviceText({ service, state, reason, frontends, backends }: ServiceView): string {
  const facts = formatFacts([
    ['Service', service],
    ['State', reason ? `${state}: ${reason}` : state],
    ['Endpoints', backends.length > 0 ? backends.map(({ backend, state }) => `${backend} (${state})`) : '<none>'],
  ]);
  if (frontends.length === 0) return facts;
  const table = formatTable(
    ['FRONTEND', 'SERVICE TYPE', 'PORT', 'EXTERNAL POLICY', 'AFFINITY', 'CLIENTS', 'BACKEND'],
    frontends.map((frontend) => [
      frontend.frontend,
      frontend.type,
      frontend.portName || '<none>',
      frontend.externalTrafficPolicy,
      frontend.affinityTimeout > 0 ? `${frontend.affinityTimeout}s` : '<none>',
      frontend.sourceRanges ?? 'all',
      backendLines(frontend),
    ]),
  );
  return `${facts}\n${table}`;
}
