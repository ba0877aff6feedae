/** A real embedded cluster for a story: brought up by the command that users type, and gone without a trace at the end. */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CoreV1Api, KubeConfig } from '@kubernetes/client-node';
import { cgroup2Mount } from '../../datapath/cgroup2.ts';

export const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const READY_TIMEOUT_MS = 90_000;
const STOP_TIMEOUT_MS = 60_000;
const POLL_MS = 50;

interface ReadyFile {
  kubeconfig: string;
  debugSocket: string;
  web: string;
  nodes: { name: string; netns: string; debugSocket?: string }[];
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until `probe` answers with something; throws with `what` when it takes too long. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  probe: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await sleep(POLL_MS);
  }
}

export class EmbeddedCluster {
  readonly name: string;
  readonly dir: string;
  readonly ready: ReadyFile;
  readonly core: CoreV1Api;
  readonly #process: ChildProcess;
  readonly #output: string[];

  private constructor(name: string, dir: string, ready: ReadyFile, process: ChildProcess, output: string[]) {
    this.name = name;
    this.dir = dir;
    this.ready = ready;
    this.#process = process;
    this.#output = output;
    const config = new KubeConfig();
    config.loadFromFile(ready.kubeconfig);
    this.core = config.makeApiClient(CoreV1Api);
  }

  /** `manifests` is YAML; `name` must be unique on the machine. */
  static async up(
    name: string,
    manifests: string,
    flags: string[] = [],
    readyTimeoutMs = READY_TIMEOUT_MS,
  ): Promise<EmbeddedCluster> {
    const dir = mkdtempSync(join(tmpdir(), `${name}-`));
    writeFileSync(join(dir, 'manifests.yaml'), manifests);
    const readyFile = join(dir, 'ready.json');
    const kubeconfig = join(dir, 'kubeconfig');
    const args = [
      'up',
      '--name',
      name,
      '--manifests',
      dir,
      '--ready-file',
      readyFile,
      '--kubeconfig',
      kubeconfig,
      ...flags,
    ];
    // Ends in good order even when this process is killed.
    const child = spawn('setpriv', ['--pdeathsig', 'TERM', AXONEME, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const output: string[] = [];
    for (const stream of [child.stdout, child.stderr])
      stream?.on('data', (chunk: Buffer) => output.push(chunk.toString()));
    try {
      const ready = await until(`${name} ready`, readyTimeoutMs, () => {
        if (child.exitCode !== null) throw new Error(`axoneme up exited with ${child.exitCode}`);
        return existsSync(readyFile) ? (JSON.parse(readFileSync(readyFile, 'utf8')) as ReadyFile) : undefined;
      });
      return new EmbeddedCluster(name, dir, ready, child, output);
    } catch (error) {
      child.kill('SIGTERM');
      await exited(child);
      rmSync(dir, { recursive: true, force: true });
      throw new Error(`${error instanceof Error ? error.message : error}\n${output.join('').slice(-4000)}`);
    }
  }

  get output(): string {
    return this.#output.join('');
  }

  /** Runs a command in a pod through `axoneme exec`. */
  exec(pod: string, command: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return run(AXONEME, ['exec', '--name', this.name, pod, '--', ...command]);
  }

  /** Runs a command on a node, as a host process. */
  onNode(node: string, command: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return run(AXONEME, ['exec', '--name', this.name, '--node', node, '--', ...command]);
  }

  kubectl(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return run('kubectl', ['--kubeconfig', this.ready.kubeconfig, '--cache-dir', join(this.dir, 'kube'), ...args]);
  }

  /** GET on the debug socket of a node, the first one by default. */
  debug<T>(path: string, node = this.ready.nodes[0]?.name): Promise<T> {
    const socketPath = this.ready.nodes.find(({ name }) => name === node)?.debugSocket ?? this.ready.debugSocket;
    return new Promise((resolve, reject) => {
      const call = request({ socketPath, path, timeout: 5_000 }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200) resolve(JSON.parse(text) as T);
          else reject(new Error(`${path}: ${response.statusCode} ${text}`));
        });
      });
      call.on('error', reject);
      call.on('timeout', () => call.destroy(new Error(`${path}: timed out`)));
      call.end();
    });
  }

  /** Process ids of this cluster's agents, or of one node's. */
  agentPids(node?: string): number[] {
    const place = node === undefined ? `/${this.name}/` : `/${this.name}/nodes/${node}/`;
    return readdirSync('/proc')
      .filter((entry) => /^\d+$/.test(entry))
      .map(Number)
      .filter((pid) => {
        const words = commandLine(pid);
        return (
          words.some((word) => word.endsWith('main.ts')) &&
          words.includes('agent') &&
          words.some((word) => word.includes(place))
        );
      });
  }

  /** Stops it as Ctrl-C does; resolves with its exit code. */
  async down(): Promise<number> {
    this.#process.kill('SIGTERM');
    const code = await exited(this.#process);
    rmSync(this.dir, { recursive: true, force: true });
    return code;
  }
}

function commandLine(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

async function exited(child: ChildProcess): Promise<number> {
  if (child.exitCode === null && child.signalCode === null) {
    const killer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
    await new Promise((resolve) => child.once('exit', resolve));
    clearTimeout(killer);
  }
  return child.exitCode ?? 128;
}

export function run(command: string, args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code: code ?? 128, stdout, stderr }));
  });
}

/** Whatever of a cluster of this name is left on the machine. */
export async function leftovers(name: string): Promise<string[]> {
  const { stdout } = await run('ip', ['netns', 'list']);
  const netns = stdout.split('\n').filter((line) => line.includes(`axo-${name}.`));
  const places = [`/sys/fs/bpf/axoneme/${name}`, `/run/axoneme/${name}`, `${cgroup2Mount()}/axoneme/${name}`].filter(
    (path) => existsSync(path),
  );
  const links = (await run('ip', ['-o', 'link'])).stdout.split('\n').filter((line) => line.includes(name));
  const processes = readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => commandLine(Number(pid)).some((word) => word.includes(`/run/axoneme/${name}/`)));
  return [...netns, ...places, ...links, ...processes.map((pid) => `process ${pid}`)];
}

/** Manifest of a pod whose container is played by the built-in server. */
export function serverPod(namespace: string, name: string, port = 8080): string {
  return `apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${name}, labels: {app: ${name}}}
spec:
  containers:
  - name: server
    image: built-in
    ports: [{containerPort: ${port}, protocol: TCP}, {containerPort: ${port}, protocol: UDP}]
---
`;
}

export function commandPod(namespace: string, name: string, command: string[]): string {
  return `apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${name}, labels: {app: ${name}}}
spec:
  containers:
  - {name: command, image: built-in, command: ${JSON.stringify(command)}}
---
`;
}

export const namespaceOf = (name: string): string => `apiVersion: v1
kind: Namespace
metadata: {name: ${name}}
---
`;

export interface Tally {
  asked: number;
  failed: number;
  failures: string[];
  slowestMs: number;
}

/** Requests from inside a pod, over new and kept connections, until stopped. */
export class Traffic {
  readonly #child: ChildProcess;
  #last: Tally = { asked: 0, failed: 0, failures: [], slowestMs: 0 };

  constructor(cluster: EmbeddedCluster, pod: string, urls: string[]) {
    const client = new URL('client.mjs', import.meta.url).pathname;
    const args = ['exec', '--name', cluster.name, pod, '--', process.execPath, client, '200', ...urls];
    this.#child = spawn(AXONEME, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let pending = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (pending + chunk.toString()).split('\n');
      pending = lines.pop() ?? '';
      const line = lines.at(-1);
      if (line) this.#last = JSON.parse(line) as Tally;
    });
  }

  get tally(): Tally {
    return this.#last;
  }

  async stop(): Promise<Tally> {
    await sleep(400);
    this.#child.stdin?.end();
    await exited(this.#child);
    return this.#last;
  }
}
