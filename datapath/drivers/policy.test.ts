/** The driver of policy maps keeps the laws; what is taken away is checked again; a full map keeps what it has; restarts find all. */
import { describe, expect, test } from 'vitest';
import { driverLaws, type SampleRow } from '../../reconcilers/driver-laws.ts';
import type { Op } from '../driver.ts';
import { loadDatapath } from '../loader.ts';
import { parsePolicyKey, policyKeyText } from '../policy-key.ts';
import { testPins } from '../testdata/pins.ts';
import { smallObject } from '../testdata/small-object.ts';
import { PolicyDriver } from './policy.ts';

const HZ = 250;

function world() {
  const pins = testPins();
  const loaded = loadDatapath(pins.config, HZ, smallObject());
  const map = (name: string) => loaded.maps.get(name) ?? expect.fail(`no map ${name}`);
  const open = () => new PolicyDriver({ policy: map('policy'), revision: map('policy_revision'), btf: loaded.btf });
  const dispose = () => {
    loaded.close();
    pins.dispose();
  };
  const revision = () => map('policy_revision').get(Buffer.alloc(4))?.readUInt32LE(0);
  return { driver: open(), open, revision, dispose };
}

const maps = (id: number, entriesMax = 100): SampleRow => ({
  table: 'bpf.policy-maps',
  key: String(id),
  value: { entriesMax },
});
const entry = (key: string, deny = false, changed?: object): SampleRow => {
  const value = { deny, precedence: deny ? 255 : 1, cookie: 0xdeadbeef, origins: ['NetworkPolicy/shop/web'] };
  return { table: 'bpf.policy', key, value, ...(changed && { changed: { ...value, ...changed } }) };
};
const opOf = (action: Op['action'], { table, key, value }: SampleRow, before?: unknown): Op => ({
  table,
  action,
  key,
  value: action === 'put' ? value : undefined,
  before,
  revision: 1,
  owners: [],
});

driverLaws('policy', () => {
  const { driver, dispose } = world();
  return {
    driver,
    samples: [
      { ...maps(7), changed: { entriesMax: 200 } },
      maps(65_536),
      entry('7|ingress|0|ANY|*', true, { deny: false, precedence: 1 }),
      entry('7|egress|16777217|TCP|8000/13', false, { cookie: 5 }),
      entry('7|egress|4711|UDP|53'),
      entry('65536|ingress|1|TCP|*'),
      entry('65536|ingress|1|ICMPv6|128'),
      entry('65536|ingress|1|SCTP|32768/1'),
    ],
    impossible: [
      maps(8, 0),
      { ...maps(9), key: 'nine' },
      entry('99|ingress|0|ANY|*'),
      entry('7|sideways|0|ANY|*'),
      entry('7|ingress|0|ANY|80'),
      entry('7|ingress|0|TCP|8001/13'),
      entry('7|ingress|0|TCP|80/16'),
      entry('7|ingress|0|TCP|65536'),
      entry('7|ingress|4294967296|TCP|80'),
      entry('7|ingress|0|256|80'),
      { ...entry('7|ingress|3|TCP|80'), value: { deny: false, precedence: -1, cookie: 1, origins: [] } },
    ],
    dispose,
  };
});

describe('policy driver', () => {
  test('what is taken away raises the revision once an apply, what is only added does not', async () => {
    const { driver, revision, dispose } = world();
    try {
      await driver.apply([opOf('put', maps(7))]);
      const allow = entry('7|ingress|4711|TCP|80');
      await driver.apply([opOf('put', allow)]);
      expect(revision()).toBe(0);
      await driver.apply([
        opOf('put', entry('7|ingress|4711|TCP|81', true)),
        opOf('put', entry('7|ingress|1|ANY|*', true)),
      ]);
      expect(revision()).toBe(1);
      await driver.apply([opOf('put', allow, allow.value)]);
      expect(revision()).toBe(2);
      await driver.apply([opOf('delete', allow, allow.value)]);
      expect(revision()).toBe(3);
      await driver.apply([opOf('delete', maps(7))]);
      expect(revision()).toBe(4);
    } finally {
      dispose();
    }
  });

  test('a full map names endpoint, capacity and entry, and keeps what it has', async () => {
    const { driver, dispose } = world();
    try {
      await driver.apply([opOf('put', maps(7, 2))]);
      const rows = [80, 81, 82].map((port) => entry(`7|ingress|4711|TCP|${port}`));
      const results = await driver.apply(rows.map((row) => opOf('put', row)));
      expect(results.slice(0, 2)).toEqual([undefined, undefined]);
      expect(results[2]).toMatchObject({ kind: 'kernel', errno: 'ENOSPC', retryable: false });
      expect(results[2]?.message).toBe(
        'put bpf.policy 7|ingress|4711|TCP|82: the policy map of endpoint 7 is full: its capacity is 2 entries, and this entry does not fit',
      );
      expect((await driver.dump('bpf.policy', new Map())).size).toBe(2);
      const [smaller] = await driver.apply([opOf('put', maps(7, 1))]);
      expect(smaller).toMatchObject({ errno: 'ENOSPC', retryable: false });
      expect((await driver.dump('bpf.policy', new Map())).size).toBe(2);
      expect(await driver.apply([opOf('put', maps(7, 3))])).toEqual([undefined]);
      expect(await driver.apply(rows.map((row) => opOf('put', row)))).toEqual([undefined, undefined, undefined]);
    } finally {
      dispose();
    }
  });

  test('allowances do not go where a denial did not', async () => {
    const { driver, dispose } = world();
    try {
      await driver.apply([opOf('put', maps(7, 1)), opOf('put', maps(8, 1))]);
      await driver.apply([opOf('put', entry('7|ingress|1|ANY|*'))]);
      const rows = [entry('7|ingress|300|TCP|80', true), entry('7|ingress|1|ANY|*', false), entry('8|ingress|1|ANY|*')];
      const results = await driver.apply(rows.map((row) => opOf('put', row)));
      expect(results.map((result) => result?.errno)).toEqual(['ENOSPC', 'ECANCELED', undefined]);
    } finally {
      dispose();
    }
  });

  test('a driver that starts anew finds all entries; what a cookie stands for it learns from the rows believed to be there', async () => {
    const { driver, open, dispose } = world();
    try {
      await driver.apply([opOf('put', maps(7)), opOf('put', maps(8))]);
      const unknown = {
        ...entry('8|egress|0|ANY|*'),
        value: { deny: true, precedence: 255, cookie: 77, origins: ['x'] },
      };
      const rows = [entry('7|ingress|4711|TCP|80'), unknown];
      await driver.apply(rows.map((row) => opOf('put', row)));
      const again = open();
      expect([...(await again.dump('bpf.policy-maps', new Map())).keys()].sort()).toEqual(['7', '8']);
      const [first] = rows;
      const found = await again.dump('bpf.policy', new Map([[first?.key ?? '', first?.value]]));
      expect(found.get('7|ingress|4711|TCP|80')).toEqual(first?.value);
      expect(found.get('8|egress|0|ANY|*')).toMatchObject({ cookie: 77, origins: [] });
    } finally {
      dispose();
    }
  });

  test('ten thousand entries of three endpoints go in and out', async () => {
    const { driver, dispose } = world();
    try {
      await driver.apply([1, 2, 3].map((id) => opOf('put', maps(id, 4000))));
      const rows = Array.from({ length: 9_999 }, (_, i) => entry(`${1 + (i % 3)}|ingress|${300 + i}|TCP|80`));
      expect((await driver.apply(rows.map((row) => opOf('put', row)))).filter(Boolean)).toEqual([]);
      expect((await driver.dump('bpf.policy', new Map())).size).toBe(9_999);
      expect((await driver.apply(rows.map((row) => opOf('delete', row)))).filter(Boolean)).toEqual([]);
      expect((await driver.dump('bpf.policy', new Map())).size).toBe(0);
    } finally {
      dispose();
    }
  });
});

test.each([
  ['7|ingress|0|ANY|*', { protocol: 0, port: 0, portBits: 0 }],
  ['7|egress|300|TCP|*', { protocol: 6, port: 0, portBits: 0 }],
  ['7|egress|300|TCP|0', { protocol: 6, port: 0, portBits: 16 }],
  ['7|egress|300|ICMP|8', { protocol: 1, port: 8, portBits: 16 }],
  ['7|egress|300|UDP|8000/13', { protocol: 17, port: 8000, portBits: 13 }],
  ['7|egress|300|89|*', { protocol: 89, port: 0, portBits: 0 }],
])('key %s', (key, place) => {
  expect(parsePolicyKey(key)).toMatchObject(place);
  expect(policyKeyText(parsePolicyKey(key))).toBe(key);
});
