/**
 * Removes every trace of a cluster by its name: processes, cgroups, namespaces and what is in them, pins, state.
 *
 * - Works on the remains of a cluster that was killed just as after an orderly end; what is absent is fine.
 * - Touches nothing that does not bear the cluster's name.
 */
import { readdirSync, readlinkSync, rmdirSync, rmSync, statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { deleteNetns } from '../../native/index.ts';
import { removeCgroups } from './cgroups.ts';
import { NETNS_ROOT, netnsPath, netnsPrefix, PIN_ROOT, pinDirOf, RUN_ROOT, stateDirOf } from './names.ts';

export async function sweep(cluster: string): Promise<void> {
  const namespaces = list(NETNS_ROOT).filter((name) => name.startsWith(netnsPrefix(cluster)));
  await killInside(namespaces);
  await removeCgroups(cluster);
  for (const name of namespaces) deleteNetns(netnsPath(name));
  rmSync(pinDirOf(cluster), { recursive: true, force: true });
  rmSync(stateDirOf(cluster), { recursive: true, force: true });
  for (const shared of [PIN_ROOT, RUN_ROOT]) removeIfEmpty(shared);
}

/** Killed processes need a moment to be gone, and until then they hold their namespace. */
const GONE_WITHIN_MS = 3_000;

async function killInside(namespaces: readonly string[]): Promise<void> {
  const inodes = new Set(namespaces.map((name) => quiet(() => statSync(netnsPath(name)).ino)));
  const deadline = Date.now() + GONE_WITHIN_MS;
  for (;;) {
    const pids = processesIn(inodes);
    if (pids.length === 0 || Date.now() > deadline) return;
    for (const pid of pids) quiet(() => process.kill(pid, 'SIGKILL'));
    await sleep(10);
  }
}

/** Zombies have no namespace left, so they are not seen. */
function processesIn(inodes: ReadonlySet<number | undefined>): number[] {
  if (inodes.size === 0) return [];
  return list('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      const inode = /\[(\d+)\]/.exec(quiet(() => readlinkSync(`/proc/${pid}/ns/net`)) ?? '')?.[1];
      return inode !== undefined && inodes.has(Number(inode));
    })
    .map(Number);
}

function removeIfEmpty(directory: string): void {
  quiet(() => rmdirSync(directory));
}

function list(directory: string): string[] {
  return quiet(() => readdirSync(directory)) ?? [];
}

/** What vanishes while we look at it is gone already. */
function quiet<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
