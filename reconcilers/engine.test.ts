/** The engine's laws, on a toy machine: a flag wants a timer row for each pod object of its name. */
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { assign, setup } from 'xstate';
import type { ClusterEvent, LogEntry, OpDone } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { type Kind, recipe, speech } from '../machines/machine.ts';
import type { RowChange, StoredRow } from '../state/store.ts';
import { Engine } from './engine.ts';

interface Context {
  name: string;
  mac: string;
  failures: number;
}

const logic = setup({
  types: {} as { context: Context; events: { type: string; object?: { labels?: string } }; input: { name: string } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, { type: string }>((draft, event) => {
        draft.mac = String((event as unknown as { object: { mac: string } }).object.mac);
      }),
    ),
    count: assign(recipe<Context, unknown>((draft) => void draft.failures++)),
  },
}).createMachine({
  context: ({ input }) => ({ name: input.name, mac: '', failures: 0 }),
  initial: 'busy',
  on: { 'kube.upserted': { target: '.busy', actions: 'learn' }, 'kube.deleted': '.over' },
  states: {
    busy: { on: { settled: 'calm', failed: { target: 'failing', actions: 'count' } } },
    calm: {},
    failing: { on: { 'timer.fired': { target: 'busy', actions: { type: 'retry' } } } },
    over: { type: 'final' },
  },
});

/** Every pod wants a link of its own; pods whose name begins with `s` also want the link `shared`. */
const flag: Kind = {
  name: 'flag',
  logic,
  births: {
    'kube.upserted': ({ object }) => [{ key: `flag/${object.metadata.name}`, input: { name: object.metadata.name } }],
  },
  topics: ({ context }) => [`pods/${(context as Context).name}`, 'timer/again'],
  rows: ({ context }) => {
    const { name, mac } = context as Context;
    const value = { kind: 'veth' as const, mac, mtu: 1500, peer: { name: 'eth0', mac, netns: '' } };
    const keys = name.startsWith('s') ? [name, 'shared'] : [name];
    return keys.map((key) => ({ table: 'links', key, value }));
  },
};

class MemoryStore {
  readonly written = new Map<string, string>();
  rows(): StoredRow[] {
    return [];
  }
  write(changes: readonly RowChange[]): void {
    for (const { table, key, json } of changes) {
      if (json === undefined) this.written.delete(`${table} ${key}`);
      else this.written.set(`${table} ${key}`, json);
    }
  }
}

let store: MemoryStore;
let engine: Engine;
let seq: number;
beforeEach(() => {
  store = new MemoryStore();
  engine = new Engine([flag], store);
  seq = 0;
});

const entry = (event: ClusterEvent): LogEntry => ({ seq: ++seq, at: seq * 1000, source: 'test', event });
const step = (event: ClusterEvent): Op[] => engine.step(entry(event)).flatMap((one) => one.ops);
const pod = (name: string, mac: string): ClusterEvent => ({
  type: 'kube.upserted',
  resource: 'pods',
  object: { apiVersion: 'v1', kind: 'Pod', metadata: { name }, mac },
});
const gone = (name: string): ClusterEvent => ({
  type: 'kube.deleted',
  resource: 'pods',
  object: { apiVersion: 'v1', kind: 'Pod', metadata: { name } },
});
const done = (ops: readonly Op[], error?: OpDone['error']): ClusterEvent => ({
  type: 'ops.done',
  results: ops.map(({ table, key, action, revision }) => ({ table, key, action, revision, ...(error && { error }) })),
});
const broken = { kind: 'kernel' as const, errno: 'EBUSY', message: 'busy', retryable: true };
const brief = (ops: readonly Op[]): string[] => ops.map((op) => `${op.action} ${op.key}`);

describe('engine', () => {
  it('puts what is wanted once, and is silent when told the same again', () => {
    const ops = step(pod('a', '02:01'));
    expect(brief(ops)).toEqual(['put a']);
    expect(step(pod('a', '02:01'))).toEqual([]);
    expect(step(done(ops))).toEqual([]);
    expect(step(pod('a', '02:01'))).toEqual([]);
    expect(engine.machine('flag/a')?.state).toBe('calm');
    expect([...store.written.keys()]).toEqual(['links a']);
  });

  it('has one plan of the kernel lane at a time: what changes meanwhile, on any row, is in the next, whole and in order', () => {
    const [a, b] = [step(pod('a', '02:01')), step(pod('b', '02:02'))];
    expect([brief(a), brief(b)]).toEqual([['put a'], []]);
    expect(step(gone('a'))).toEqual([]);
    expect(brief(step(done(a)))).toEqual(['put b', 'delete a']);
  });

  it('has one op on a row at a time, and then catches up with what changed meanwhile', () => {
    const first = step(pod('a', '02:01'));
    expect(step(pod('a', '02:02'))).toEqual([]);
    const second = step(done(first));
    expect(second.map((op) => (op.value as { mac: string }).mac)).toEqual(['02:02']);
    expect(step(done(first))).toEqual([]);
    expect(engine.machine('flag/a')?.state).toBe('busy');
    step(done(second));
    expect(engine.machine('flag/a')?.state).toBe('calm');
  });

  it('tells the machine of a failure and does not try again before it says so', () => {
    expect(step(done(step(pod('a', '02:01')), broken))).toEqual([]);
    expect(engine.machine('flag/a')?.state).toBe('failing');
    expect(engine.explain('links', 'a')?.row.state).toBe('failed');
    const again = step({ type: 'timer.fired', key: 'again' });
    expect(brief(again)).toEqual(['put a']);
    step(done(again));
    expect(engine.machine('flag/a')?.state).toBe('calm');
  });

  it('lets the next of a key live when the last one is over but for deletes that failed', () => {
    step(done(step(pod('s', '02:01'))));
    const deletes = step(gone('s'));
    expect(brief(deletes)).toEqual(['delete s', 'delete shared']);
    const [own, shared] = deletes.map((op) => [op]);
    expect(step(done(own as Op[], broken))).toEqual([]);
    // One op is still under way.
    expect(step(pod('s', '02:01'))).toEqual([]);
    expect(engine.machine('flag/s')?.state).toBe('over');
    expect(step(done(shared as Op[], { ...broken, kind: 'cancelled' }))).toEqual([]);
    // It finds what it wants.
    expect(engine.machine('flag/s')?.state).toBe('calm');
    expect(engine.explain('links', 's')?.row.state).toBe('in-sync');

    step(done(step(gone('s')), broken));
    expect(brief(step(pod('s', '02:02')))).toEqual(['put s', 'put shared']);
    expect(engine.explain('links', 's')?.row.owners).toEqual(['flag/s']);
  });

  it('tries a failed delete of nobody again when its table is looked at', () => {
    step(done(step(pod('s', '02:01'))));
    step(done(step(gone('s')), broken));
    step(pod('s', '02:01'));
    step(done(step(gone('s')), broken));
    const again = step({ type: 'observed', table: 'links', changes: [] });
    expect(brief(again)).toEqual(['delete s', 'delete shared']);
    step(done(again));
    expect(engine.rows('links')).toEqual([]);
    expect(engine.machine('flag/s')).toBeUndefined();
  });

  it('keeps a shared row until its last owner leaves, and lets the first key decide', () => {
    step(done(step(pod('s1', '02:01'))));
    const second = step(pod('s2', '02:02'));
    expect(brief(second)).toEqual(['put s2']);
    expect(engine.explain('links', 'shared')?.row).toMatchObject({
      owners: ['flag/s1', 'flag/s2'],
      contested: ['flag/s2'],
    });
    step(done(second));
    const left = step(gone('s1'));
    expect(brief(left)).toEqual(['put shared', 'delete s1']);
    step(done(left));
    const last = step(gone('s2'));
    expect(brief(last)).toEqual(['delete s2', 'delete shared']);
    step(done(last));
    expect(engine.machines()).toEqual([]);
    expect(store.written.size).toBe(0);
  });

  it('deletes an orphan only when every source of its table has synced', () => {
    const found = { type: 'observed', table: 'links', changes: [{ key: 'old', value: { kind: 'veth' } }] } as const;
    expect(step(found as unknown as ClusterEvent)).toEqual([]);
    expect(engine.explain('links', 'old')?.row.state).toBe('held-back');
    expect(step({ type: 'source.synced', source: 'local' })).toEqual([]);
    expect(step({ type: 'source.synced', source: 'links' })).toEqual([]);
    expect(brief(step({ type: 'source.synced', source: 'kube/nodes' }))).toEqual(['delete old']);
  });

  it('takes over what it finds as wanted, without an op', () => {
    const [op] = step(pod('a', '02:01'));
    step(done([op as Op]));
    const twin = new Engine([flag], new MemoryStore());
    const found: ClusterEvent = { type: 'observed', table: 'links', changes: [{ key: 'a', value: op?.value }] };
    expect(twin.step({ seq: 1, at: 1, source: 'dump', event: found })).toEqual([]);
    expect(twin.step({ seq: 2, at: 2, source: 'test', event: pod('a', '02:01') })).toEqual([]);
  });

  it('repairs drift: a row that vanished, and one that appeared', () => {
    step(done(step(pod('a', '02:01'))));
    const repair = step({ type: 'observed', table: 'links', changes: [{ key: 'a', value: null }] });
    expect(brief(repair)).toEqual(['put a']);
    step(done(repair));
    expect(engine.stats().driftRepaired).toBe(1);
    expect(engine.explain('links', 'a')?.op?.reason).toBe('drift');
  });

  it('explains a row: event, transition, op', () => {
    step(done(step(pod('a', '02:01'))));
    expect(engine.explain('links', 'a')).toMatchObject({
      row: { state: 'in-sync', owners: ['flag/a'] },
      wanted: { machine: 'flag/a', cause: { seq: 1, type: 'kube.upserted', subject: 'pods/a' } },
      op: { action: 'put', cause: { seq: 1 }, doneAt: 2000 },
    });
  });

  it('converges whatever fails, and two engines with one log make the same ops', () => {
    const name = fc.constantFrom('a', 'b', 's1', 's2');
    const action = fc.oneof(
      fc.record({ do: fc.constant('up' as const), name, mac: fc.constantFrom('02:01', '02:02') }),
      fc.record({ do: fc.constant('down' as const), name }),
      fc.record({ do: fc.constant('done' as const), fails: fc.boolean() }),
      fc.record({ do: fc.constant('retry' as const) }),
    );
    fc.assert(
      fc.property(fc.array(action, { maxLength: 60 }), (actions) => {
        const world = new Map<string, unknown>();
        const log: LogEntry[] = [];
        const one = new Engine([flag], new MemoryStore());
        const outstanding: Op[] = [];
        const ops: Op[][] = [];
        const push = (event: ClusterEvent): void => {
          const next: LogEntry = { seq: log.length + 1, at: log.length, source: 'test', event };
          log.push(next);
          const planned = one.step(next).flatMap((each) => each.ops);
          ops.push(planned);
          outstanding.push(...planned);
        };
        const finish = (fails: boolean): void => {
          const op = outstanding.shift();
          if (!op) return;
          if (!fails && op.action === 'put') world.set(op.key, op.value);
          if (!fails && op.action === 'delete') world.delete(op.key);
          push(done([op], fails ? broken : undefined));
        };
        for (const each of actions) {
          if (each.do === 'up') push(pod(each.name, each.mac));
          else if (each.do === 'down') push(gone(each.name));
          else if (each.do === 'done') finish(each.fails);
          else push({ type: 'timer.fired', key: 'again' });
        }
        for (let round = 0; round < 3; round++) {
          push({ type: 'observed', table: 'links', changes: [] });
          while (outstanding.length > 0) finish(false);
        }
        const wanted = new Map(
          one.rows('links').flatMap((row) => (row.desired ? [[row.key, row.desired] as const] : [])),
        );
        expect(Object.fromEntries(world)).toEqual(Object.fromEntries(wanted));
        expect(one.stats().inFlight).toBe(0);
        const other = new Engine([flag], new MemoryStore());
        expect(log.map((each) => other.step(each).flatMap((planned) => planned.ops))).toEqual(ops);
      }),
      { numRuns: 200 },
    );
  });
});
