/**
 * Services while everything around them changes, under a steady load of new connections from a pod, a host process and outside the
 * node: backends that are all replaced, agents that are killed, and a service that goes while its connections live.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeCgroup } from '../../cli/up/cgroups.ts';
import { inNetns } from '../../cli/up/command.ts';
import { fabricNetns, netnsPath, nodeNetns, OUTSIDE } from '../../cli/up/names.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, sleep, until } from './embedded.ts';

const name = `axt-${process.pid}-life`;
const LOAD = new URL('load.mjs', import.meta.url).pathname;
const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const BACKENDS = 3;
const KILLS = 4;
/** Requests a second of all clients together, and what must come about of them. */
const RATE = 1_200;
const RATE_MIN = 1_000;
const NODE_PORT = 30_301;
const GRACE_SECONDS = 3;

/** Servers and clients that cost little: what they take, the node under test does not have. */
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const compiled = (program: string): string => {
  const path = join(folder, program);
  execFileSync('cc', ['-O2', '-Wall', '-Werror', '-o', path, new URL(`${program}.c`, import.meta.url).pathname]);
  return path;
};
const SERVER = compiled('http-serve');
const CLIENT = compiled('http-ask');

/** Still serves for a while when it is told to end, as deployments do: how fast everybody hears of it depends on the machine. */
const backend = (n: number): string =>
  commandPod('demo', `web-${n}`, [SERVER, '8080', `web-${n}`])
    .replace(`{app: web-${n}}`, '{role: web}')
    .replace('name: command,', `name: command, lifecycle: {preStop: {sleep: {seconds: ${GRACE_SECONDS}}}},`);
const service = (own: string, nodePort: number): string => `apiVersion: v1
kind: Service
metadata: {name: ${own}, namespace: demo}
spec:
  type: NodePort
  selector: {role: web}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: ${nodePort}}]
---
`;
const numbers = Array.from({ length: BACKENDS }, (_, n) => n);

interface Tally {
  asked: number;
  failed: number;
  failures: string[];
  slowestMs: number;
  answers: Record<string, number>;
}
type Place = 'pod' | 'host' | 'outside';

class Load {
  readonly #child: ChildProcess;
  tally: Tally = { asked: 0, failed: 0, failures: [], slowestMs: 0, answers: {} };

  constructor(place: Place, mode: 'new' | 'kept', rate: number, urls: readonly string[]) {
    const own = place === 'outside' ? [OUTSIDE.ipv4, OUTSIDE.ipv6] : ['-', '-'];
    const client = mode === 'new' ? [CLIENT] : [process.execPath, LOAD, mode];
    const command = [...client, String(rate), ...own, ...urls];
    this.#child = spawn(...placed(place, command), { stdio: ['pipe', 'pipe', 'inherit'] });
    let rest = '';
    this.#child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      const line = lines.at(-1);
      if (line) this.tally = JSON.parse(line) as Tally;
    });
  }

  async stop(): Promise<Tally> {
    await sleep(400);
    this.#child.stdin?.end();
    if (this.#child.exitCode === null) await once(this.#child, 'exit');
    return this.tally;
  }
}

function placed(place: Place, command: string[]): [string, string[]] {
  if (place === 'pod') return [AXONEME, ['exec', '--name', name, 'demo/client', '--', ...command]];
  if (place === 'outside') return ['nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]];
  return inNetns(netnsPath(nodeNetns(name, 'node-1')), nodeCgroup(name, 'node-1'), command);
}

let cluster: EmbeddedCluster;
let node: string[];

beforeAll(async () => {
  const client = commandPod('demo', 'client', ['sleep', 'infinity']);
  const manifests = [
    namespaceOf('demo'),
    ...numbers.map(backend),
    client,
    service('web', NODE_PORT),
    service('brief', NODE_PORT + 1),
  ];
  cluster = await EmbeddedCluster.up(name, manifests.join(''));
  const { stdout } = await cluster.kubectl('get', 'node', 'node-1', '-o', 'json');
  const { addresses } = (JSON.parse(stdout) as { status: { addresses: { type: string; address: string }[] } }).status;
  node = addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const url = (address: string, port: number): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;

/** Of a service, as each place reaches it. */
async function urlsOf(own: string, nodePort: number): Promise<Record<Place, string[]>> {
  const { stdout } = await cluster.kubectl('get', 'service', '-n', 'demo', own, '-o', 'json');
  const { clusterIPs } = (JSON.parse(stdout) as { spec: { clusterIPs: string[] } }).spec;
  const inside = clusterIPs.map((ip) => url(ip, 80));
  return { pod: inside, host: inside, outside: node.map((ip) => url(ip, nodePort)) };
}

/** Runs the story under load from everywhere. */
async function underLoad(story: () => Promise<void>): Promise<{ tallies: Tally[]; rate: number }> {
  const urls = await urlsOf('web', NODE_PORT);
  await until('the service answers', 20_000, async () => {
    const { code } = await cluster.exec('demo/client', ['curl', '-sSf', '-m', '2', ...urls.pod, ...urls.outside]);
    return code === 0 || undefined;
  });
  const places = Object.keys(urls) as Place[];
  const loads = places.map((place) => new Load(place, 'new', RATE / places.length, urls[place]));
  try {
    await until('load', 20_000, () => loads.every(({ tally }) => tally.asked > 100) || undefined);
    const before = loads.reduce((sum, { tally }) => sum + tally.asked, 0);
    const began = Date.now();
    await story();
    const asked = loads.reduce((sum, { tally }) => sum + tally.asked, 0) - before;
    const rate = (asked * 1_000) / (Date.now() - began);
    return { rate, tallies: await Promise.all(loads.map((load) => load.stop())) };
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
}

function expectUnharmed({ tallies, rate }: { tallies: Tally[]; rate: number }, what: string): void {
  const slowest = Math.max(...tallies.map(({ slowestMs }) => slowestMs));
  console.log(`${what} under ${Math.round(rate)} new connections/s, slowest ${slowest} ms`);
  expect(tallies.flatMap(({ failures }) => failures)).toEqual([]);
  expect(tallies.map(({ failed }) => failed)).toEqual([0, 0, 0]);
  expect(rate).toBeGreaterThan(RATE_MIN);
}

describe('under load', () => {
  it('all backends are replaced, and no request fails', async () => {
    const ran = await underLoad(async () => {
      for (const n of numbers) {
        const next = join(cluster.dir, `next-${n}.yaml`);
        writeFileSync(next, backend(n + BACKENDS));
        expect((await cluster.kubectl('apply', '-f', next)).stderr).toBe('');
        const ready = ['wait', '-n', 'demo', '--for=condition=Ready', `pod/web-${n + BACKENDS}`, '--timeout=60s'];
        expect((await cluster.kubectl(...ready)).stderr).toBe('');
        expect((await cluster.kubectl('delete', 'pod', '-n', 'demo', `web-${n}`, '--wait=false')).code).toBe(0);
      }
      const gone = numbers.map((n) => `pod/web-${n}`);
      expect((await cluster.kubectl('wait', '-n', 'demo', '--for=delete', ...gone, '--timeout=60s')).code).toBe(0);
    });
    expectUnharmed(ran, `${BACKENDS} backends replaced`);
    const answered = ran.tallies.flatMap(({ answers }) => Object.keys(answers));
    expect(new Set(answered)).toEqual(
      new Set([...numbers, ...numbers.map((n) => n + BACKENDS)].map((n) => `web-${n}`)),
    );
  }, 240_000);

  it(`the agent is killed ${KILLS} times and starts again, and no request fails`, async () => {
    const ran = await underLoad(async () => {
      for (let kill = 0; kill < KILLS; kill++) {
        const pids = await until('an agent', 20_000, () => {
          const found = cluster.agentPids();
          return found.length > 0 ? found : undefined;
        });
        for (const pid of pids) process.kill(pid, 'SIGKILL');
        // The last one gets through its whole start; the others are caught somewhere in it.
        await sleep(kill === KILLS - 1 ? 4_000 : 400 + 600 * kill);
      }
    });
    expectUnharmed(ran, `agent killed ${KILLS} times`);
  }, 120_000);
});

describe('a service that is deleted', () => {
  it('leaves its connections alone, and takes no new ones', async () => {
    const urls = await urlsOf('brief', NODE_PORT + 1);
    const places = Object.keys(urls) as Place[];
    const loads = places.map((place) => new Load(place, 'kept', 20, urls[place]));
    try {
      await until('connections', 20_000, () => loads.every(({ tally }) => tally.asked > 20) || undefined);
      expect((await cluster.kubectl('delete', 'service', '-n', 'demo', 'brief')).code).toBe(0);
      await until('new connections fail', 10_000, async () => {
        const { code } = await cluster.exec('demo/client', ['curl', '-sS', '-m', '1', urls.outside[0] ?? '']);
        return code !== 0 || undefined;
      });
      const before = loads.map(({ tally }) => tally.asked);
      await sleep(3_000);
      expect(loads.map(({ tally }) => tally.failures)).toEqual([[], [], []]);
      for (const [i, { tally }] of loads.entries())
        expect(tally.asked, places[i]).toBeGreaterThan((before[i] ?? 0) + 20);
    } finally {
      await Promise.all(loads.map((load) => load.stop()));
    }
  }, 60_000);
});
