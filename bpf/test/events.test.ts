// SPDX-License-Identifier: Apache-2.0
/** What user space is told: events with their contents, aggregation, counters, and a full ring. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { Bench, families, identities } from './harness.ts';
import { ip, tcp, tcpFlags, udp } from './packet.ts';

const { syn, ack, fin, psh } = tcpFlags;
const [v4] = families;
const drop = 1;
const trace = 2;

describe('events', () => {
  const bench = new Bench('events');
  afterAll(() => bench.close());
  beforeEach(() => bench.clear('conntrack'));

  for (const f of families) {
    test(`${f.name}: a drop tells reason, place, endpoint, device and the packet`, () => {
      const packet = ip({ from: f.b, to: f.a }, tcp(4000, 80, syn | ack));
      const [event] = bench.run('from_endpoint', 'lxca', packet).events;
      expect(event).toMatchObject({
        type: drop,
        subtype: 132,
        direction: 1,
        proto: 6,
        tcpFlags: syn | ack,
        ifindex: bench.ifindex('lxca'),
        lenOrig: packet.length,
        lenCap: packet.length,
        ctState: 255,
      });
      expect(event?.data.equals(packet)).toBe(true);
      const source = readFileSync(join(import.meta.dirname, '../datapath.bpf.c'), 'utf8').split('\n');
      expect(event?.sourceFile).toBe(1);
      expect(source[(event?.sourceLine ?? 0) - 1]).toContain('DROP_INVALID_SOURCE');
    });

    test(`${f.name}: of a long packet the first 128 bytes are captured`, () => {
      const packet = ip({ from: f.a, to: f.remote }, udp(4000, 53, Buffer.alloc(600, 0x63)));
      const [event] = bench.run('from_endpoint', 'lxca', packet).events;
      expect(event).toMatchObject({ lenOrig: packet.length, lenCap: 128 });
    });
  }

  test('time stamps are of the monotonic clock, flow hashes of the flow', () => {
    const before = process.hrtime.bigint();
    const packet = ip({ from: v4.stranger, to: v4.b }, udp(4000, 53));
    const events = [
      ...bench.run('from_endpoint', 'lxca', packet).events,
      ...bench.run('from_endpoint', 'lxca', packet).events,
    ];
    const after = process.hrtime.bigint();
    expect(events.every(({ timestamp }) => timestamp > before && timestamp < after)).toBe(true);
    expect(events[0]?.flowHash).not.toBe(0);
    expect(events[0]?.flowHash).toBe(events[1]?.flowHash);
  });

  test('traces of a connection: its first packet, new TCP flags of each direction, and then nothing', () => {
    const there = (flags: number) =>
      bench.run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, tcp(4000, 80, flags))).events.length;
    const back = (flags: number) =>
      bench.run('from_endpoint', 'lxcb', ip({ from: v4.b, to: v4.a }, tcp(80, 4000, flags))).events.length;
    expect([there(syn), back(syn | ack), there(ack), there(ack | psh), back(ack), back(ack)]).toEqual([
      1, 1, 0, 0, 0, 0,
    ]);
    expect([there(fin | ack), there(fin | ack), back(fin | ack), back(ack)]).toEqual([1, 0, 1, 0]);
  });

  test('traces of a connection: again after the interval', () => {
    const send = () => bench.run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, udp(4000, 53))).events.length;
    expect([send(), send()]).toEqual([1, 0]);
    const [
      {
        value: { created },
      } = { value: { created: 0 } },
    ] = bench.entries('conntrack');
    bench.patch('conntrack', { lastReport: [(Number(created) - 5) & 0xffff, 0] });
    expect([send(), send()]).toEqual([1, 0]);
  });

  test('counters: packets and bytes by reason and direction', () => {
    const metrics = () => [bench.metric(0, 'egress'), bench.metric(0, 'ingress'), bench.metric(132, 'egress')];
    const before = metrics();
    const good = ip({ from: v4.a, to: v4.b }, udp(4000, 53));
    const bad = ip({ from: v4.b, to: v4.b }, udp(4000, 53));
    for (const packet of [good, good, bad]) bench.run('from_endpoint', 'lxca', packet);
    expect(
      metrics().map(({ packets, bytes }, i) => [packets - (before[i]?.packets ?? 0), bytes - (before[i]?.bytes ?? 0)]),
    ).toEqual([
      [2, 2 * good.length],
      [2, 2 * good.length],
      [1, bad.length],
    ]);
  });
});

describe('aggregation', () => {
  const levels = ['none', 'low', 'medium', 'maximum', 'off'] as const;
  for (const [level, expected] of [
    [
      'none',
      [
        [5, 0],
        [5, 0],
      ],
    ],
    ['low', [[0], [0]]],
    ['medium', [[0], []]],
    ['maximum', [[0], []]],
    ['off', [[], []]],
  ] as const) {
    const bench = new Bench(`events-${level}`, { config: { traceAggregation: levels.indexOf(level) } });
    afterAll(() => bench.close());
    test(`${level}: points of two packets of one flow`, () => {
      const points = () =>
        bench
          .run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, udp(4000, 53)))
          .events.map(({ type, subtype }) => (type === trace ? subtype : -1));
      expect([points(), points()]).toEqual(expected);
    });

    for (const f of families)
      test(`${level}, ${f.name}: a masqueraded packet is told of once where it leaves, with both of its sources`, () => {
        bench.clear('conntrack', 'nat');
        const leave = (flags: number) => {
          const routed = bench.run('from_endpoint', 'lxca', ip({ from: f.a, to: f.world }, tcp(4000, 80, flags)));
          const { events, mark } = bench.run('to_netdev', 'eth0', routed.data, { mark: routed.mark });
          expect(mark).toBe(0);
          return [...routed.events, ...events].filter(({ subtype }) => subtype === 11);
        };
        if (level === 'off') {
          expect([leave(syn), leave(ack), leave(fin | ack)]).toEqual([[], [], []]);
          return;
        }
        expect(leave(syn)).toMatchObject([
          {
            origEnd: 1,
            origAddr: f.a,
            ctState: 0,
            srcIdentity: identities.a,
            dstIdentity: f.worldIdentity,
            endpointId: 1,
          },
        ]);
        const isAll = level === 'none' || level === 'low';
        expect(leave(ack)).toMatchObject(isAll ? [{ origEnd: 1, ctState: 1 }] : []);
        expect(leave(fin | ack)).toMatchObject([{ origEnd: 1, ctState: 1, dstIdentity: f.worldIdentity }]);
      });
  }

  test('flags: only those of the configuration bring a trace', () => {
    const bench = new Bench('events-flags', { config: { traceFlags: psh } });
    try {
      const sent = (flags: number) =>
        bench.run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, tcp(4000, 80, flags))).events.length;
      expect([sent(syn), sent(ack), sent(fin | ack), sent(psh | ack), sent(psh | ack)]).toEqual([1, 0, 0, 1, 0]);
    } finally {
      bench.close();
    }
  });

  test('interval: of the configuration', () => {
    const bench = new Bench('events-interval', { config: { traceInterval: 60 } });
    try {
      const send = () => bench.run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, udp(4000, 53))).events.length;
      const reportedAgo = (seconds: number): void => {
        const created = Number(bench.entries('conntrack')[0]?.value['created']);
        bench.patch('conntrack', { lastReport: [(created - seconds) & 0xffff, 0] });
      };
      expect(send()).toBe(1);
      reportedAgo(50);
      expect(send()).toBe(0);
      reportedAgo(61);
      expect([send(), send()]).toEqual([1, 0]);
    } finally {
      bench.close();
    }
  });

  test('the first answer is told of, whatever the clock says', () => {
    const bench = new Bench('events-answer');
    try {
      const [there, back] = [ip({ from: v4.a, to: v4.b }, udp(4000, 53)), ip({ from: v4.b, to: v4.a }, udp(53, 4000))];
      bench.run('from_endpoint', 'lxca', there);
      const created = Number(bench.entries('conntrack')[0]?.value['created']);
      bench.patch('conntrack', { lastReport: [created & 0xffff, created & 0xffff] });
      const answers = () => bench.run('from_endpoint', 'lxcb', back).events.length;
      expect([answers(), answers()]).toEqual([1, 0]);
    } finally {
      bench.close();
    }
  });
});

test('a full ring loses events, counts them, and no packet', () => {
  const bench = new Bench('events-full', { maxEntries: { events: 4096 } });
  try {
    const verdicts = new Set<string>();
    // Runs without reading: the ring holds some 19 events.
    for (let i = 0; i < 100; i++)
      verdicts.add(bench.runQuiet('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, udp(4000 + i, 53))));
    const { length } = bench.events();
    expect([...verdicts]).toEqual(['redirect']);
    expect(length).toBeGreaterThan(5);
    expect(bench.metric(255, 'egress').packets).toBe(100 - length);
    expect(bench.run('from_endpoint', 'lxca', ip({ from: v4.a, to: v4.b }, udp(9, 53))).events).toMatchObject([
      { srcIdentity: identities.a },
    ]);
  } finally {
    bench.close();
  }
});

test('every file that drops has a number of its own', () => {
  const folder = join(import.meta.dirname, '../lib');
  const texts = [...readdirSync(folder).map((name) => join(folder, name)), join(folder, '../datapath.bpf.c')].map(
    (path) => readFileSync(path, 'utf8'),
  );
  const users = texts.filter((text) => /[^#]\bDROP\(p, /.test(text.replace(/#define DROP.*\n.*\n/, '')));
  const numbers = users.map((text) => /^#define SOURCE_FILE (SOURCE_\w+)$/m.exec(text)?.[1]);
  expect(numbers.every((number) => number !== undefined)).toBe(true);
  expect(new Set(numbers).size).toBe(numbers.length);
});
