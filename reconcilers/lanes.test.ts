/** One op on a row at a time, in lanes that do not wait for each other too; what an op came to counts for what it was made for. */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { assign, setup } from 'xstate';
import type { ClusterEvent, OpDone } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { type Kind, speech } from '../machines/machine.ts';
import { Engine } from './engine.ts';

interface Heard {
  type: string;
  name?: string;
  link?: { mtu: number };
}

const logic = setup({
  types: {} as { context: { name: string; mtu: number; failures: number }; events: Heard; input: { name: string } },
  actions: {
    ...speech,
    learn: assign(({ context, event }) => ({ mtu: event.link?.mtu ?? context.mtu })),
    count: assign(({ context }) => ({ failures: context.failures + 1 })),
  },
}).createMachine({
  context: ({ input }) => ({ name: input.name, mtu: 0, failures: 0 }),
  on: {
    'link.upserted': { actions: 'learn' },
    failed: { actions: ['count', { type: 'retry' }] },
  },
});

/** A link wants a timer (edge), an identity (kube) and a sysctl (kernel), with values that follow its MTU. */
const echo: Kind = {
  name: 'echo',
  logic,
  births: { 'link.upserted': ({ link: { name } }) => [{ key: `echo/${name}`, input: { name } }] },
  topics: ({ context }) => [`link/${context.name}`],
  rows: ({ context: { name, mtu } }) => [
    { table: 'timers', key: name, value: { dueMs: mtu } },
    { table: 'identity.claims', key: name, value: { labels: { mtu: String(mtu) }, namespace: 'demo' } },
    { table: 'sysctls', key: name, value: { value: String(mtu) } },
  ],
};

function toy() {
  const store = { forgets: true, rows: () => [], write: () => {} };
  let engine = new Engine([echo], store);
  let seq = 0;
  /** Another engine goes on from what the one before wrote down. */
  const change = (): void => {
    engine = Engine.load([echo], store, structuredClone(engine.save()));
  };
  const step = (event: ClusterEvent): Op[] =>
    engine.step({ seq: ++seq, at: seq, source: 'test', event }).flatMap(({ ops }) => ops);
  const link = (name: string, mtu: number): Op[] =>
    step({
      type: 'link.upserted',
      link: { name, kind: '', mac: '', mtu, up: true, addresses: [], defaultRoute: false },
    });
  const done = (ops: readonly Op[], error?: OpDone['error']): Op[] =>
    step({
      type: 'ops.done',
      results: ops.map(({ table, key, action, revision }) => ({
        table,
        key,
        action,
        revision,
        ...(error && { error }),
      })),
    });
  return {
    get engine() {
      return engine;
    },
    link,
    done,
    change,
  };
}

const busy = { kind: 'kernel' as const, errno: 'EBUSY', message: 'busy', retryable: true };
const tablesOf = (ops: readonly Op[]): string[] => ops.map(({ table }) => table);

it('gives a row with an op under way no other one, in no lane', () => {
  const { link, done } = toy();
  const first = link('a', 1);
  expect(tablesOf(first)).toEqual(['sysctls', 'identity.claims', 'timers']);
  expect(link('a', 2)).toEqual([]);
  expect(tablesOf(done(first))).toEqual(['sysctls', 'identity.claims', 'timers']);
});

it('makes the newest op at once when an older one failed, and tells nobody of that', () => {
  const { engine, link, done } = toy();
  const first = link('a', 1);
  link('a', 2);
  const again = done(first, busy);
  expect(again.map(({ value }) => value)).toMatchObject([{ value: '2' }, { labels: { mtu: '2' } }, { dueMs: 2 }]);
  expect(engine.machine('echo/a')?.context).toMatchObject({ failures: 0 });
});

it('keeps to that in any order of news and results', () => {
  const turn = fc.record({
    what: fc.constantFrom('news' as const, 'done' as const, 'failed' as const),
    which: fc.nat(9),
    mtu: fc.integer({ min: 1, max: 3 }),
  });
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 40 }), (turns) => {
      const { engine, link, done } = toy();
      const underWay = new Map<string, Op>();
      const take = (ops: readonly Op[]): void => {
        for (const op of ops) {
          const name = `${op.table} ${op.key}`;
          expect(underWay.has(name), `a second op on ${name}`).toBe(false);
          underWay.set(name, op);
        }
      };
      const finish = (op: Op, error?: OpDone['error']): void => {
        underWay.delete(`${op.table} ${op.key}`);
        take(done([op], error));
      };
      for (const { what, which, mtu } of turns) {
        const waiting = [...underWay.values()];
        const op = waiting[which % waiting.length];
        if (what === 'news' || !op) take(link(which % 2 ? 'a' : 'b', mtu));
        else finish(op, what === 'failed' ? busy : undefined);
      }
      for (let op = [...underWay.values()][0]; op; op = [...underWay.values()][0]) finish(op);
      const rows = (['sysctls', 'identity.claims', 'timers'] as const).flatMap((table) => engine.rows(table));
      expect(rows.filter(({ state }) => state !== 'in-sync')).toEqual([]);
    }),
  );
});

it('goes on from what was written down between any two events as if nothing had been', () => {
  const [one, other] = [toy(), toy()];
  const both = (act: (on: ReturnType<typeof toy>) => Op[]): Op[] => {
    other.change();
    const ops = act(one);
    expect(act(other)).toEqual(ops);
    return ops;
  };
  const first = both(({ link }) => link('a', 1));
  // The sysctl of b waits for the plan before.
  const second = both(({ link }) => link('b', 1));
  expect(tablesOf(second)).toEqual(['identity.claims', 'timers']);
  const third = both(({ done }) => done(first));
  expect(tablesOf(third)).toEqual(['sysctls']);
  both(({ done }) => done([...second, ...third], busy));
  expect(other.engine.stats()).toEqual(one.engine.stats());
  expect(other.engine.rows('sysctls')).toEqual(one.engine.rows('sysctls'));
});
