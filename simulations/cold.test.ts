/**
 * An engine that keeps nothing in memory but what it works on against one that keeps everything: the same plans after each event, and the
 * same answers to whoever asks.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import { Engine } from '../reconcilers/engine.ts';
import { ColdEvents } from '../state/cold-events.ts';
import { Store } from '../state/store.ts';
import { history, idOf, networks, type Said, started, Watch } from './cluster-history.ts';
import { ciliumEndpoint, ciliumNode, type NodesWorld } from './cluster-nodes.ts';

/** After each event of a history, now and then: a row is found missing another or just as it was, or its ops fail. */
const trouble = fc.record({
  at: fc.nat(40),
  what: fc.constantFrom('missing', 'other', 'same', 'failing', 'working', 'look'),
  row: fc.nat(100),
});
type Trouble = typeof trouble extends fc.Arbitrary<infer T> ? T : never;

const byKey = <T extends { key: string }>(all: readonly T[]): T[] => [...all].sort((a, b) => (a.key < b.key ? -1 : 1));

/** All that anybody may ask. */
function answers({ engine }: NodesWorld): unknown {
  const rows = byKey(engine.rows('bpf.ipcache'));
  return {
    rows,
    explained: rows.map(({ key }) => engine.explain('bpf.ipcache', key)),
    machines: byKey(engine.machines()),
    heard: [...engine.heard()],
    stats: engine.stats(),
    pending: byKey(engine.pending()),
    saved: [...engine.actual('bpf.ipcache')].sort(([a], [b]) => (a < b ? -1 : 1)),
  };
}

const isOfPod = (key: string): boolean => /[.:][5-7]\/(32|128)$/.test(key);

/** Nodes with a pod each, so that there is something to forget. */
const beginning: Said[] = [2, 3, 4].flatMap((number) => [
  { resource: 'ciliumnodes', object: ciliumNode(number), gone: false },
  { resource: 'ciliumendpoints', object: ciliumEndpoint(number, 5, 300, { name: `pod-${number}` }), gone: false },
]);

function* run(world: NodesWorld, all: readonly Said[], troubles: readonly Trouble[]): Generator<readonly Op[]> {
  const watch = new Watch(world);
  for (const [at, said] of all.entries()) {
    const known = world.ops.length;
    watch.hear(said);
    for (const { what, row } of troubles.filter((one) => one.at % all.length === at)) {
      const keys = [...world.engine.actual('bpf.ipcache').keys()].filter(isOfPod).sort();
      const key = keys[row % Math.max(keys.length, 1)];
      if (what === 'failing') world.refuse = (op) => op.key === key;
      else if (what === 'working') world.refuse = () => false;
      else if (what === 'look') answers(world);
      else if (key !== undefined) {
        const other = { identity: 7, tunnelEndpoint: '', encryptKey: 0, flags: 0 };
        const value = { missing: null, other, same: world.engine.explain('bpf.ipcache', key)?.row.actual }[what];
        world.say({ type: 'observed', table: 'bpf.ipcache', changes: [{ key, value }] });
      }
    }
    yield world.ops.slice(known);
  }
}

describe.each(networks)('%s', (_, options) => {
  test.each([0, 3])('with %i objects and rows in memory all is as with all of them', (max) => {
    fc.assert(
      fc.property(history, fc.array(trouble, { maxLength: 20, size: 'max' }), (later, troubles) => {
        const all = [...beginning, ...later];
        const store = new Store(':memory:');
        const events = new ColdEvents(':memory:');
        const cold = started(options, new Engine(kinds, store, { events, eventsMax: max, rowsMax: max })).listed();
        const warm = started(options).listed();
        const plans = run(warm, all, troubles);
        let mostCold = 0;
        for (const plan of run(cold, all, troubles)) {
          expect(plan).toEqual(plans.next().value);
          if (max === 0) mostCold = Math.max(mostCold, events.size);
        }
        expect(answers(cold)).toEqual(answers(warm));
        if (max === 0) expect(mostCold).toBeGreaterThan(2);
        // What is said again changes nothing.
        for (const said of all.slice(0, 3)) {
          const again = new Map(all.map((one) => [idOf(one), one])).get(idOf(said));
          if (again && !again.gone)
            expect(cold.upsert(again.resource, again.object)).toEqual(warm.upsert(again.resource, again.object));
        }
        store.close();
        events.close();
      }),
      { numRuns: 15 },
    );
  });
});
