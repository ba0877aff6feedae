// SPDX-License-Identifier: Apache-2.0
/** What the addon's tests share: the build, and names of their own that are cleaned up. */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createNetns, deleteNetns, mountBpffs } from '../index.ts';

const folder = join(import.meta.dirname, '..');
// Test files run side by side; the lock lets one of them build.
execFileSync('flock', ['/run/axt-native-build.lock', 'make', '-s', '-C', folder, 'all', 'testdata']);
mountBpffs();

export const probeObject = join(folder, 'build/testdata/probe.o');
export const refusedObject = join(folder, 'build/testdata/refused.o');

/** Unique to the test process, and short enough for link names. */
export const prefix = `axt-${process.pid}`;
export const pinRoot = `/sys/fs/bpf/${prefix}`;

/** Runs a command, inside a namespace when one is named. */
export function run(command: string, netns?: string): string {
  const [file = '', ...rest] = `${netns === undefined ? '' : `nsenter --net=${netns} `}${command}`.split(' ');
  return execFileSync(file, rest, { encoding: 'utf8' });
}

/** Two namespaces joined by a veth pair `one`–`two`, addresses 192.0.2.1 and .2, fixed neighbours. */
export function createPair(name: string): { readonly one: string; readonly two: string; readonly remove: () => void } {
  const one = `/run/netns/${prefix}-${name}-1`;
  const two = `/run/netns/${prefix}-${name}-2`;
  const remove = () => {
    deleteNetns(one);
    deleteNetns(two);
  };
  try {
    for (const path of [one, two]) createNetns(path, { loopbackUp: true });
    run(`ip link add one address 02:00:00:00:00:01 type veth peer name two address 02:00:00:00:00:02 netns ${prefix}-${name}-2`, one);
    run('ip address add 192.0.2.1/24 dev one', one);
    run('ip address add 192.0.2.2/24 dev two', two);
    run('ip link set one up', one);
    run('ip link set two up', two);
    run('ip neighbour add 192.0.2.2 lladdr 02:00:00:00:00:02 dev one nud permanent', one);
    run('ip neighbour add 192.0.2.1 lladdr 02:00:00:00:00:01 dev two nud permanent', two);
  } catch (error) {
    remove();
    throw error;
  }
  return { one, two, remove };
}

export function removePins(): void {
  rmSync(pinRoot, { recursive: true, force: true });
}

/** Waits until a condition holds, at most a few seconds. */
export async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 5000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('condition did not come true within 5 s');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** The sum over all CPUs of one 64-bit counter. */
export function sumCounters(value: Buffer | undefined): number {
  let sum = 0n;
  for (let at = 0; value !== undefined && at < value.length; at += 8) sum += value.readBigUInt64LE(at);
  return Number(sum);
}
