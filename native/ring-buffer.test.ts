// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type BpfObject, openObject, type RingBuffer, ringBuffer, skbContext } from './index.ts';
import { probeObject, u32, until } from './testdata/setup.ts';

let object: BpfObject;
let ring: RingBuffer | undefined;
beforeEach(() => {
  object = openObject(probeObject);
  object.load();
});
afterEach(() => {
  ring?.close();
  object.close();
});

const produce = (count: number, mark = 0) =>
  object.program('report').testRun({ data: Buffer.alloc(80), repeat: count, ctx: skbContext({ mark }) });

test('records arrive in order, in batches, woken by the event loop', async () => {
  const batches: number[] = [];
  const sequence: bigint[] = [];
  ring = ringBuffer(object.map('events'), (records) => {
    batches.push(records.length);
    for (const record of records) sequence.push(record.readBigUInt64LE());
    expect(records[0]?.readUInt32LE(8)).toBe(80);
    expect(records[0]?.readUInt32LE(12)).toBe(5);
  });
  produce(1000, 5);
  await until(() => sequence.length === 1000);
  expect(sequence).toEqual(Array.from({ length: 1000 }, (_, i) => BigInt(i)));
  expect(batches.length).toBeLessThan(10);
  produce(1, 5);
  await until(() => sequence.length === 1001);
});

test('an idle ring costs no wake-ups', async () => {
  let calls = 0;
  ring = ringBuffer(object.map('events'), () => calls++);
  const before = process.cpuUsage();
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(process.cpuUsage(before).user).toBeLessThan(200_000);
  expect(calls).toBe(0);
});

test('a long batch is handed over in parts', async () => {
  const sizes: number[] = [];
  ring = ringBuffer(object.map('events'), (records) => sizes.push(records.length));
  produce(6000);
  await until(() => sizes.reduce((a, b) => a + b, 0) === 6000);
  expect(Math.max(...sizes)).toBe(4096);
});

test('drain reads at once, close from within the callback is fine', () => {
  let got = 0;
  ring = ringBuffer(object.map('events'), (records) => {
    got += records.length;
    ring?.close();
  });
  produce(10);
  expect(ring.drain()).toBe(10);
  expect(got).toBe(10);
  expect(ring.drain()).toBe(0);
});

test("what the callback throws is the process's uncaught exception, and the ring goes on", async () => {
  const previous = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  const thrown: unknown[] = [];
  process.on('uncaughtException', (error) => thrown.push(error.message));
  try {
    let calls = 0;
    ring = ringBuffer(object.map('events'), () => {
      calls++;
      if (calls === 1) throw new Error('from the callback');
    });
    produce(1);
    await until(() => thrown.length === 1);
    produce(1);
    await until(() => calls === 2);
    expect(thrown).toEqual(['from the callback']);
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of previous) process.on('uncaughtException', listener);
  }
});

test('a map that is no ring buffer is refused', () => {
  expect(() => ringBuffer(object.map('endpoints'), () => {})).toThrow(/EINVAL.*endpoints/);
  expect(object.map('.bss').get(u32(0))).toBeDefined();
});
