/** Entries in a map of another layout, also those of maps in a map of maps. */
import { expect, test } from 'vitest';
import { type BpfMap, createMap } from '../native/index.ts';
import type { MapLayout } from './layout-texts.ts';
import { copyEntries, mapTranslation } from './map-copies.ts';

const field = (path: string, offset: number) => ({ path, offset, size: 4, count: 1, order: 'host' as const });
const key = { size: 8, fields: [field('prefixlen', 0), field('identity', 4)] };
const before: MapLayout = { key, value: { size: 8, fields: [field('precedence', 0), field('cookie', 4)] } };
const after: MapLayout = {
  key,
  value: { size: 12, fields: [field('cookie', 0), field('fresh', 4), field('precedence', 8)] },
};

const words = (...numbers: number[]): Buffer => Buffer.from(Uint32Array.from(numbers).buffer);
const innerOf = ({ value }: MapLayout): BpfMap =>
  createMap({
    type: 'lpm_trie',
    name: 'axt_inner',
    keySize: key.size,
    valueSize: value.size,
    maxEntries: 16,
    flags: 1,
  });
function outerOf(layout: MapLayout): BpfMap {
  const template = innerOf(layout);
  const options = { keySize: 4, valueSize: 4, maxEntries: 8, innerMapFd: template.fd };
  const map = createMap({ type: 'hash_of_maps', name: 'axt_outer', ...options });
  template.close();
  return map;
}

test('the maps in a map of maps come along, each entry in the new layout', () => {
  const [source, target] = [outerOf(before), outerOf(after)];
  const inner = innerOf(before);
  inner.put(words(32, 5), words(70, 9));
  source.put(words(7), inner);
  source.put(words(8), inner);
  expect(copyEntries(source, target, mapTranslation(before, after))).toBe(2);
  for (const id of [7, 8]) {
    const made = target.getInner(words(id));
    expect(made?.info).toMatchObject({ name: 'axt_inner', maxEntries: 16, valueSize: 12 });
    expect(made?.get(words(32, 5))).toEqual(words(9, 0, 70));
    made?.close();
  }
  for (const map of [source, target, inner]) map.close();
});
