/** The loop's promises: one order of events, one kernel op after the other, and no failure that stops it. */
import { beforeEach, describe, expect, it } from 'vitest';
import { assign, setup } from 'xstate';
import type { ClusterEvent, KubeObject, LogEntry, OpError } from '../cluster/events.ts';
import type { Driver, Op, OpResult } from '../datapath/driver.ts';
import type { Kind } from '../machines/machine.ts';
import { type Row, type TableName, tableNames, tables } from '../state/tables.ts';
import { Engine } from './engine.ts';
import { Loop } from './loop.ts';

interface Context {
  name: string;
  rows: Row[];
}

/** A pod object that says itself which rows it wants. */
const wish: Kind = {
  name: 'wish',
  logic: setup({
    types: {} as { context: Context; events: { type: 'kube.upserted'; object: { rows: Row[] } }; input: Context },
  }).createMachine({
    context: ({ input }) => input,
    on: { 'kube.upserted': { actions: assign(({ event }) => ({ rows: event.object.rows })) } },
  }),
  births: {
    'kube.upserted': ({ object: { metadata } }) => [
      { key: `wish/${metadata.name}`, input: { name: metadata.name, rows: [] } },
    ],
  },
  topics: ({ context }) => [`pods/${(context as Context).name}`],
  rows: ({ context }) => (context as Context).rows,
};

const sysctl = (key: string, value = '1'): Row => ({ table: 'sysctls', key, value: { value } });
const link = (key: string): Row => ({
  table: 'links',
  key,
  value: { kind: 'veth', mac: '', mtu: 1500, peer: { name: 'p', mac: '', netns: '' } },
});
const timer = (key: string): Row => ({ table: 'timers', key, value: { dueMs: 1 } });
const object = (key: string): Row => ({
  table: 'kube.objects',
  key,
  value: { apiVersion: 'v1', kind: 'X', metadata: { name: key } },
});
const busy: OpError = { kind: 'kernel', errno: 'EBUSY', message: 'busy', retryable: true };

/** Stands for all drivers: notes what is applied, and does what a test says. */
class World {
  readonly applied: string[] = [];
  answer: (op: Op) => OpResult | Promise<OpResult> = () => undefined;
  dumped = new Map<TableName, Map<string, unknown>>();

  drivers(): Driver[] {
    return tableNames.map((table) => ({
      tables: [table],
      lane: tables[table].lane,
      apply: async (ops) => {
        const results: OpResult[] = [];
        for (const op of ops) {
          results.push(await this.answer(op));
          this.applied.push(`${op.action} ${op.table} ${op.key}`);
        }
        return results;
      },
      ...(this.dumped.has(table) && { dump: () => this.dumped.get(table) as Map<string, unknown> }),
    }));
  }
}

let world: World;
let log: LogEntry[];
let defects: string[];
beforeEach(() => {
  world = new World();
  log = [];
  defects = [];
});

function start(): { loop: Loop; engine: Engine } {
  const engine = new Engine([wish], { rows: () => [], write: () => {} });
  const loop = new Loop({
    engine,
    drivers: world.drivers(),
    now: () => 1_000,
    record: (entry) => log.push(entry),
    onDefect: (error) => defects.push(String(error)),
  });
  return { loop, engine };
}
const pod = (name: string, ...rows: Row[]): ClusterEvent => ({
  type: 'kube.upserted',
  resource: 'pods',
  object: { apiVersion: 'v1', kind: 'Pod', metadata: { name }, rows },
});
const resultsOf = (): string[] =>
  log.flatMap(({ event }) =>
    event.type === 'ops.done'
      ? event.results.map(({ action, key, error }) => `${action} ${key} ${error?.errno ?? 'done'}`)
      : [],
  );

describe('loop', () => {
  it('numbers and records each event before the engine takes it, results included', async () => {
    const { loop } = start();
    loop.push('kube', pod('a', sysctl('x')));
    expect(log.map(({ seq, source, event }) => [seq, source, event.type])).toEqual([[1, 'kube', 'kube.upserted']]);
    await loop.idle();
    expect(log.map(({ seq, source, event }) => [seq, source, event.type]).at(-1)).toEqual([
      2,
      'driver/sysctls',
      'ops.done',
    ]);
  });

  it('applies kernel ops one after the other, by rank and plan by plan, however long one takes', async () => {
    const { loop } = start();
    world.answer = () => new Promise((resolve) => setTimeout(() => resolve(undefined), 2));
    loop.push('kube', pod('a', link('l1'), sysctl('x')));
    loop.push('kube', pod('b', sysctl('y'), link('l2')));
    await loop.idle();
    expect(world.applied).toEqual(['put sysctls x', 'put links l1', 'put sysctls y', 'put links l2']);
  });

  it('waits for neither the API server nor the edge', async () => {
    const { loop } = start();
    let release = (_: OpResult): void => {};
    world.answer = ({ table }) =>
      table === 'kube.objects' ? new Promise((resolve) => (release = resolve)) : undefined;
    loop.push('kube', pod('a', object('o'), link('l1'), timer('t')));
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect(world.applied.sort()).toEqual(['put links l1', 'put timers t']);
    release(undefined);
    await loop.idle();
    expect(world.applied).toContain('put kube.objects o');
  });

  it('cancels what the owner of a failed op has left in the plan, and nobody else’s', async () => {
    const { loop } = start();
    world.answer = ({ key }) => (key === 'x' ? busy : undefined);
    loop.push('kube', { type: 'source.synced', source: 'local' });
    loop.push('kube', pod('a', sysctl('x'), link('l1')));
    loop.push('kube', pod('b', sysctl('y'), link('l2')));
    await loop.idle();
    expect(resultsOf()).toEqual(['put x EBUSY', 'put l1 ECANCELED', 'put y done', 'put l2 done']);
    expect(world.applied).not.toContain('put links l1');
  });

  it('tries again at a resync what failed, and reports what differs', async () => {
    world.dumped = new Map([['sysctls', new Map<string, unknown>([['stray', { value: '9' }]])]]);
    const { loop, engine } = start();
    world.answer = ({ table }) => (table === 'links' ? busy : undefined);
    loop.push('kube', pod('a', sysctl('x'), link('l1')));
    await loop.idle();
    world.answer = () => undefined;
    await loop.resync();
    await loop.idle();
    expect(log.find(({ source }) => source === 'dump/sysctls')?.event).toEqual({
      type: 'observed',
      table: 'sysctls',
      changes: [
        { key: 'stray', value: { value: '9' } },
        { key: 'x', value: null },
      ],
    });
    expect(resultsOf().slice(2)).toEqual(['put x done', 'put l1 done']);
    expect(engine.stats().inFlight).toBe(0);
  });

  it('writes an object again of which its watch did not tell at two looks in a row: it went between two lists', async () => {
    const { loop } = start();
    const key = 'ciliumendpoints/shop/a';
    loop.push('kube', { type: 'source.synced', source: 'kube/ciliumendpoints' });
    loop.push('kube', pod('a', object(key), object('events/shop/unwatched')));
    await loop.idle();
    const endpoint: KubeObject = { apiVersion: 'cilium.io/v2', kind: 'X', metadata: { name: 'a', namespace: 'shop' } };
    const look = async (): Promise<string[]> => {
      await loop.resync();
      await loop.idle();
      return resultsOf().splice(2);
    };
    loop.push('kube', { type: 'kube.upserted', resource: 'ciliumendpoints', object: endpoint });
    expect([...(await look()), ...(await look())]).toEqual([]);
    loop.push('kube', pod('b', object('ciliumendpoints/shop/b')));
    await loop.idle();
    const written = ['put ciliumendpoints/shop/b done'];
    expect(await look()).toEqual(written);
    expect(await look()).toEqual([...written, ...written]);
  });

  it('writes an object again that somebody else deleted, also while nobody was there to hear of it', async () => {
    world.dumped = new Map([['kube.objects', new Map<string, unknown>([['ciliumendpoints/shop/b', { kind: 'X' }]])]]);
    const { loop } = start();
    await loop.takeStock([]);
    const say = async (event: ClusterEvent): Promise<string[]> => {
      const from = resultsOf().length;
      loop.push('kube', event);
      await loop.idle();
      return resultsOf().slice(from);
    };
    const [a, b] = ['a', 'b'].map((name) => object(`ciliumendpoints/shop/${name}`)) as [Row, Row];
    const found = { ...b, value: { kind: 'X' } } as unknown as Row;
    expect(await say(pod('b', found))).toEqual([]);
    expect(await say({ type: 'source.synced', source: 'kube/ciliumendpoints' })).toEqual([`put ${b.key} done`]);
    expect(await say(pod('a', a))).toEqual([`put ${a.key} done`]);
    const metadata = { name: 'a', namespace: 'shop' };
    const gone: ClusterEvent = {
      type: 'kube.deleted',
      resource: 'ciliumendpoints',
      object: { apiVersion: 'cilium.io/v2', kind: 'X', metadata },
    };
    expect(await say(gone)).toEqual([`put ${a.key} done`]);
  });

  it('takes stock: what is there is told, what was stored and is gone is forgotten, the rest is believed', async () => {
    world.dumped = new Map([['links', new Map<string, unknown>([['l1', { mtu: 1 }]])]]);
    const { loop, engine } = start();
    const stored = { value: { mtu: 2 }, op: '' };
    await loop.takeStock([
      { table: 'links', key: 'l1', ...stored },
      { table: 'links', key: 'l2', ...stored },
      { table: 'kube.objects', key: 'o', ...stored },
      { table: 'timers', key: 't', ...stored },
    ]);
    const told = log.flatMap(({ event }) => (event.type === 'observed' ? event.changes.map(({ key }) => key) : []));
    expect(told).toEqual(['l1', 'l2', 'o']);
    expect([...engine.actual('links')]).toEqual([['l1', { mtu: 1 }]]);
    expect([...engine.actual('kube.objects')]).toEqual([['o', { mtu: 2 }]]);
    expect(log.at(-1)?.event).toEqual({ type: 'source.synced', source: 'kernel' });
  });

  it('goes on when a driver throws, and when the engine does', async () => {
    const { loop } = start();
    world.answer = ({ key }) => {
      if (key === 'x') throw new Error('driver broke');
      return undefined;
    };
    loop.push('kube', pod('a', sysctl('x')));
    await loop.idle();
    loop.push('kube', { type: 'kube.upserted', resource: 'pods', object: { kind: 'Pod' } } as unknown as ClusterEvent);
    loop.push('kube', pod('b', sysctl('y')));
    await loop.idle();
    expect(defects).toEqual([expect.stringContaining('driver broke'), expect.stringContaining('TypeError')]);
    expect(resultsOf()).toEqual(['put x EDEFECT', 'put y done']);
  });

  it('takes no event once it is stopped', async () => {
    const { loop } = start();
    loop.push('kube', pod('a', sysctl('x')));
    await loop.stop();
    const before = log.length;
    loop.push('kube', pod('b', sysctl('y')));
    expect(log.length).toBe(before);
    expect(world.applied).not.toContain('put sysctls y');
  });

  it('says of a row that no driver is there for it', async () => {
    const engine = new Engine([wish], { rows: () => [], write: () => {} });
    const drivers = world.drivers().filter(({ tables: [table] }) => table !== 'sysctls');
    const loop = new Loop({ engine, drivers, now: () => 0, onDefect: () => {} });
    loop.push('kube', pod('a', sysctl('x')));
    await loop.idle();
    expect(engine.rows('sysctls')).toMatchObject([{ key: 'x', state: 'failed', error: { errno: 'ENODRIVER' } }]);
  });
});
