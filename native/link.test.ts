// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  attachCgroup,
  attachRawTracepoint,
  attachTc,
  attachTcx,
  attachTracepoint,
  attachXdp,
  type BpfObject,
  detachTc,
  ifNameToIndex,
  openObject,
  openPinnedLink,
  queryTc,
  queryTcx,
  supportsTcx,
  withNetns,
} from './index.ts';
import { createPair, pinRoot, prefix, probeObject, removePins, run, sumCounters, u32 } from './testdata/setup.ts';

let object: BpfObject;
let pair: ReturnType<typeof createPair>;
beforeAll(() => {
  pair = createPair('link');
  object = openObject(probeObject);
  object.load();
});
afterAll(() => {
  object?.close();
  pair?.remove();
});
afterEach(removePins);

const counted = (slot: number) => sumCounters(object.map('counters').get(u32(slot)));

/** Three datagrams from `one` to `two`; nobody needs to answer. */
function sendThree(): void {
  const script =
    "import('node:dgram').then(({ createSocket }) => { const s = createSocket('udp4'); let n = 3; for (let i = 0; i < 3; i++) s.send('x', 9, '192.0.2.2', () => --n || s.close()); })";
  withNetns(pair.one, () => execFileSync(process.execPath, ['-e', script]));
}

test.runIf(supportsTcx())('tcx counts packets, is replaced atomically, and survives its handle through a pin', () => {
  const place = { link: 'two', direction: 'ingress', netns: pair.two } as const;
  const link = attachTcx({ ...place, program: object.program('count_one') });
  const before = counted(0);
  sendThree();
  expect(counted(0) - before).toBeGreaterThanOrEqual(3);
  const ifindex = ifNameToIndex('two', pair.two);
  expect(link.info).toEqual({
    id: link.info.id,
    type: 'tcx',
    progId: object.program('count_one').info.id,
    ifindex,
    attachType: 46,
  });

  link.update(object.program('count_two'));
  const [first, second] = [counted(0), counted(1)];
  sendThree();
  expect(counted(0)).toBe(first);
  expect(counted(1) - second).toBeGreaterThanOrEqual(3);
  expect(queryTcx(place)).toEqual([{ progId: object.program('count_two').info.id, linkId: link.info.id }]);

  link.pin(`${pinRoot}/links/two`);
  link.close();
  const again = openPinnedLink(`${pinRoot}/links/two`);
  expect(queryTcx({ ifindex, direction: 'ingress', netns: pair.two })).toHaveLength(1);
  again.detach();
  expect(queryTcx(place)).toEqual([]);
  again.close();
});

test.runIf(supportsTcx())('several tcx programs run in order, and closing an unpinned link detaches it', () => {
  const place = { link: 'two', direction: 'egress', netns: pair.two } as const;
  const links = ['count_one', 'count_two'].map((name) => attachTcx({ ...place, program: object.program(name) }));
  expect(queryTcx(place).map((entry) => entry.progId)).toEqual(
    ['count_one', 'count_two'].map((name) => object.program(name).info.id),
  );
  for (const link of links) link.close();
  expect(queryTcx(place)).toEqual([]);
});

test('clsact: attach, replace, query, detach', () => {
  const place = { link: 'two', direction: 'ingress', netns: pair.two } as const;
  expect(queryTc(place)).toBeUndefined();
  expect(detachTc(place)).toBe(false);
  attachTc({ ...place, program: object.program('count_one') });
  expect(queryTc(place)).toBe(object.program('count_one').info.id);
  const before = counted(0);
  sendThree();
  expect(counted(0) - before).toBeGreaterThanOrEqual(3);
  attachTc({ ...place, program: object.program('count_two') });
  expect(queryTc(place)).toBe(object.program('count_two').info.id);
  expect(queryTc({ ...place, direction: 'egress' })).toBeUndefined();
  expect(detachTc(place)).toBe(true);
  expect(queryTc(place)).toBeUndefined();
});

test.each(['generic', 'native'] as const)('xdp in %s mode', (mode) => {
  const link = attachXdp({ link: 'two', netns: pair.two, program: object.program('count_xdp'), mode });
  const before = counted(2);
  sendThree();
  expect(counted(2) - before).toBeGreaterThanOrEqual(3);
  expect(link.info).toMatchObject({ type: 'xdp', ifindex: ifNameToIndex('two', pair.two) });
  link.detach();
  expect(link.info.ifindex).toBe(0);
  link.close();
});

test('a cgroup program refuses connects of the processes in it', () => {
  const mounts = run('cat /proc/mounts')
    .split('\n')
    .map((line) => line.split(' '));
  const root = mounts.find((mount) => mount[2] === 'cgroup2')?.[1];
  if (root === undefined) throw new Error('no cgroup2 mounted');
  const cgroupPath = `${root}/${prefix}-link`;
  mkdirSync(cgroupPath);
  try {
    const link = attachCgroup({ program: object.program('refuse_connect'), type: 'cgroup/connect4', cgroupPath });
    expect(link.info).toMatchObject({
      type: 'cgroup',
      attachType: 10,
      progId: object.program('refuse_connect').info.id,
    });
    link.close();
  } finally {
    rmdirSync(cgroupPath);
  }
});

test('a raw tracepoint program sees system calls', () => {
  const before = counted(3);
  const link = attachRawTracepoint({ program: object.program('trace_enter'), name: 'sys_enter' });
  run('true');
  expect(counted(3)).toBeGreaterThan(before);
  expect(link.info.type).toBe('raw_tracepoint');
  link.close();
});

test('errors name the place', () => {
  expect(() => attachTcx({ link: 'absent', direction: 'ingress', program: object.program('count_one') })).toThrow(
    /ENODEV.*link absent/,
  );
  expect(() => attachTc({ ifindex: 999_999, direction: 'ingress', program: object.program('count_one') })).toThrow(
    /clsact ingress of ifindex 999999/,
  );
  expect(() =>
    attachTcx({ ifindex: 1, direction: 'ingress', netns: '/run/netns/absent', program: object.program('count_one') }),
  ).toThrow(/ENOENT.*netns/);
  expect(() =>
    attachCgroup({ program: object.program('refuse_connect'), type: 'cgroup/connect4', cgroupPath: '/absent' }),
  ).toThrow(/ENOENT/);
  expect(() => attachTracepoint({ program: object.program('count_one'), category: 'absent', name: 'event' })).toThrow(
    /tracepoint absent\/event/,
  );
});
