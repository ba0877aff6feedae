// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { createNetns, deleteNetns, ifIndexToName, ifNameToIndex, netnsCookie, netnsId, withNetns } from './index.ts';
import { prefix, run } from './testdata/setup.ts';

const name = `${prefix}-ns`;
const path = `/run/netns/${name}`;
const otherPath = `${path}-other`;
afterEach(() => {
  deleteNetns(path);
  deleteNetns(otherPath);
});

test('a created namespace is one of ip netns, and deleting removes it', () => {
  createNetns(path);
  expect(run('ip netns list')).toContain(name);
  expect(run(`ip netns exec ${name} ip -brief link`)).toContain('lo');
  expect(() => createNetns(path)).toThrow(/EEXIST/);
  expect(deleteNetns(path)).toBe(true);
  expect(deleteNetns(path)).toBe(false);
  expect(existsSync(path)).toBe(false);
});

test('ip netns deletes what we created, and we enter what ip netns created', () => {
  createNetns(path);
  run(`ip netns delete ${name}`);
  run(`ip netns add ${name}`);
  expect(withNetns(path, () => netnsId())).toEqual(netnsId(path));
});

test('withNetns returns home, also after a throw and when nested', () => {
  createNetns(path, { loopbackUp: true });
  createNetns(otherPath);
  const home = netnsId();
  expect(netnsId(path)).not.toEqual(home);
  const inside = withNetns(path, () => {
    const here = netnsId();
    expect(withNetns(otherPath, () => netnsId())).toEqual(netnsId(otherPath));
    expect(netnsId()).toEqual(here);
    return here;
  });
  expect(inside).toEqual(netnsId(path));
  expect(netnsId()).toEqual(home);
  expect(() =>
    withNetns(path, () => {
      throw new Error('inside');
    }),
  ).toThrow('inside');
  expect(netnsId()).toEqual(home);
  expect(() => withNetns('/run/netns/absent', () => 0)).toThrow(/ENOENT.*netns \/run\/netns\/absent/);
  expect(() => withNetns(import.meta.filename, () => 0)).toThrow(/setns: EINVAL/);
  expect(netnsId()).toEqual(home);
});

test('withNetns refuses promises, before running an async function', () => {
  createNetns(path);
  const home = netnsId();
  let ran = false;
  expect(() =>
    withNetns(path, async () => {
      ran = true;
    }),
  ).toThrow(TypeError);
  expect(ran).toBe(false);
  expect(() => withNetns(path, () => Promise.resolve(1))).toThrow(TypeError);
  expect(netnsId()).toEqual(home);
});

test("child processes started inside belong there, Node's thread pool does not", async () => {
  createNetns(path);
  const child = withNetns(path, () => execFileSync('readlink', ['/proc/self/ns/net'], { encoding: 'utf8' }).trim());
  expect(child).toBe(`net:[${netnsId(path).ino}]`);
  const threads = run(`find /proc/${process.pid}/task -maxdepth 3 -path *ns/net -printf %l\\n`).trim().split('\n');
  expect(threads.length).toBeGreaterThan(4);
  expect(new Set(threads).size).toBe(1);
});

test('names, numbers and cookies of a namespace', () => {
  createNetns(path, { loopbackUp: true });
  expect(ifNameToIndex('lo', path)).toBe(1);
  expect(ifIndexToName(1, path)).toBe('lo');
  expect(() => ifNameToIndex('absent', path)).toThrow(/ENODEV/);
  expect(() => ifIndexToName(77, path)).toThrow(/ENXIO/);
  expect(netnsCookie(path)).not.toBe(netnsCookie());
  expect(run('ip -brief link show lo', path)).toContain('UP');
});
