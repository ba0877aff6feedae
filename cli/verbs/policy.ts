/** `axoneme policy …`: questions to network policy. */
import { chosen, noPositionals } from '../output/arguments.ts';
import { targetFlags, targetUsage } from '../output/debug-target.ts';
import { wantsJson } from '../output/print.ts';
import { runVerdict } from '../policy/verdict.ts';
import { parseArguments, UsageError } from '../usage.ts';

export const summary = 'what network policy says, and why';
export const usage = `axoneme policy verdict --manifests DIR --flows FLOWS.json [--json] [--engine model|bpf]

verdict answers offline, for a cluster that is only manifests:
  --manifests DIR      Namespaces, Pods, Nodes, Services, EndpointSlices and policies; a file or a directory
  --flows FILE         array of {id, from, to, protocol, port}; an end is {pod: "ns/name"}, {ip} or {entity}; - is standard input
  --engine ENGINE      model (the resolver and the packet model) or bpf (the real programs, by test run; needs root)
  --enforcement MODE   default, always or never
  --json               as JSON

${targetUsage}`;

const spec = {
  ...targetFlags,
  manifests: 'DIR',
  flows: 'FLOWS.json',
  engine: 'ENGINE',
  enforcement: 'MODE',
  json: true,
} as const;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, spec);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['verdict']);
  noPositionals(rest);
  const isJson = flags.json === true || wantsJson(flags.output);
  switch (action) {
    case 'verdict':
      return runVerdict({
        manifests: needed('manifests', flags.manifests),
        flows: needed('flows', flags.flows),
        engine: chosen('engine', flags.engine ?? 'model', ['model', 'bpf']),
        enforcement: chosen('enforcement', flags.enforcement ?? 'default', ['default', 'always', 'never']),
        isJson,
      });
  }
}

function needed(flag: string, value: string | undefined): string {
  if (value === undefined) throw new UsageError(`flag --${flag} is missing`);
  return value;
}
