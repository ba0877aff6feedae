/**
 * Which embedded clusters run on this machine.
 *
 * - A running cluster holds an abstract unix socket of its name: the kernel frees it with the process, however that ends.
 * - `cluster.json` in its state directory tells other verbs where things are; only a held name makes it true.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import { RUN_ROOT, SLOTS, stateDirOf } from './names.ts';

export interface ClusterNode {
  name: string;
  /** Name under /run/netns. */
  netns: string;
  debugSocket: string;
}
export interface ClusterRecord {
  name: string;
  pid: number;
  slot: number;
  kubeconfig: string;
  nodes: ClusterNode[];
}

const nameSocket = (name: string): string => `\0axoneme/cluster/${name}`;
const slotSocket = (slot: number): string => `\0axoneme/slot/${slot}`;

/** undefined: somebody else holds it. */
function hold(address: string): Promise<Server | undefined> {
  return new Promise((done, fail) => {
    const server = createServer((socket) => socket.destroy());
    server.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') done(undefined);
      else fail(error);
    });
    server.listen(address, () => done(server.unref()));
  });
}

export interface Claim {
  slot: number;
  release(): void;
}

/** Throws when a cluster of this name runs. */
export async function claim(name: string): Promise<Claim> {
  const held = await hold(nameSocket(name));
  if (!held) {
    const pid = recordOf(name)?.pid;
    throw new Error(
      `a cluster named ${name} is already running${pid ? ` (pid ${pid})` : ''}; end it, or give this one another name with --name`,
    );
  }
  for (let slot = 0; slot < SLOTS; slot++) {
    const own = await hold(slotSocket(slot));
    if (!own) continue;
    return {
      slot,
      release() {
        own.close();
        held.close();
      },
    };
  }
  held.close();
  throw new Error(`${SLOTS} embedded clusters are already running on this machine, which is the most there can be`);
}

export function isRunning(name: string): Promise<boolean> {
  return new Promise((done) => {
    const probe = connect(nameSocket(name), () => {
      probe.destroy();
      done(true);
    });
    probe.on('error', () => done(false));
  });
}

export function recordOf(name: string): ClusterRecord | undefined {
  try {
    return JSON.parse(readFileSync(join(stateDirOf(name), 'cluster.json'), 'utf8')) as ClusterRecord;
  } catch {
    return undefined;
  }
}

export function writeRecord(record: ClusterRecord): void {
  writeAtomically(join(stateDirOf(record.name), 'cluster.json'), JSON.stringify(record, null, 2));
}

/** A reader sees all of the file or none of it. */
export function writeAtomically(path: string, text: string): void {
  writeFileSync(`${path}.new`, text, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}

export function makeStateDir(name: string): string {
  const directory = stateDirOf(name);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  return directory;
}

export async function runningClusters(): Promise<ClusterRecord[]> {
  let names: string[];
  try {
    names = readdirSync(RUN_ROOT);
  } catch {
    return [];
  }
  const records = await Promise.all(names.map(async (name) => ((await isRunning(name)) ? recordOf(name) : undefined)));
  return records.filter((record) => record !== undefined);
}

/** The named cluster, or the only one that runs; throws with what there is. */
export async function findCluster(name?: string): Promise<ClusterRecord> {
  const running = await runningClusters();
  const names = running.map((record) => record.name).join(', ') || 'none';
  if (name !== undefined) {
    const found = running.find((record) => record.name === name);
    if (!found) throw new Error(`no cluster named ${name} is running; running: ${names}`);
    return found;
  }
  const [only, ...others] = running;
  if (!only) throw new Error('no embedded cluster is running; start one with: cli/axoneme up');
  if (others.length > 0) throw new Error(`several clusters are running (${names}); choose one with --name`);
  return only;
}
