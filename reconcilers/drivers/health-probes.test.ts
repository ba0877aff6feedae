/** Probes of other nodes: the laws, and when they are asked and told. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import type { Op } from '../../datapath/driver.ts';
import type { Asked } from '../../datapath/health-ask.ts';
import { type HealthProbeRow, healthProbeKey } from '../../state/tables.ts';
import { driverLaws, type SampleRow } from '../driver-laws.ts';
import { HealthProbesDriver } from './health-probes.ts';

const probe = (over: Partial<HealthProbeRow> = {}): SampleRow & { value: HealthProbeRow } => {
  const value: HealthProbeRow = {
    ...{ node: 'node-2', target: 'node', protocol: 'TCP', address: '192.0.2.2', port: 4240 },
    ...{ intervalMs: 60_000, offsetMs: 30_000 },
    ...over,
  };
  return { table: 'health.probes', key: healthProbeKey(value), value };
};
const opOf = (action: 'put' | 'delete', { table, key, value }: SampleRow): Op => ({
  ...{ table, action, key, value, before: undefined, revision: 1, owners: [] },
});

driverLaws('health probes', () => {
  const driver = new HealthProbesDriver({ now: Date.now, tell: () => {} });
  const [first, second] = [probe(), probe({ protocol: 'ICMP', port: 0 })];
  return {
    driver,
    samples: [{ ...first, changed: { ...first.value, intervalMs: 5_000 } }, second],
    impossible: [probe({ port: 0, address: '192.0.2.3' }), probe({ intervalMs: 0, address: '192.0.2.4' })],
    dispose: () => driver.close(),
  };
});

describe('health probes', () => {
  interface Told {
    node: string;
    results: { probe: string; error?: string }[];
  }
  /** Answers are set by address; time is the test's. */
  function world() {
    vi.useFakeTimers();
    const answers = new Map<string, Asked>();
    const asked: { address: string; at: number }[] = [];
    const told: Told[] = [];
    const answer = async (address: string): Promise<Asked> => {
      asked.push({ address, at: Date.now() });
      return answers.get(address) ?? { error: '', latencyMs: 1 };
    };
    const driver = new HealthProbesDriver({
      now: Date.now,
      tell: (node, results) => void told.push({ node, results }),
      ask: { echo: answer, hello: answer, close: () => {} },
    });
    return { driver, answers, asked, told };
  }
  afterEach(() => {
    vi.useRealTimers();
  });

  test('an address is asked at its offset and then once an interval', async () => {
    const { driver, asked } = world();
    const start = Date.now();
    driver.apply([opOf('put', probe())]);
    await vi.advanceTimersByTimeAsync(150_000);
    expect(asked.map(({ at }) => at - start)).toEqual([30_000, 90_000, 150_000]);
    driver.apply([opOf('delete', probe())]);
    await vi.advanceTimersByTimeAsync(150_000);
    expect(asked).toHaveLength(3);
  });

  test('an answer is told once, and again when it differs; those of a node go together', async () => {
    const { driver, answers, told } = world();
    const [tcp, icmp] = [probe(), probe({ protocol: 'ICMP', port: 0 })];
    driver.apply([opOf('put', tcp), opOf('put', icmp)]);
    await vi.advanceTimersByTimeAsync(200_000);
    expect(told).toEqual([{ node: 'node-2', results: [{ probe: tcp.key }, { probe: icmp.key }] }]);
    answers.set('192.0.2.2', { error: 'no reply in 5000 ms', latencyMs: 0 });
    await vi.advanceTimersByTimeAsync(200_000);
    expect(told).toHaveLength(2);
    expect(told[1]?.results).toEqual([tcp, icmp].map(({ key }) => ({ probe: key, error: 'no reply in 5000 ms' })));
    expect(driver.states()[0]).toMatchObject({ key: tcp.key, error: 'no reply in 5000 ms' });
  });

  test('1,000 nodes are asked evenly: no second has more than thrice its share', async () => {
    const { driver, asked } = world();
    const start = Date.now();
    const rows = Array.from({ length: 1_000 }, (_, i) =>
      probe({ node: `node-${i}`, address: `10.1.${i >> 8}.${i & 255}`, offsetMs: (i * 60_000) / 1_000 }),
    );
    driver.apply(rows.map((row) => opOf('put', row)));
    await vi.advanceTimersByTimeAsync(59_999);
    const perSecond = Map.groupBy(asked, ({ at }) => Math.floor((at - start) / 1_000));
    expect(asked).toHaveLength(1_000);
    expect(Math.max(...[...perSecond.values()].map((one) => one.length))).toBeLessThan((3 * 1_000) / 60);
  });

  test('what a probe that was taken away still hears is not told', async () => {
    const { driver, told } = world();
    driver.apply([opOf('put', probe({ offsetMs: 0 }))]);
    vi.advanceTimersByTime(1);
    driver.apply([opOf('delete', probe())]);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(told).toEqual([]);
  });
});
