// SPDX-License-Identifier: Apache-2.0
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import {
  type BpfObject,
  createMap,
  openObject,
  openPinnedMap,
  openPinnedProgram,
  openProgramById,
  readSkbContext,
  skbContext,
} from './index.ts';
import { pinRoot, probeObject, removePins, sumCounters, u32 } from './testdata/setup.ts';

let object: BpfObject;
beforeAll(() => {
  object = openObject(probeObject);
  object.load();
});
afterAll(() => object.close());
afterEach(removePins);

test('a test run returns verdict, packet, context and duration', () => {
  const data = Buffer.alloc(100, 3);
  const result = object
    .program('count_one')
    .testRun({ data, ctx: skbContext({ mark: 1, cb: [5, 6], priority: 9 }), repeat: 100 });
  expect(result.retval).toBe(0);
  expect(result.data).toEqual(data);
  expect(result.durationNs).toBeGreaterThan(0);
  expect(readSkbContext(result.ctx)).toMatchObject({ mark: 7, priority: 9, cb: [5, 6, 0, 0, 0] });
  expect(sumCounters(object.map('counters').get(u32(0)))).toBe(100);
});

test('negative verdicts stay negative', () => {
  const inner = createMap({ type: 'hash', name: 'inner', keySize: 4, valueSize: 4, maxEntries: 16 });
  object.map('policy').put(u32(3), inner);
  const ask = (mark: number) =>
    object.program('ask_policy').testRun({ data: Buffer.alloc(64), ctx: skbContext({ mark }) }).retval;
  expect(ask(3)).toBe(-1);
  inner.put(u32(1), u32(5));
  expect(ask(3)).toBe(5);
  expect(ask(4)).toBe(2);
  inner.close();
});

test('tail calls follow what was put into the program array', () => {
  const jump = () => object.program('jump').testRun({ data: Buffer.alloc(64) }).retval;
  expect(jump()).toBe(2);
  object.map('tails').put(u32(0), object.program('count_two'));
  expect(jump()).toBe(0);
  object.map('tails').delete(u32(0));
});

test('too short a packet and a full out buffer are errors', () => {
  expect(() => object.program('count_one').testRun({ data: Buffer.alloc(4) })).toThrow(/EINVAL/);
  expect(() => object.program('count_one').testRun({ data: Buffer.alloc(100), outSize: 50 })).toThrow(
    /ENOSPC.*outSize/,
  );
});

test('xdp programs run on a packet too', () => {
  expect(object.program('count_xdp').testRun({ data: Buffer.alloc(64) }).retval).toBe(2);
});

test('a program knows its maps, and is found again by pin and id', () => {
  const program = object.program('count_one');
  expect(program.info.mapIds).toContain(object.map('counters').info.id);
  program.pin(`${pinRoot}/deep/er/count_one`);
  for (const again of [openPinnedProgram(`${pinRoot}/deep/er/count_one`), openProgramById(program.info.id)]) {
    expect(again.info).toEqual(program.info);
    again.close();
  }
  expect(() => openPinnedMap(`${pinRoot}/deep/er/count_one`)).toThrow(/bpf-prog/);
});
