/** Events on disk: what was put is there by its name and under each of its topics, until it is taken. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { type ColdEvent, ColdEvents } from './cold-events.ts';

const folder = mkdtempSync(join(tmpdir(), 'axt-cold-'));
const path = join(folder, 'cold.db');
afterAll(() => rmSync(folder, { recursive: true }));

const event = (name: string, seat: number, node = 'node-1'): ColdEvent => ({
  fact: `ciliumendpoints/demo/${name}`,
  text: `{"name":"${name}"}`,
  seats: [
    { topic: 'every/ciliumendpoints', seat },
    { topic: `endpoints-of/${node}`, seat: seat + 1 },
  ],
});
const [a, b, c] = [event('a', 7), event('b', 1), event('c', 3, 'node-2')];

test('by name, by topic in the order of seats, and all', () => {
  const cold = new ColdEvents(path);
  cold.put([a, b, c]);
  expect([cold.size, cold.has(a.fact), cold.has('ciliumendpoints/demo/d')]).toEqual([3, true, false]);
  const names = (found: { text: string }[]) => found.map(({ text }) => (JSON.parse(text) as { name: string }).name);
  expect(names(cold.of('every/ciliumendpoints'))).toEqual(['b', 'c', 'a']);
  expect(names(cold.of('endpoints-of/node-1'))).toEqual(['b', 'a']);
  expect(cold.of('endpoints-of/node-1')).toContainEqual({ text: a.text, seat: 8 });
  expect(cold.of('every/ciliumendpointslices')).toEqual([]);
  expect(
    cold
      .all()
      .map(({ seat }) => seat)
      .sort(),
  ).toEqual([1, 3, 7]);
  expect(cold.take(b.fact)).toEqual(b);
  expect(cold.take(b.fact)).toBeUndefined();
  expect(names(cold.of('every/ciliumendpoints'))).toEqual(['c', 'a']);
  expect(names(cold.of('endpoints-of/node-1'))).toEqual(['a']);
  expect(() => cold.put([a])).toThrow(/UNIQUE/);
  expect(cold.size).toBe(2);
  cold.close();
  expect(existsSync(path)).toBe(false);
});

test('of a life before nothing is left', () => {
  const killed = new ColdEvents(path);
  killed.put([a]);
  const cold = new ColdEvents(path);
  expect(cold.has(a.fact)).toBe(false);
  cold.put([a]);
  expect(cold.take(a.fact)).toEqual(a);
  cold.close();
  killed.close();
});
