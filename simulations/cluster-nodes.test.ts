/**
 * Whatever the order in which a node hears of the others, it ends in the rows that the last state of all objects alone would give.
 *
 * - Objects come and change and go in any order between them, are said again, and the watch may have missed all but the difference.
 * - Nodes leave, move to another address, and claim what others have; pods move, and share addresses for a while.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { canonical, type TableName } from '../state/tables.ts';
import { history, idOf, networks, started, Watch } from './cluster-history.ts';
import type { NodesWorld } from './cluster-nodes.ts';

const tables: readonly TableName[] = [
  'bpf.ipcache',
  'routes',
  'bpf.nodes',
  'wireguard.peers',
  'xfrm.states',
  'xfrm.policies',
  'health.probes',
];
const rowsOf = (world: NodesWorld): string[] =>
  tables.flatMap((table) =>
    Object.entries(world.rows(table)).map(([key, value]) => `${table} ${key} ${canonical(value)}`),
  );

describe.each(networks)('%s', (_, options) => {
  test('any history ends in the rows of what is there at its end', () => {
    fc.assert(
      fc.property(
        history,
        fc.nat(40),
        fc.nat(40),
        fc.array(fc.nat(1_000), { maxLength: 8 }),
        (all, listedAt, missedFrom, again) => {
          const world = started(options);
          const watch = new Watch(world);
          // What happens while the watch is broken is heard as the difference, in any order.
          const end = missedFrom + 8;
          all.slice(0, missedFrom).forEach((said, at) => {
            if (at === listedAt) world.listed();
            watch.hear(said);
          });
          const last = new Map(watch.known);
          for (const said of all.slice(missedFrom, end))
            if (said.gone) last.delete(idOf(said));
            else last.set(idOf(said), said);
          for (const [id, said] of watch.known) if (!last.has(id)) watch.hear({ ...said, gone: true });
          for (const said of [...last.values()].reverse()) watch.hear(said);
          for (const said of all.slice(end)) watch.hear(said);
          world.listed();
          const there = [...watch.known.values()];
          for (const pick of again) {
            const said = there[pick % Math.max(there.length, 1)];
            if (said) watch.hear(said);
          }
          const fresh = started(options).listed();
          for (const { resource, object } of there) fresh.upsert(resource, object);
          expect(rowsOf(world)).toEqual(rowsOf(fresh));
        },
      ),
      { numRuns: 40 },
    );
  });
});

test('when all nodes and pods are gone, nothing of them is left', () => {
  fc.assert(
    fc.property(history, (all) => {
      const world = started({ routing: { mode: 'vxlan' }, encryption: { type: 'wireguard' } }).listed();
      const rows = rowsOf(world);
      const { machines } = world.engine.stats();
      const watch = new Watch(world);
      for (const said of all) watch.hear(said);
      for (const said of [...watch.known.values()]) watch.hear({ ...said, gone: true });
      expect(rowsOf(world)).toEqual(rows);
      expect(world.engine.stats().machines).toBe(machines);
    }),
    { numRuns: 40 },
  );
});
