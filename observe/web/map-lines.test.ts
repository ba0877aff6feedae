/** Labels of the map's lines: beside each other, never on each other or on a card. */
import { expect, it } from 'vitest';
import { labelPlaces, lineBetween } from './page/map-lines.ts';

const card = (x: number, y: number) => ({ x, y, width: 164, height: 46 });

it('lines that run together have labels that do not', () => {
  const from = card(0, 0);
  const lines = [200, 300, 400, 500].map((y, i) => ({
    ...{ id: String(i), label: 'TCP 6443' },
    curve: lineBetween(from, card(20, y), 0),
  }));
  const places = [...labelPlaces(lines, [from]).values()];
  expect(places.length).toBeGreaterThanOrEqual(3);
  for (const [i, a] of places.entries())
    for (const b of places.slice(i + 1))
      expect(Math.abs(a.x - b.x) >= 51 || Math.abs(a.y - b.y) >= 15, JSON.stringify([a, b])).toBe(true);
});

it('where there is no room there is no label', () => {
  const [from, to] = [card(0, 0), card(300, 0)];
  const line = { id: 'a', label: 'TCP 80', curve: lineBetween(from, to, 0) };
  expect(labelPlaces([line], [from, to]).has('a')).toBe(true);
  expect(labelPlaces([line, { ...line, id: 'b' }], [{ x: 0, y: -50, width: 600, height: 100 }]).size).toBe(0);
});

it('a line goes around a card that stands in its way, and straight where none does', () => {
  const [from, between, to] = [card(0, 0), card(240, 0), card(480, 0)];
  const isBehind = ({ x, y }: { x: number; y: number }): boolean => x > 240 && x < 404 && y > 0 && y < 46;
  const points = (others: Parameters<typeof lineBetween>[3]) =>
    Array.from({ length: 99 }, (_, i) => lineBetween(from, to, 0, others).at((i + 1) / 100));
  expect(points([]).some(isBehind)).toBe(true);
  expect(points([between]).filter(isBehind)).toEqual([]);
  expect(points([card(240, 200)])).toEqual(points([]));
});
