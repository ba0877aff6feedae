/** The sweep: what is over goes, what may live stays, and the event loop gets its turns. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type BpfMap, type Btf, btfOfObject, createMap } from '../native/index.ts';
import { type Codec, Codecs, encode, type Fields } from './codec.ts';
import { ConntrackGc, nextInterval } from './conntrack-gc.ts';
import { objectPath } from './loader.ts';

const NOW_S = 100_000;
const [TCP, UDP] = [6, 17];
const [INGRESS, EGRESS] = [0, 1];
const [POD, NODE, REMOTE] = ['10.0.0.5', '192.0.2.1', '198.51.100.7'];

type Learnt = 'conntrack' | 'nat' | 'service_flows';
let btf: Btf;
let conntrack: BpfMap;
let nat: BpfMap;
let serviceFlows: BpfMap;
let codecs: Record<Learnt, { key: Codec; value: Codec }>;

beforeAll(() => {
  btf = btfOfObject(objectPath('datapath'));
  const map = (name: Learnt) => new Codecs(btf).map(name);
  codecs = { conntrack: map('conntrack'), nat: map('nat'), service_flows: map('service_flows') };
});

const small = (name: Learnt, maxEntries: number): BpfMap => {
  const { key, value } = codecs[name];
  return createMap({ type: 'lru_hash', name, keySize: key.size, valueSize: value.size, maxEntries });
};
beforeEach(() => {
  conntrack?.close();
  nat?.close();
  serviceFlows?.close();
  conntrack = small('conntrack', 4096);
  nat = small('nat', 4096);
  serviceFlows = small('service_flows', 4096);
});
afterAll(() => {
  conntrack.close();
  nat.close();
  serviceFlows.close();
});

const gcOf = (): ConntrackGc =>
  new ConntrackGc({
    conntrack,
    nat,
    serviceFlows,
    btf,
    nowS: () => NOW_S,
    timeoutTcpEstablishedS: 8000,
    timeoutAnyS: 60,
    natPorts: 10,
    onError: (error) => {
      throw error;
    },
  });

/** The ends as `ct_key_of` orders them: of these, the later in host order of the last 8 bytes is `b`. */
function putConnection(a: string, portA: number, b: string, portB: number, expires: number, proto = TCP): void {
  const value: Fields = { expires, created: 1, flags: 0, tcpFlags: [0, 0], srcIdentity: 0, dstIdentity: 0 };
  Object.assign(value, { policyRevision: [0, 0], lastReport: [0, 0], backendId: 0, revNat: 0, proxyPort: 0 });
  conntrack.put(encode(codecs.conntrack.key, { a, b, portA, portB, proto }), encode(codecs.conntrack.value, value));
}

interface FlowOptions {
  inside?: string;
  usedS: number;
  halves?: 'both' | 'egress' | 'ingress';
  proto?: number;
}

function putFlow(port: number, { inside = POD, usedS, halves = 'both', proto = TCP }: FlowOptions): void {
  const natPort = port + 20_000;
  const used = { created: NOW_S - 50_000, verified: NOW_S - usedS };
  if (halves !== 'ingress') {
    const key = { saddr: inside, daddr: REMOTE, sport: port, dport: 443, proto, direction: EGRESS };
    nat.put(encode(codecs.nat.key, key), encode(codecs.nat.value, { addr: NODE, port: natPort, ...used }));
  }
  if (halves !== 'egress') {
    const key = { saddr: REMOTE, daddr: NODE, sport: 443, dport: natPort, proto, direction: INGRESS };
    // The claim is written once and not again while the flow is used.
    const value = { addr: inside, port, created: NOW_S - 50_000, verified: NOW_S - 50_000 };
    nat.put(encode(codecs.nat.key, key), encode(codecs.nat.value, value));
  }
}

const connections = (): unknown[] =>
  conntrack
    .keys()
    .map((key) => (codecs.conntrack.key.read(key, 0) as Fields)['portA'])
    .sort();
/** Inner ports of what is left, with the direction. */
const flows = (): string[] =>
  nat
    .entries()
    .map(([key, value]) => {
      const [k, v] = [codecs.nat.key.read(key, 0) as Fields, codecs.nat.value.read(value, 0) as Fields];
      return k['direction'] === EGRESS ? `egress ${k['sport']}` : `ingress ${v['port']}`;
    })
    .sort();

/** 10.0.0.5 and 198.51.100.7 as little-endian words: 198.51.100.7 is 0x076433c6, 10.0.0.5 is 0x0500000a. */
const putPodConnection = (port: number, expires: number, proto = TCP): void =>
  putConnection(POD, port, REMOTE, 443, expires, proto);

describe('sweep', () => {
  test('connections past their time go, the others stay', async () => {
    putPodConnection(1, NOW_S - 1);
    putPodConnection(2, NOW_S);
    putPodConnection(3, NOW_S + 1);
    const counters = await gcOf().sweep();
    expect(connections()).toEqual([3]);
    expect(counters).toMatchObject({ sweeps: 1, conntrackDeleted: 2, conntrackEntries: 1, natDeleted: 0 });
  });

  test('both halves of a flow go with its connection, after a while without use', async () => {
    putFlow(1, { usedS: 1000 });
    putPodConnection(1, NOW_S + 5);
    putFlow(2, { usedS: 1000 });
    putPodConnection(2, NOW_S - 5);
    putFlow(3, { usedS: 1000 });
    putFlow(4, { usedS: 30 });
    await gcOf().sweep();
    expect(flows()).toEqual(['egress 1', 'egress 4', 'ingress 1', 'ingress 4']);
  });

  test('of flows that stay, those to the remote end that has most are told as a share of all ports', async () => {
    const gc = gcOf();
    for (const port of [1, 2, 3]) putFlow(port, { usedS: 30 });
    putFlow(4, { usedS: 30, proto: UDP });
    putFlow(5, { usedS: 1000 });
    expect((await gc.sweep()).natSaturation).toEqual({ ipv4: 0.3, ipv6: 0 });
    const ipv6 = { saddr: 'fd01::9', daddr: 'fd00::5', sport: 443, proto: UDP, direction: INGRESS };
    const value = { addr: 'fd00:1::5', port: 1, created: NOW_S - 1, verified: NOW_S - 1 };
    for (const dport of [1, 2, 3, 4])
      nat.put(encode(codecs.nat.key, { ...ipv6, dport }), encode(codecs.nat.value, value));
    expect((await gc.sweep()).natSaturation).toEqual({ ipv4: 0.3, ipv6: 0.4 });
  });

  test('a claim alone goes when nothing needs it', async () => {
    putFlow(1, { usedS: 1000, halves: 'ingress' });
    putFlow(2, { usedS: 1000, halves: 'ingress' });
    putPodConnection(2, NOW_S + 5);
    putFlow(3, { usedS: 1000, halves: 'egress' });
    await gcOf().sweep();
    expect(flows()).toEqual(['ingress 2']);
  });

  test('flows of the node, which conntrack does not know, go by age', async () => {
    putFlow(1, { inside: NODE, usedS: 7000 });
    putFlow(2, { inside: NODE, usedS: 9000 });
    putFlow(3, { inside: NODE, usedS: 50, proto: UDP });
    putFlow(4, { inside: NODE, usedS: 70, proto: UDP });
    await gcOf().sweep();
    expect(flows()).toEqual(['egress 1', 'egress 3', 'ingress 1', 'ingress 3']);
  });

  test('IPv6 flows find their connection, whichever end comes first', async () => {
    for (const [port, inside, remote] of [
      [1, 'fd00::5', 'fd01::9'],
      [2, 'fd01::9', 'fd00::5'],
    ] as const) {
      const key = { saddr: inside, daddr: remote, sport: port, dport: 443, proto: UDP, direction: EGRESS };
      const value = { addr: 'fd00::1', port, created: 1, verified: 1 };
      nat.put(encode(codecs.nat.key, key), encode(codecs.nat.value, value));
    }
    // Equal up to the last byte, and ::5 is before ::9 in both.
    putConnection('fd00::5', 1, 'fd01::9', 443, NOW_S + 5, UDP);
    putConnection('fd00::5', 443, 'fd01::9', 2, NOW_S + 5, UDP);
    await gcOf().sweep();
    expect(flows()).toEqual(['egress 1', 'egress 2']);
  });

  test('a hundred thousand connections are swept with turns of the event loop between', async () => {
    conntrack.close();
    conntrack = small('conntrack', 200_000);
    const { key, value } = codecs.conntrack;
    const count = 100_000;
    const keys = Buffer.alloc(count * key.size);
    const values = Buffer.alloc(count * value.size);
    const dead = encode(value, {
      expires: 1,
      created: 1,
      flags: 0,
      tcpFlags: [0, 0],
      srcIdentity: 0,
      dstIdentity: 0,
      policyRevision: [0, 0],
      lastReport: [0, 0],
      backendId: 0,
      revNat: 0,
      proxyPort: 0,
    });
    for (let i = 0; i < count; i++) {
      keys.writeUInt32LE(i, i * key.size);
      dead.copy(values, i * value.size);
    }
    conntrack.putBatch(keys, values, count);
    let turns = 0;
    const ticking = setInterval(() => turns++, 1);
    const counters = await gcOf().sweep();
    clearInterval(ticking);
    // An LRU map spreads its room over CPUs and may have let a few go.
    expect(counters.conntrackDeleted).toBeGreaterThan(count * 0.9);
    expect(counters.conntrackEntries).toBe(0);
    expect(turns).toBeGreaterThan(3);
    // The mean and not the longest: a busy machine takes a turn of its own now and then.
    expect((counters.lastSweepMs * 2048) / count).toBeLessThan(50);
  });

  test('it starts, sweeps by itself and stops', async () => {
    putPodConnection(1, NOW_S - 1);
    const gc = new ConntrackGc({
      conntrack,
      nat,
      serviceFlows,
      btf,
      nowS: () => NOW_S,
      timeoutTcpEstablishedS: 8000,
      timeoutAnyS: 60,
      natPorts: 10,
      onError: () => {},
      intervalMs: { min: 5, start: 5, max: 20 },
    });
    gc.start();
    for (let tries = 0; tries < 200 && gc.counters.sweeps < 2; tries++)
      await new Promise((resolve) => setTimeout(resolve, 5));
    await gc.stop();
    const { sweeps } = gc.counters;
    expect(sweeps).toBeGreaterThanOrEqual(2);
    expect(connections()).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 60));
    expect(gc.counters.sweeps).toBe(sweeps);
  });
});

describe('flows of services', () => {
  const [FORWARD, REPLY, HAIRPIN] = [0, 1, 1];
  const [VIP, BACKEND, LOOPBACK] = ['10.96.0.10', '10.0.0.9', '169.254.42.1'];
  const silent = (usedS: number) => ({ backendId: 1, frontendId: 1, created: NOW_S - 50_000, verified: NOW_S - usedS });
  const put = (key: Fields, value: Fields): void => {
    const { key: keyCodec, value: valueCodec } = codecs.service_flows;
    serviceFlows.put(encode(keyCodec, { proto: TCP, ...key }), encode(valueCodec, { flags: 0, ...value }));
  };
  /** Both halves, as the programs make them; the reply one is written once. */
  const putService = (port: number, usedS: number, { hairpin = false } = {}): void => {
    const client = hairpin ? BACKEND : POD;
    const flags = hairpin ? HAIRPIN : 0;
    put(
      { saddr: client, daddr: VIP, sport: port, dport: 80, direction: FORWARD },
      { addr: BACKEND, port: 8080, flags, ...silent(usedS) },
    );
    put(
      { saddr: BACKEND, daddr: hairpin ? LOOPBACK : POD, sport: 8080, dport: port, direction: REPLY },
      { addr: VIP, port: 80, flags, ...silent(50_000) },
    );
  };
  const left = () => serviceFlows.keys().length;

  test('without a connection, and silent for long: both halves go', async () => {
    putService(1, 100);
    expect(await gcOf().sweep()).toMatchObject({ serviceFlowsDeleted: 2, serviceFlowEntries: 0 });
    expect(left()).toBe(0);
  });

  test('with a connection both stay, however old; without one while the client was heard of', async () => {
    putService(1, 40_000);
    putConnection(POD, 1, BACKEND, 8080, NOW_S + 10);
    putService(2, 10);
    await gcOf().sweep();
    expect(left()).toBe(4);
  });

  test('a pod that reaches itself is known by its loopback', async () => {
    putService(1, 40_000, { hairpin: true });
    putConnection(LOOPBACK, 1, BACKEND, 8080, NOW_S + 10);
    putService(2, 40_000, { hairpin: true });
    await gcOf().sweep();
    expect(left()).toBe(2);
  });
});

describe('interval', () => {
  const limits = { min: 10_000, start: 300_000, max: 43_200_000 };
  test.each([
    ['much garbage', { seen: 1000, deleted: 600, capacity: 10_000 }, 150_000],
    ['a map filling up', { seen: 9000, deleted: 0, capacity: 10_000 }, 150_000],
    ['a little garbage', { seen: 1000, deleted: 100, capacity: 10_000 }, 300_000],
    ['nothing to do', { seen: 1000, deleted: 0, capacity: 10_000 }, 450_000],
    ['two entries of a large map', { seen: 2, deleted: 2, capacity: 262_144 }, 450_000],
  ])('%s', (_, map, expected) => {
    expect(nextInterval(300_000, limits, [map])).toBe(expected);
  });

  test('it stays within its limits', () => {
    let interval = limits.start;
    for (let i = 0; i < 20; i++) interval = nextInterval(interval, limits, [{ seen: 10, deleted: 10, capacity: 10 }]);
    expect(interval).toBe(limits.min);
    for (let i = 0; i < 40; i++) interval = nextInterval(interval, limits, [{ seen: 0, deleted: 0, capacity: 10 }]);
    expect(interval).toBe(limits.max);
  });
});
