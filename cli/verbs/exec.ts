/** `axoneme exec NAMESPACE/POD -- COMMAND…`: runs a command in a pod's or a node's network, terminal and exit code passed through. */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { nodeCgroup } from '../up/cgroups.ts';
import { inNetns } from '../up/command.ts';
import { netnsPath, stateDirOf } from '../up/names.ts';
import { findCluster } from '../up/registry.ts';
import { meant, parseArguments, UsageError } from '../usage.ts';

export const summary = "run a command in a pod's or a node's network namespace";
export const usage = `Usage: axoneme exec [--name CLUSTER] NAMESPACE/POD -- COMMAND [ARGUMENTS]
       axoneme exec [--name CLUSTER] --node NODE -- COMMAND [ARGUMENTS]

  --name CLUSTER   which embedded cluster; not needed when only one is running
  --node NODE      on the node itself, as a host process

A pod without a namespace is one of the namespace default. The command sees this machine's files: only its network
is the pod's or the node's, services included.`;

interface PodRecord {
  pod: string;
  node: string;
  netns: string;
}

export async function run(args: string[]): Promise<number> {
  const { flags, positionals, rest } = parseArguments(args, { name: 'CLUSTER', node: 'NODE' });
  const [pod, ...more] = positionals;
  if (pod === undefined && flags.node === undefined) throw new UsageError('which pod? Expected NAMESPACE/POD');
  if (pod !== undefined && flags.node !== undefined) throw new UsageError(`either pod ${pod} or --node ${flags.node}`);
  if (more.length > 0) throw new UsageError(`unexpected argument ${more[0]}; the command comes after --`);
  if (!rest || rest.length === 0) throw new UsageError('which command? Expected -- COMMAND');
  const cluster = await findCluster(flags.name);
  if (pod === undefined) {
    const node = cluster.nodes.find(({ name }) => name === flags.node);
    const names = cluster.nodes.map(({ name }) => name);
    if (node) return execute(node.netns, nodeCgroup(cluster.name, node.name), rest);
    throw new Error(
      `cluster ${cluster.name} has no node ${flags.node}${meant(flags.node ?? '', names)}; it has ${names.join(', ')}`,
    );
  }
  const wanted = pod.includes('/') ? pod : `default/${pod}`;
  const pods = podsOf(cluster.name);
  const found = pods.find((record) => record.pod === wanted);
  if (!found) {
    const names = pods.map((record) => record.pod);
    throw new Error(
      `cluster ${cluster.name} has no pod ${wanted} with a network namespace${meant(wanted, names)}; it has ${names.join(', ') || 'none'}`,
    );
  }
  return execute(found.netns, nodeCgroup(cluster.name, found.node), rest);
}

function podsOf(cluster: string): PodRecord[] {
  const directory = join(stateDirOf(cluster), 'pods');
  let files: string[] = [];
  try {
    files = readdirSync(directory)
      .filter((file) => file.endsWith('.json'))
      .sort();
  } catch {
    // No pod has a namespace yet.
  }
  return files.flatMap((file) => {
    try {
      return [JSON.parse(readFileSync(join(directory, file), 'utf8')) as PodRecord];
    } catch {
      return [];
    }
  });
}

function execute(netns: string, cgroup: string, command: readonly string[]): Promise<number> {
  const [program, args] = inNetns(netnsPath(netns), cgroup, command);
  return new Promise((done, fail) => {
    const child = spawn(program, args, { stdio: 'inherit' });
    // Ctrl-C reaches the child by itself, as it is in our terminal's foreground; what is sent to us alone is passed on.
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    process.on('SIGINT', process.stdin.isTTY ? () => {} : forward);
    for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, forward);
    child.on('error', fail);
    child.on('exit', (code, signal) => done(code ?? 128 + (SIGNAL_NUMBERS[signal ?? ''] ?? 0)));
  });
}

const SIGNAL_NUMBERS: Readonly<Record<string, number>> = { SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGKILL: 9, SIGTERM: 15 };
