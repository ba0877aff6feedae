/** The driver of services keeps the laws on the real kernel, writes little, and knows its rows again after a restart. */
import { describe, expect, test } from 'vitest';
import type { BpfMap } from '../../native/index.ts';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { BackendRow, BackendSetRow, FrontendRow } from '../../state/tables.ts';
import { Codecs } from '../codec.ts';
import type { Op, OpResult } from '../driver.ts';
import { type Loaded, loadDatapath } from '../loader.ts';
import { maglevTable } from '../maglev.ts';
import { parseServiceKey } from '../service-keys.ts';
import { testPins } from '../testdata/pins.ts';
import { smallObject } from '../testdata/small-object.ts';
import { ServicesDriver } from './services.ts';

interface World {
  driver: ServicesDriver;
  loaded: Loaded;
  gone: BackendRow[][];
  /** Another agent on the same kernel. */
  restarted(): ServicesDriver;
  map(name: string): BpfMap;
  /** Writes and deletions of entries since the last call. */
  writes(): Record<string, number>;
  dispose(): void;
}

function world(capacities: Record<string, number> = {}): World {
  const pins = testPins({ maps: capacities });
  const loaded = loadDatapath(pins.config, 250, smallObject());
  const gone: BackendRow[][] = [];
  let counted: Record<string, number> = {};
  const count = (name: string, entries: number): void => {
    counted[name] = (counted[name] ?? 0) + entries;
  };
  const map = (name: string): BpfMap => {
    const found = loaded.maps.get(name);
    if (!found) throw new Error(name);
    return found;
  };
  for (const [name, counting] of loaded.maps) {
    const { put, delete: remove, putBatch, deleteBatch } = counting;
    counting.put = (...args) => {
      count(name, 1);
      put.apply(counting, args);
    };
    counting.delete = (...args) => {
      count(name, 1);
      return remove.apply(counting, args);
    };
    counting.putBatch = (...args) => {
      count(name, args[2]);
      putBatch.apply(counting, args);
    };
    counting.deleteBatch = (...args) => {
      count(name, args[1]);
      return deleteBatch.apply(counting, args);
    };
  }
  const restarted = (): ServicesDriver =>
    new ServicesDriver({ maps: map, codecs: new Codecs(loaded.btf), onBackendsGone: (rows) => gone.push([...rows]) });
  return {
    driver: restarted(),
    loaded,
    gone,
    restarted,
    map,
    writes() {
      const writes = counted;
      counted = {};
      return writes;
    },
    dispose() {
      loaded.close();
      pins.dispose();
    },
  };
}

const backend = (key: string): SampleRow => ({ table: 'bpf.backends', key, value: parseServiceKey(key) });
const set = (key: string, backends: readonly string[], more: Partial<BackendSetRow> = {}): SampleRow => ({
  table: 'bpf.backend-sets',
  key,
  value: { backends, maglevSize: 0, affinityTimeout: 0, ...more },
});
const frontend = (key: string, setKey: string, more: Partial<FrontendRow> = {}): SampleRow => ({
  table: 'bpf.frontends',
  key,
  value: {
    type: 'ClusterIP',
    service: 'demo/web',
    portName: 'http',
    internalSet: setKey,
    externalSet: setKey,
    externalLocal: false,
    sourceRanges: false,
    forwarding: 'snat',
    ...more,
  },
});
const range = (key: string, cidr: string): SampleRow => ({
  table: 'bpf.source-ranges',
  key: `${key}|${cidr}`,
  value: { frontend: key, cidr },
});
const changing = (row: SampleRow, changes: object): SampleRow => ({
  ...row,
  changed: { ...(row.value as object), ...changes },
});
const opOf = (action: Op['action'], { table, key, value }: SampleRow): Op => ({
  table,
  action,
  key,
  value: action === 'put' ? value : undefined,
  before: undefined,
  revision: 1,
  owners: [],
});

async function put(driver: ServicesDriver, ...rows: SampleRow[]): Promise<OpResult[]> {
  const results: OpResult[] = [];
  for (let from = 0; from < rows.length; ) {
    const until = rows.findIndex(({ table }, i) => i > from && table !== rows[from]?.table);
    const ops = rows.slice(from, until < 0 ? rows.length : until).map((row) => opOf('put', row));
    results.push(...(await driver.apply(ops)));
    from += ops.length;
  }
  return results;
}
const remove = async (driver: ServicesDriver, row: SampleRow): Promise<OpResult[]> =>
  driver.apply([opOf('delete', row)]);

const A = '10.0.1.1:8080/TCP';
const B = '10.0.1.2:8080/TCP';
const C = '[fd00:1::3]:53/UDP';
const WEB = 'demo/web:http/IPv4';
const FRONT = '10.96.0.10:80/TCP';

driverLaws('services', () => {
  const { driver, dispose } = world();
  return {
    driver,
    samples: [
      backend(A),
      backend(B),
      backend(C),
      changing(set(WEB, [A]), { backends: [A, B], affinityTimeout: 10_800 }),
      changing(set('demo/web:http/IPv4/local', [], { affinityTimeout: 60 }), { affinityTimeout: 0 }),
      changing(set('demo/dns:/IPv6', [C], { maglevSize: 251 }), { maglevSize: 509 }),
      changing(set('demo/both:/IPv4', [A, B], { maglevSize: 251, affinityTimeout: 1 }), { backends: [B] }),
      range(FRONT, '10.0.0.0/8'),
      range(FRONT, '0.0.0.0/0'),
      range('[fd00::a]:53/UDP', 'fd00:2::/64'),
      range('[fd00::a]:53/UDP', '::/0'),
      changing(frontend(FRONT, WEB, { type: 'LoadBalancer', sourceRanges: true }), {
        type: 'ExternalIP',
        service: 'demo/other',
        portName: '',
        internalSet: 'demo/both:/IPv4',
        externalSet: '',
        externalLocal: true,
        forwarding: 'dsr',
      }),
      frontend('[fd00::a]:53/UDP', 'demo/dns:/IPv6', { externalSet: 'demo/both:/IPv4', type: 'NodePort' }),
      frontend('192.0.2.1:9999/SCTP', WEB, { type: 'HostPort', service: `demo/${'p'.repeat(253)}` }),
    ],
    impossible: [
      { ...backend(A), key: B },
      { ...backend(A), key: '10.0.1.256:80/TCP', value: { address: '10.0.1.256', port: 80, protocol: 'TCP' } },
      { ...backend(A), key: '10.0.1.9:65536/TCP', value: { address: '10.0.1.9', port: 65_536, protocol: 'TCP' } },
      { ...backend(A), key: '10.0.1.9:80/ICMP', value: { address: '10.0.1.9', port: 80, protocol: 'ICMP' } },
      set('demo/lost:/IPv4', [A, '10.9.9.9:1/TCP']),
      set('demo/odd:/IPv4', [A], { maglevSize: 256 }),
      set('demo/odd:/IPv4', [A], { affinityTimeout: -1 }),
      set(`demo/${'x'.repeat(500)}`, [A]),
      range('10.96.0.10', '10.0.0.0/8'),
      range(FRONT, '10.0.0.1/8'),
      frontend('10.96.0.10', WEB),
      frontend('10.96.0.11:80/TCP', 'demo/lost:/IPv4'),
      frontend('10.96.0.11:80/TCP', WEB, { type: 'Ingress' as 'ClusterIP' }),
    ],
    dispose,
  };
});

describe('services', () => {
  async function within(capacities: Record<string, number>, story: (world: World) => Promise<void>): Promise<void> {
    const made = world(capacities);
    try {
      await story(made);
    } finally {
      made.dispose();
    }
  }
  const names = (count: number): string[] =>
    Array.from({ length: count }, (_, i) => `10.0.${i >> 8}.${i & 255}:80/TCP`);

  test('one endpoint that changes is a handful of writes', () =>
    within({}, async ({ driver, writes }) => {
      const ten = names(10).sort();
      const other = '10.9.9.9:80/TCP';
      expect(await put(driver, ...ten.map(backend), backend(other), set(WEB, ten), frontend(FRONT, WEB))).toEqual(
        Array(13).fill(undefined),
      );
      writes();
      await put(driver, set(WEB, [...ten.slice(1), other].sort()));
      expect(writes()).toEqual({ backend_slots: 1 });
      await put(driver, set(WEB, ten.slice(1)));
      expect(writes()).toEqual({ backend_slots: 2, backend_sets: 1 });
      await put(driver, set(WEB, ten));
      expect(writes()).toEqual({ backend_slots: 1, backend_sets: 1 });
      await put(driver, set(WEB, ten), frontend(FRONT, WEB));
      expect(writes()).toEqual({ frontends: 1 });
    }));

  test('an agent that starts finds the rows, their numbers and their names in the kernel', () =>
    within({}, async ({ driver, restarted, writes, map }) => {
      const rows = [
        ...[A, B, C].map(backend),
        set(WEB, [A, B], { affinityTimeout: 60 }),
        set('demo/dns:/IPv6', [C], { maglevSize: 251 }),
        range(FRONT, '10.0.0.0/8'),
        range('10.96.0.99:80/TCP', '10.0.0.0/8'),
        frontend(FRONT, WEB, { sourceRanges: true, type: 'LoadBalancer' }),
        frontend('[fd00::a]:53/UDP', 'demo/dns:/IPv6', { service: 'demo/dns', portName: '' }),
      ];
      await put(driver, ...rows);
      const numbers = map('frontends').entries().map(String);
      const next = restarted();
      for (const table of next.tables) {
        const wanted = rows.filter((row) => row.table === table).map(({ key, value }) => [key, value]);
        expect(Object.fromEntries(await next.dump(table)), table).toEqual(Object.fromEntries(wanted));
      }
      writes();
      expect((await put(next, ...rows)).filter(Boolean)).toEqual([]);
      expect(writes()).toEqual({ backends: 3, source_ranges: 2, frontends: 2 });
      expect(map('frontends').entries().map(String)).toEqual(numbers);
      // A number that was given back is not given out again soon.
      await remove(next, set(WEB, []));
      const known = Object.fromEntries(await next.dump('bpf.frontends'));
      expect(known[FRONT]).toMatchObject({ internalSet: '#1' });
      await put(next, set('demo/new:/IPv4', [A]));
      expect(Object.fromEntries(await next.dump('bpf.frontends'))[FRONT]).toMatchObject({ internalSet: '#1' });
    }));

  test('what was interrupted is seen and mended', () =>
    within({}, async ({ driver, restarted, map }) => {
      await put(driver, ...[A, B].map(backend), set(WEB, [A, B], { maglevSize: 251, affinityTimeout: 9 }));
      const [[key] = []] = map('backend_slots').entries();
      map('backend_slots').delete(key as Buffer);
      const slot = Buffer.alloc(8);
      slot.writeUInt32LE(1, 0);
      slot.writeUInt32LE(7, 4);
      map('backend_slots').put(slot, Buffer.from([1, 0, 0, 0]));
      for (const match of map('affinity_matches').keys()) map('affinity_matches').delete(match);
      for (const table of map('maglev').keys()) map('maglev').delete(table);

      const next = restarted();
      const [row] = (await next.dump('bpf.backend-sets')).values();
      expect(row).toMatchObject({ maglevSize: 0, affinityTimeout: 0, backends: [expect.any(String)] });
      expect(map('backend_slots').get(slot)).toBeUndefined();
      const wanted = set(WEB, [A, B], { maglevSize: 251, affinityTimeout: 9 });
      expect(await put(next, wanted)).toEqual([undefined]);
      expect(Object.fromEntries(await restarted().dump('bpf.backend-sets'))).toEqual({ [WEB]: wanted.value });
      expect(map('affinity_matches').keys()).toHaveLength(2);
    }));

  test('the Maglev table in the kernel is that of the names', () =>
    within({}, async ({ driver, map }) => {
      const ten = names(10).sort();
      await put(driver, ...ten.map(backend), set(WEB, ten, { maglevSize: 251 }));
      const read = (): number[] => {
        const [key] = map('maglev').keys();
        const inner = map('maglev').getInner(key as Buffer);
        const bytes = Buffer.concat(
          (inner?.entries() ?? []).sort(([a], [b]) => a.readUInt32LE(0) - b.readUInt32LE(0)).map(([, value]) => value),
        );
        inner?.close();
        return Array.from({ length: 251 }, (_, i) => bytes.readUInt32LE(4 * i));
      };
      const ids = new Map(
        map('backends')
          .entries()
          .map(([key, value]) => [`10.0.${value[14]}.${value[15]}:80/TCP`, key.readUInt32LE(0)]),
      );
      const wanted = (members: string[]): unknown[] =>
        [...maglevTable(members, 251)].map((i) => ids.get(members[i] as string));
      expect(read()).toEqual(wanted(ten));
      await put(driver, set(WEB, ten.slice(1), { maglevSize: 251 }));
      expect(read()).toEqual(wanted(ten.slice(1)));
      await put(driver, set(WEB, [], { maglevSize: 251 }));
      expect(map('maglev').keys()).toEqual([]);
    }));

  test.each<[string, Record<string, number>, SampleRow, RegExp]>([
    [
      'backends',
      { backends: 3 },
      backend('10.0.9.9:80/TCP'),
      /^put bpf\.backends 10\.0\.9\.9:80\/TCP: map backends is full: its capacity is 3 entries$/,
    ],
    ['sets', { backend_sets: 1 }, set('demo/b:/IPv4', [A]), /map backend_sets is full: its capacity is 1 entries/],
    [
      'slots',
      { backend_slots: 2 },
      set('demo/b:/IPv4', [A, B]),
      /map backend_slots is full: its capacity is 2 entries/,
    ],
    [
      'matches',
      { affinity_matches: 1 },
      set('demo/b:/IPv4', [A, B], { affinityTimeout: 1 }),
      /map affinity_matches is full: its capacity is 1 entries/,
    ],
    ['names', { service_names: 2 }, set('demo/b:/IPv4', [A]), /map service_names is full: its capacity is 2 entries/],
    [
      'ranges',
      { source_ranges: 1 },
      range(FRONT, '10.1.0.0/16'),
      /map source_ranges is full: its capacity is 1 entries/,
    ],
    [
      'frontends',
      { frontends: 1 },
      frontend('10.96.0.11:80/TCP', WEB),
      /map frontends is full: its capacity is 1 entries/,
    ],
  ])(
    'full %s: named with capacity and row, nothing of the row stays, and it goes in when there is room',
    (_, capacities, row, message) =>
      within(capacities, async ({ driver, restarted, map }) => {
        const there = [...[A, B, C].map(backend), set(WEB, [A]), range(FRONT, '10.0.0.0/8'), frontend(FRONT, WEB)];
        expect((await put(driver, ...there)).filter(Boolean)).toEqual([]);
        const before = ['backend_slots', 'affinity_matches', 'service_names', 'maglev'].map(
          (name) => map(name).keys().length,
        );
        const [result] = await put(driver, row);
        expect(result).toMatchObject({ kind: 'kernel', retryable: false });
        expect(result?.errno).toMatch(/^(E2BIG|ENOSPC)$/);
        expect(result?.message).toMatch(message);
        expect(result?.message).toContain(row.key);
        expect(
          ['backend_slots', 'affinity_matches', 'service_names', 'maglev'].map((name) => map(name).keys().length),
        ).toEqual(before);
        for (const table of driver.tables)
          expect([...(await restarted().dump(table)).keys()], table).not.toContain(row.key);
        // Room: everything that may be in its way goes.
        for (const gone of [frontend(FRONT, WEB), range(FRONT, '10.0.0.0/8'), set(WEB, []), backend(C)])
          await remove(driver, gone);
        const needed = row.table === 'bpf.frontends' ? [set(WEB, [A]), row] : [row];
        expect((await put(driver, ...needed)).filter(Boolean)).toEqual(
          row.key === 'demo/b:/IPv4' && 'affinity_matches' in capacities
            ? [expect.objectContaining({ errno: 'E2BIG' })]
            : [],
        );
      }),
  );

  test('who is connected to a backend that went is told', () =>
    within({}, async ({ driver, gone }) => {
      await put(driver, ...[A, C].map(backend));
      await remove(driver, backend(C));
      await remove(driver, backend(C));
      expect(gone).toEqual([[parseServiceKey(C)]]);
    }));

  test('a set of 5,000 backends goes in, changes by one, and goes', () =>
    within({}, async ({ driver, writes, map }) => {
      const all = names(5_000).sort();
      await put(driver, ...all.map(backend), set(WEB, all, { affinityTimeout: 60 }));
      expect(map('backend_slots').keys()).toHaveLength(5_000);
      writes();
      await put(driver, set(WEB, all.slice(1), { affinityTimeout: 60 }));
      expect(writes()).toEqual({ backend_slots: 2, backend_sets: 1, affinity_matches: 1 });
      await remove(driver, set(WEB, []));
      expect(map('backend_slots').keys()).toHaveLength(0);
      expect(map('affinity_matches').keys()).toHaveLength(0);
      expect(map('service_names').keys()).toHaveLength(0);
    }));
});
