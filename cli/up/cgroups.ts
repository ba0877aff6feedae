/**
 * A cgroup for each node of an embedded cluster: where its agent, its containers and commands in its pods live, so that services are
 * translated for its sockets and for no others.
 *
 * - `<cgroup2>/axoneme/<cluster>/<node>`; nothing is ever put into the root cgroup or attached to it.
 * - Where cgroup v2 is not mounted there are none: paths are then empty, and nodes do without socket-level services.
 */
import { mkdirSync, readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { cgroup2Mount } from '../../datapath/cgroup2.ts';

const AXONEME = 'axoneme';
/** Killed processes need a moment to be gone, and until then they hold their cgroup. */
const GONE_WITHIN_MS = 3_000;

export function clusterCgroup(cluster: string, mount = cgroup2Mount()): string {
  return mount === undefined ? '' : join(mount, AXONEME, cluster);
}

export function nodeCgroup(cluster: string, node: string): string {
  const folder = clusterCgroup(cluster);
  return folder && join(folder, node);
}

export function createNodeCgroup(cluster: string, node: string): string {
  const path = nodeCgroup(cluster, node);
  if (path) mkdirSync(path, { recursive: true });
  return path;
}

/** Kills what is left in a cluster's cgroups and removes them; what is absent is fine. */
export async function removeCgroups(cluster: string): Promise<void> {
  const path = clusterCgroup(cluster);
  if (!path) return;
  const deadline = Date.now() + GONE_WITHIN_MS;
  while (!isRemoved(path) && Date.now() < deadline) {
    for (const folder of foldersOf(path)) killIn(folder);
    await sleep(10);
  }
  quiet(() => rmdirSync(join(path, '..')));
}

/** Deepest first. */
function foldersOf(path: string): string[] {
  const inner = quiet(() => readdirSync(path, { withFileTypes: true })) ?? [];
  return [...inner.filter((entry) => entry.isDirectory()).flatMap(({ name }) => foldersOf(join(path, name))), path];
}

function isRemoved(path: string): boolean {
  for (const folder of foldersOf(path)) {
    try {
      rmdirSync(folder);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false;
    }
  }
  return true;
}

function killIn(folder: string): void {
  const pids = (quiet(() => readFileSync(join(folder, 'cgroup.procs'), 'utf8')) ?? '').split('\n').filter(Boolean);
  for (const pid of pids) quiet(() => process.kill(Number(pid), 'SIGKILL'));
}

/** What vanishes while we look at it is gone already. */
function quiet<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
