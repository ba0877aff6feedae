// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import {
  bootClock,
  createMap,
  monotonicNs,
  mountBpffs,
  openObject,
  openProgramById,
  setRlimitMemlock,
} from './index.ts';
import { probeObject, u32, until } from './testdata/setup.ts';

const capSysResource = 24n;
function hasCapability(bit: bigint): boolean {
  const effective = /CapEff:\s*([0-9a-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  return ((BigInt(`0x${effective}`) >> bit) & 1n) === 1n;
}

const openFds = () => readdirSync('/proc/self/fd').length;

function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  runInNewContext('gc')();
}

test('a million map operations leave memory and descriptors as they were', () => {
  const map = createMap({ type: 'hash', name: 'axt', keySize: 4, valueSize: 64, maxEntries: 4096 });
  const operate = (count: number) => {
    const key = Buffer.alloc(4);
    const value = Buffer.alloc(64);
    for (let i = 0; i < count; i++) {
      key.writeUInt32LE(i & 2047);
      if (i % 4 === 0) map.put(key, value);
      else if (i % 4 === 3) map.delete(key);
      else map.get(key);
    }
    for (let i = 0; i < count / 10_000; i++) map.entries();
  };
  operate(100_000);
  collectGarbage();
  const [rss, fds] = [process.memoryUsage().rss, openFds()];
  operate(1_000_000);
  collectGarbage();
  expect(process.memoryUsage().rss - rss).toBeLessThan(24 << 20);
  expect(openFds()).toBe(fds);
  map.close();
}, 30_000);

test('objects opened and closed many times leave no descriptor', () => {
  const load = () => {
    const object = openObject(probeObject, { programs: ['count_one'] });
    object.load();
    object.map('endpoints').put(Buffer.alloc(16), Buffer.alloc(24));
    object.program('count_one').testRun({ data: Buffer.alloc(64) });
    object.close();
  };
  load();
  const fds = openFds();
  for (let i = 0; i < 20; i++) load();
  expect(openFds()).toBe(fds);
});

test('abandoned handles are closed by the garbage collector', async () => {
  const fds = openFds();
  for (let i = 0; i < 50; i++) createMap({ type: 'array', name: 'axt', keySize: 4, valueSize: 4, maxEntries: 1 });
  expect(openFds()).toBe(fds + 50);
  await until(() => {
    collectGarbage();
    return openFds() === fds;
  });
});

test('a handle is closed once and says so afterwards', () => {
  const map = createMap({ type: 'array', name: 'axt', keySize: 4, valueSize: 4, maxEntries: 1 });
  map.close();
  map.close();
  expect(map.closed).toBe(true);
  expect(() => map.get(u32(0))).toThrow(/EBADF.*map axt/);
  expect(() => openProgramById(0xffff_ffff)).toThrow(/ENOENT.*program id/);
});

test('a worker thread that ends with an open ring and socket leaves cleanly', async () => {
  const worker = new Worker(new URL('./testdata/open-watches.ts', import.meta.url), { workerData: probeObject });
  const [exit] = await once(worker, 'exit');
  expect(exit).toBe(7);
});

test('clocks run, limits lift, bpffs is mounted', () => {
  const [boot, monotonic] = [bootClock(), monotonicNs()];
  expect(boot).toBeGreaterThan(0n);
  expect(bootClock()).toBeGreaterThanOrEqual(boot);
  expect(monotonicNs() - monotonic).toBeLessThan(1_000_000_000n);
  expect(mountBpffs()).toBe(false);
  if (hasCapability(capSysResource)) setRlimitMemlock();
  else expect(setRlimitMemlock).toThrow(/setrlimit\(RLIMIT_MEMLOCK\): EPERM/);
});
