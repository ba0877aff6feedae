/** `axoneme policy …`: questions to network policy. */
import { chosen, noPositionals } from '../output/arguments.ts';
import { clientFor, clientsFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { wantsJson } from '../output/print.ts';
import { parseArguments, UsageError } from '../usage.ts';

export const summary = 'what network policy says, and why';
export const usage = `axoneme policy get [NAME] [-o json]
axoneme policy selectors [-o json]
axoneme policy trace --src END --dst END --dport PORT/PROTOCOL [-o json]
axoneme policy what-if [-f NEW.yaml] [--without KIND/NAMESPACE/NAME] [--flows FLOWS.json] [-o json]
axoneme policy verdict --manifests DIR --flows FLOWS.json [--json] [--engine model|bpf]

get        policies: in force, waiting for L7, or why not; and the endpoints that they select, of all nodes of an embedded cluster
selectors  each selector of a node, the policies that use it, and the identities that it selects
trace      what becomes of one flow: END is a pod as NAMESPACE/NAME, an address, an entity such as world, or labels as k8s:app=web
what-if    which pairs of pods and which connections would change their verdict; nothing is applied. -f is short for --manifests;
           --flows: recorded flows instead of the connections of now, as for verdict or as observe -o json writes them
verdict    offline, for a cluster that is only manifests:
  --manifests DIR      Namespaces, Pods, Nodes, Services, EndpointSlices and policies; a file or a directory
  --flows FILE         array of {id, from, to, protocol, port}; an end is {pod: "ns/name"}, {ip} or {entity}; - is standard input
  --engine ENGINE      model (the resolver and the packet model) or bpf (the real programs, by test run; needs root)
  --enforcement MODE   default, always or never

${targetUsage}`;

const spec = {
  ...targetFlags,
  manifests: 'PATH',
  without: 'POLICY',
  flows: 'FLOWS.json',
  engine: 'ENGINE',
  enforcement: 'MODE',
  src: 'END',
  dst: 'END',
  dport: 'PORT/PROTOCOL',
  json: true,
} as const;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(withManifests(args), spec);
  const [word, ...rest] = positionals;
  const action = chosen('action', word, ['get', 'selectors', 'trace', 'what-if', 'verdict']);
  noPositionals(action === 'get' ? rest.slice(1) : rest);
  const isJson = flags.json === true || wantsJson(flags.output);
  // Each is loaded when it is asked for: questions to an agent need no programs, and offline ones no agent.
  switch (action) {
    case 'get':
      return (await import('../policy/lists.ts')).runGet(await clientsFor(flags), rest[0], isJson);
    case 'selectors':
      return (await import('../policy/lists.ts')).runSelectors(await clientFor(flags), isJson);
    case 'trace': {
      const [src, dst, dport] = [needed('src', flags.src), needed('dst', flags.dst), needed('dport', flags.dport)];
      return (await import('../policy/trace.ts')).runTrace(await clientsFor(flags), { src, dst, dport, isJson });
    }
    case 'what-if': {
      const options = {
        manifests: flags.without === undefined ? needed('manifests', flags.manifests) : flags.manifests,
        without: flags.without,
        flows: flags.flows,
        isJson,
      };
      return (await import('../policy/what-if.ts')).runWhatIf(await clientsFor(flags), options);
    }
    case 'verdict':
      return (await import('../policy/verdict.ts')).runVerdict({
        manifests: needed('manifests', flags.manifests),
        flows: needed('flows', flags.flows),
        engine: chosen('engine', flags.engine ?? 'model', ['model', 'bpf']),
        enforcement: chosen('enforcement', flags.enforcement ?? 'default', ['default', 'always', 'never']),
        isJson,
      });
  }
}

/** `-f` is follow elsewhere; here it is what kubectl means by it. */
const withManifests = (args: readonly string[]): string[] =>
  args.map((arg) => (arg === '-f' ? '--manifests' : arg.replace(/^-f=/, '--manifests=')));

function needed(flag: string, value: string | undefined): string {
  if (value === undefined) throw new UsageError(`flag --${flag} is missing`);
  return value;
}
