/** `axoneme up`: an embedded cluster on this machine until it is told to end; then nothing of it is left. */
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { resolve } from 'node:path';
import type { RunningCluster } from '../up/cluster.ts';
import { parseFaults } from '../up/faults.ts';
import { followFlows } from '../up/flows.ts';
import { ManifestInvalid, readManifests } from '../up/manifests.ts';
import { isClusterName, NAME_EXPECTED, NODES_MAX } from '../up/names.ts';
import { ENCRYPTIONS, type Fields, healthOf, merged, networkOf, oneOf, ROUTINGS } from '../up/network.ts';
import { pause } from '../up/pause.ts';
import { type Pod, podName } from '../up/pod.ts';
import { writeAtomically } from '../up/registry.ts';
import { Terminal } from '../up/terminal.ts';
import { parseArguments, UsageError, wholeNumber } from '../usage.ts';

const DEMO = new URL('../../deploy/demo', import.meta.url).pathname;

export const summary = 'bring up an embedded cluster on this machine';
export const usage = `Usage: axoneme up [FLAGS]

  --name NAME         tells clusters apart (default: default)
  --nodes N           nodes, each a network namespace with an agent of its own (default: 1)
  --routing MODE      native (default): the network between the nodes knows where pods are; vxlan, geneve: it does not
  --encryption TYPE   of pod traffic between nodes: none (default), wireguard, ipsec
  --underlay FAULTS   of the network between the nodes, such as loss=1%,delay=5ms; see axoneme underlay
  --manifests PATH    directory or file with Kubernetes manifests (default: the demo, deploy/demo)
  --for SECONDS       end by itself, so long after all pods were ready
  --kubeconfig FILE   write a kubeconfig for kubectl
  --ready-file FILE   appears once all pods are ready: {kubeconfig, debugSocket, web, nodes: [{name, netns, debugSocket}]}
  --web PORT          loopback port of the web page; 0: any (default: 4690, or any when that is taken)
  --record DIR        write each agent's event log into DIR/<node>
  --agent-config FILE fields that every agent's configuration gets besides, as JSON: {"policy": {"hostFirewall": true}}

Both files are removed at the end. Ctrl-C ends the cluster and leaves nothing behind.`;

const FLAGS = {
  name: 'NAME',
  nodes: 'N',
  routing: 'MODE',
  encryption: 'TYPE',
  underlay: 'FAULTS',
  manifests: 'PATH',
  for: 'SECONDS',
  kubeconfig: 'FILE',
  'ready-file': 'FILE',
  web: 'PORT',
  record: 'DIR',
  'agent-config': 'FILE',
} as const;

/** The usual port of the web page. */
const WEB_PORT = 4690;
const DAY_SECONDS = 86_400;
/** After this long people want to know what they are waiting for. */
const PATIENCE_MS = 5_000;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals, rest } = parseArguments(args, FLAGS);
  const stray = positionals[0] ?? rest?.[0];
  if (stray !== undefined) throw new UsageError(`unexpected argument ${stray}`);
  const name = flags.name ?? 'default';
  if (!isClusterName(name)) throw new UsageError(`flag --name is ${JSON.stringify(name)}, expected ${NAME_EXPECTED}`);
  const nodes = flags.nodes === undefined ? 1 : wholeNumber('nodes', flags.nodes, 1, NODES_MAX);
  const seconds = flags.for === undefined ? undefined : wholeNumber('for', flags.for, 0, 365 * DAY_SECONDS);
  const web = flags.web === undefined ? WEB_PORT : wholeNumber('web', flags.web, 0, 65_535);
  const faults = flags.underlay === undefined ? undefined : parseFaults(flags.underlay);
  const agentConfig = merged(networkFields(flags, nodes), fieldsOf(flags['agent-config']));
  if (process.getuid?.() !== 0)
    throw new Error('this needs root: it creates network namespaces and loads BPF programs');
  requireOurs(flags.kubeconfig);
  const manifests = readManifests(flags.manifests ?? DEMO);
  const outputs = [flags.kubeconfig, flags['ready-file']]
    .filter((path) => path !== undefined)
    .map((path) => resolve(path));

  // Mistakes on the command line are told without waiting for the API server's schemas.
  const { requireKernelFor } = await import('../up/kernel-needs.ts');
  await requireKernelFor(networkOf(agentConfig), name);
  const { podsReady, withCluster } = await import('../up/cluster.ts');
  const { startClusterPage } = await import('../../observe/web/cluster-page.ts');
  const ending = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => ending.abort(signal));
  // Nobody reads any more (`| head`): end, but in order.
  process.stdout.removeAllListeners('error').on('error', () => ending.abort('output was closed'));
  // A defect must not keep the cluster from being taken down.
  let defect: unknown;
  process.on('uncaughtException', (error) => {
    defect ??= error;
    ending.abort(error);
  });
  const terminal = new Terminal();
  const log = (line: string) => terminal.aside(line);
  terminal.line(`axoneme up: cluster ${name}`);
  const record = flags.record === undefined ? '' : resolve(flags.record);
  const progress = (what: string, detail: string) => terminal.step(what, detail);
  try {
    if (flags['ready-file'] !== undefined) rmSync(flags['ready-file'], { force: true });
    await withCluster(
      {
        name,
        nodes,
        manifests,
        record,
        agentConfig,
        ...(faults && { faults }),
        signal: ending.signal,
        progress,
        log,
      },
      async (cluster) => {
        if (flags.kubeconfig !== undefined) writeAtomically(flags.kubeconfig, MARK + cluster.kubeconfigText);
        const kubeconfig = flags.kubeconfig === undefined ? cluster.kubeconfig : resolve(flags.kubeconfig);
        await podsReady(cluster, ending.signal, impatient(terminal));
        const page = await startClusterPage(cluster.nodes, web);
        try {
          if (flags['ready-file'] !== undefined) writeReady(flags['ready-file'], cluster, kubeconfig, page.url);
          describe(terminal, cluster, kubeconfig, page.url);
          const unfollow = followFlows(cluster.nodes, (line) => terminal.line(line));
          await pause(seconds === undefined ? FOREVER_MS : seconds * 1_000, ending.signal);
          unfollow();
        } finally {
          await page.close();
        }
        terminal.line(`\naxoneme up: ${ending.signal.reason ?? `${seconds} s are over`}, taking everything down`);
      },
    );
  } catch (error) {
    if (defect === undefined && ending.signal.aborted && error === ending.signal.reason) {
      terminal.line(`\naxoneme up: ${error}, taken down`);
    } else if (error instanceof ManifestInvalid) {
      process.stderr.write(`axoneme up: invalid manifest\n${error.message}\n`);
      return 1;
    } else throw error;
  } finally {
    for (const path of outputs) rmSync(path, { force: true });
  }
  if (defect !== undefined) throw defect;
  return 0;
}

/** setTimeout holds 31 bits. */
const FOREVER_MS = 2 ** 31 - 1;

/** First line of the kubeconfigs that we write, and so may overwrite and remove. */
const MARK = '# of an embedded cluster of axoneme up; removed when that ends\n';

function requireOurs(path: string | undefined): void {
  if (path === undefined || !existsSync(path)) return;
  const text = readFileSync(path, 'utf8');
  if (text !== '' && !text.startsWith(MARK)) {
    throw new UsageError(
      `flag --kubeconfig is ${path}, which exists and is not of an embedded cluster; name another file`,
    );
  }
}

function writeReady(path: string, { nodes }: RunningCluster, kubeconfig: string, web: string): void {
  const ready = { kubeconfig, debugSocket: nodes[0]?.debugSocket, web, nodes };
  writeAtomically(path, `${JSON.stringify(ready, null, 2)}\n`);
}

function describe(terminal: Terminal, cluster: RunningCluster, kubeconfig: string, web: string): void {
  terminal.line();
  terminal.pods(cluster.objects.list<Pod>('pods'));
  terminal.line();
  terminal.step('kubectl', `kubectl --kubeconfig ${kubeconfig} get pods -A -o wide`);
  for (const { name, debugSocket } of cluster.nodes) terminal.step(name, `debug socket ${debugSocket}`);
  terminal.step('web page', web);
  terminal.line('\nLive flows; Ctrl-C ends the cluster.\n');
}

/** Says, after a while and then seldom, which pods are not ready and why. */
function impatient(terminal: Terminal): (pods: Pod[]) => void {
  let sayAt = Date.now() + PATIENCE_MS;
  return (pods) => {
    if (Date.now() < sayAt) return;
    sayAt = Date.now() + PATIENCE_MS;
    const [pod] = pods;
    const reason = pod?.status?.conditions?.find(({ type, status }) => type === 'Ready' && status !== 'True')?.message;
    terminal.aside(`waiting for ${pods.map(podName).join(', ')}${reason ? ` (${reason})` : ''}`);
  };
}

/** What the flags about the network say, as agents are configured. */
function networkFields(flags: { routing?: string; encryption?: string }, nodes: number): Fields {
  return {
    ...(flags.routing !== undefined && { routing: { mode: oneOf('routing', flags.routing, ROUTINGS) } }),
    ...(flags.encryption !== undefined && { encryption: { type: oneOf('encryption', flags.encryption, ENCRYPTIONS) } }),
    health: healthOf(nodes),
  };
}

/** Of a JSON file; the agent judges them. */
function fieldsOf(path: string | undefined): Record<string, unknown> {
  if (path === undefined) return {};
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  } catch (error) {
    throw new UsageError(`flag --agent-config ${path}: ${error instanceof Error ? error.message : String(error)}`);
  }
}
