/**
 * How fast the engine turns a log into planned ops, against the simulated kernel, and what it remembers of it.
 *
 * - Baselines of the same run: reading the same lines as JSON, and bare XState transitions of an endpoint's life.
 * - The cost of an event on a full node over that on a small one: 1 when a step costs what it changes.
 * - Rounds are taken in turn, the best of each counts; times are of the processor, not of the wall.
 * - Memory is the heap that a full node holds on to: engine, machines, rows and the simulated kernel, for each pod.
 *
 * node simulations/bench/engine.ts [PODS]
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import type { LogEntry } from '../../cluster/events.ts';
import { FORMAT, type RecordingHeader, VERSION } from '../../cluster/recording-format.ts';
import type { RecordingItem } from '../../cluster/recording-reader.ts';
import { endpoint } from '../../machines/endpoint.ts';
import { initialTransition, transition } from '../../machines/transition.ts';
import { facts } from '../node/world.ts';
import { type Replayed, replay } from '../replay.ts';
import { churnLog } from './churn.ts';

const pods = Number(process.argv[2] ?? 1_000);
const rounds = 3;
const small = 110;
const full = 10 * small;
const labelSets = 500;
const mebibyte = 1 << 20;

const header: RecordingHeader = {
  format: FORMAT,
  version: VERSION,
  build: 'bench',
  node: facts.nodeName,
  config: facts,
  kernel: 'simulated',
  startedAt: 1,
  part: 1,
};

interface Timed<T> {
  ms: number;
  value: T;
}

async function timed<T>(work: () => T | Promise<T>): Promise<Timed<T>> {
  const before = process.cpuUsage();
  const value = await work();
  const { user, system } = process.cpuUsage(before);
  return { ms: (user + system) / 1000, value };
}

const parse = (line: string): LogEntry => JSON.parse(line) as LogEntry;

async function* itemsOf(lines: readonly string[]): AsyncGenerator<RecordingItem> {
  yield { kind: 'run', header, file: 'memory' };
  for (const text of lines) yield { kind: 'entry', entry: parse(text), file: 'memory', line: 1 };
}

async function run(lines: readonly string[]): Promise<Replayed> {
  const replayed = await replay(itemsOf(lines));
  const [divergence] = replayed.divergences;
  if (divergence) throw new Error(`#${divergence.seq}: ${divergence.message}`);
  return replayed;
}

/** An endpoint from CNI ADD to its end, by XState alone; returns how many transitions were made. */
function bareLives(count: number): number {
  const at = 1;
  const request = { containerId: 'c', ifname: 'eth0', requestId: 'r1' };
  const add = {
    type: 'cni.add',
    ...request,
    netns: '/n',
    podNamespace: 'a',
    podName: 'b',
    podUid: 'u',
    endpointId: 7,
    at,
  };
  const input = { key: 'endpoint/c/eth0', why: 'add', request: add, at };
  const object = (kind: string, name: string) => ({
    apiVersion: 'v1',
    kind,
    metadata: { name, namespace: 'a', uid: 'u' },
  });
  const labels = 'k8s:io.cilium.k8s.policy.cluster=default;k8s:io.kubernetes.pod.namespace=a;';
  const messages = [
    add,
    { type: 'agent.started', config: facts, at },
    { type: 'kube.upserted', resource: 'pods', object: object('Pod', 'b'), at },
    { type: 'kube.upserted', resource: 'namespaces', object: object('Namespace', 'a'), at },
    { type: 'fact', topic: 'node/local', from: 'node/local', value: { gateway4: '', gateway6: '', mtu: 1500 }, at },
    { type: 'fact', topic: `identity/${labels}`, from: 'identity', value: { identity: 300 }, at },
    { type: 'address.granted', ipv4: '10.0.0.2', ipv6: 'fd00::2', at },
    { type: 'settled', at },
    { type: 'settled', at },
    { type: 'cni.del', ...request, requestId: 'r2', at },
    { type: 'settled', at },
    { type: 'settled', at },
  ];
  for (let life = 0; life < count; life++) {
    let [snapshot] = initialTransition(endpoint.logic, input);
    for (const message of messages) [snapshot] = transition(endpoint.logic, snapshot, message);
  }
  return count * messages.length;
}

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function heapBytes(): number {
  collectGarbage();
  return process.memoryUsage().heapUsed;
}

/** Of each pod that is alive in the middle of the log. */
async function bytesOfPod(log: readonly string[]): Promise<number> {
  const before = heapBytes();
  const { engine } = await replay(itemsOf(log), { until: log.length >> 1 });
  const grown = heapBytes() - before;
  return grown / engine.machines().filter(({ kind }) => kind === 'endpoint').length;
}

const linesOf = (alive: number): string[] => churnLog({ pods, alive, labelSets }).map((entry) => JSON.stringify(entry));
const best = (samples: readonly number[]): number => Math.min(...samples);
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const rate = (count: number, ms: number): string => `${Math.round((count / ms) * 1000).toLocaleString('en')}/s`;

const lines = { small: linesOf(small), full: linesOf(full) };
const bareCount = Math.ceil(pods / 2);
const times = { small: [] as number[], full: [] as number[], json: [] as number[], bare: [] as number[] };
let last: Replayed | undefined;
let transitions = 0;
for (let round = 0; round < rounds; round++) {
  times.json.push((await timed(() => lines.small.forEach((line) => void parse(line)))).ms);
  const bare = await timed(() => bareLives(bareCount));
  times.bare.push(bare.ms / bare.value);
  const { ms, value } = await timed(() => run(lines.small));
  times.small.push(ms);
  transitions = value.engine.stats().transitions;
  last = value;
  times.full.push((await timed(() => run(lines.full))).ms);
}
if (!last) throw new Error('no round was run');

const ms = best(times.small);
const perEvent = { small: ms / lines.small.length, full: best(times.full) / lines.full.length };
print(
  `${pods} pods come and go, ${labelSets} label sets, ${small} alive at a time: ${lines.small.length} events, ${last.ops} ops`,
);
print(
  `events to planned ops   ${rate(lines.small.length, ms)}, ops ${rate(last.ops, ms)}, transitions ${rate(transitions, ms)}`,
);
print(
  `over JSON.parse of them ${(ms / best(times.json)).toFixed(1)} x the time (${rate(lines.small.length, best(times.json))})`,
);
print(
  `over bare transitions   ${(ms / transitions / best(times.bare)).toFixed(1)} x the time for each (${rate(1, best(times.bare))})`,
);
print(`an event with ${full} alive ${(perEvent.full / perEvent.small).toFixed(2)} x the time with ${small}`);
const { machines, rows } = last.engine.stats();
print(`left when all are gone  ${machines} machines, ${rows} rows`);
const perPod = await bytesOfPod(lines.full);
const rss = process.memoryUsage.rss() / mebibyte;
print(
  `memory                  ${Math.round(perPod / 1024)} KiB of heap a pod; RSS with all logs ${Math.round(rss)} MiB`,
);
