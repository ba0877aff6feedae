/** Streams of nodes as one: nothing lost, in order of time, and nobody waits for a silent one. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Merge } from './merge.ts';

interface Item {
  time: { seconds: number; nanos: number };
  from: number;
}

async function* stream(times: readonly number[], from: number): AsyncGenerator<Item> {
  for (const nanos of times) {
    if (nanos % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
    yield { time: { seconds: 0, nanos }, from };
  }
}

async function all(merge: Merge<Item>): Promise<Item[]> {
  const got: Item[] = [];
  for await (const item of merge.items(new AbortController().signal)) got.push(item);
  return got;
}

const sorted = fc.array(fc.nat(1000), { maxLength: 300 }).map((times) => times.sort((a, b) => a - b));

it('gives every item of streams that are in order, in order', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(sorted, { maxLength: 5 }), async (streams) => {
      const merge = new Merge<Item>();
      for (const [from, times] of streams.entries()) {
        merge.add(stream(times, from), (error) => {
          throw error;
        });
      }
      const got = (await all(merge)).map(({ time }) => time.nanos);
      expect(got).toEqual(streams.flat().sort((a, b) => a - b));
    }),
    { numRuns: 50 },
  );
});

it('does not wait for a stream that is silent, and goes on without one that fails', async () => {
  let now = 0;
  const merge = new Merge<Item>(() => now);
  const ending = new AbortController();
  const failures: unknown[] = [];
  async function* silent(): AsyncGenerator<Item> {
    await new Promise((resolve) => ending.signal.addEventListener('abort', resolve));
  }
  // biome-ignore lint/correctness/useYield: it fails before it has anything
  async function* broken(): AsyncGenerator<Item> {
    throw new Error('gone');
  }
  merge.add(silent(), () => {});
  merge.add(broken(), (error) => failures.push(error));
  merge.add(stream([1, 2, 4], 0), () => {});
  const items = merge.items(ending.signal, true);
  const first = items.next();
  now = 5_000;
  expect((await first).value?.time.nanos).toBe(1);
  expect((await items.next()).value?.time.nanos).toBe(2);
  expect((await items.next()).value?.time.nanos).toBe(4);
  expect(failures).toHaveLength(1);
  ending.abort();
  expect((await items.next()).done).toBe(true);
});
