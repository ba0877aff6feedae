/**
 * What policy costs a packet: nanoseconds by test run over the same packet without policy, with 10 and 10,000 entries in the map.
 *
 * - established: checked before, at this revision; nothing is looked up.
 * - hit, L3 only, deny: looked up for each packet, as after a change of policy; the last also makes two events.
 * - new: the first packet of a connection, with a hit; conntrack entry and event are made.
 * - two look-ups: what the map type itself takes for a check, in a program of its own, same entries.
 */
import { join } from 'node:path';
import { ip as packet, udp } from '../../bpf/test/packet.ts';
import type { Op } from '../../datapath/driver.ts';
import { PolicyDriver } from '../../datapath/drivers/policy.ts';
import { type BpfProgram, ifNameToIndex, isErrno, openObject, skbContext, withNetns } from '../../native/index.ts';
import { type PolicyEntryRow, policyEntryKey } from '../../state/tables.ts';
import { attachDatapath, type Datapath, putRow, type WiredNode, wireNode } from '../wired-node.ts';

const hopsMax = 200;
const samples = 400;
const newFlows = 20_000;
const endpointId = 1;
const PORT = 53;
const enforceEgress = 2;

export type Case = 'none' | 'established' | 'hit' | 'L3 only' | 'deny' | 'new';
export const cases: readonly Case[] = ['established', 'hit', 'L3 only', 'deny', 'new'];

export interface PacketCosts {
  entries: number;
  /** ns over a program that does nothing. */
  lookups: number;
  /** ns over the same packet without policy. */
  over: Record<Exclude<Case, 'none'>, number>;
}

export async function measurePackets(sizes: readonly number[]): Promise<PacketCosts[]> {
  const node = wireNode(`axb-${process.pid}-policy-`, 2);
  const datapath = attachDatapath(node, join(import.meta.dirname, '../../bpf/build/datapath.o'));
  const bare = openObject(join(import.meta.dirname, 'build/lookup.o'));
  const floor = openObject(join(import.meta.dirname, 'build/floor.o'));
  try {
    bare.load();
    floor.load();
    const costs: PacketCosts[] = [];
    for (const entries of sizes) {
      const lookups = bareLookups(bare, floor.program('empty'), node, entries);
      costs.push({ entries, lookups, over: await overNone(datapath, node, entries) });
    }
    return costs;
  } finally {
    floor.close();
    bare.close();
    datapath.close();
    node.remove();
  }
}

async function overNone(datapath: Datapath, node: WiredNode, count: number): Promise<PacketCosts['over']> {
  const { object } = datapath;
  const driver = new PolicyDriver({
    policy: object.map('policy'),
    revision: object.map('policy_revision'),
    btf: object.btf(),
  });
  const [a, b] = node.pods;
  if (!a || !b) throw new Error('two pods were asked for');
  const run = runner(object.program('from_endpoint'), node, a.link, { from: a.ipv4, to: b.ipv4 });
  const peer = 1001;
  const put = (table: Op['table'], key: string, value: unknown): Op => ({
    table,
    action: value === undefined ? 'delete' : 'put',
    key,
    value,
    before: undefined,
    revision: 1,
    owners: [],
  });
  const entry = (deny: boolean): PolicyEntryRow => ({ deny, precedence: deny ? 255 : 1, cookie: 1, origins: [] });
  const own = (protocol: string, port: string): string => policyEntryKey(endpointId, 'egress', peer, protocol, port);
  await driver.apply([put('bpf.policy-maps', String(endpointId), { entriesMax: 16_384 })]);
  const others = Array.from({ length: count - 1 }, (_, i) =>
    policyEntryKey(endpointId, 'egress', 300 + i + (i >= 700 ? 5_000 : 0), 'UDP', String(PORT)),
  );
  await driver.apply(others.map((key) => put('bpf.policy', key, entry(false))));
  const endpoint = (flags: number, policyRevision: number): void => {
    const { link, mac, hostMac } = a;
    putRow(object, node.netns, 'endpoints', a.ipv4, {
      link,
      identity: 1000,
      id: endpointId,
      flags,
      policyRevision,
      mac,
      hostMac,
    });
  };
  const clear = (): void => {
    const conntrack = object.map('conntrack');
    for (const key of conntrack.keys()) conntrack.delete(key);
  };
  const many = (): number => {
    run(1, 1);
    return median(Array.from({ length: samples }, () => run(1, hopsMax)));
  };
  const fresh = (): number => {
    clear();
    return median(Array.from({ length: newFlows }, (_, i) => run(2 + i, 1)));
  };
  const measured = async (
    key: string | undefined,
    deny: boolean,
    revision: number,
    measure: () => number,
  ): Promise<number> => {
    if (key) await driver.apply([put('bpf.policy', key, entry(deny))]);
    endpoint(enforceEgress, revision);
    clear();
    const cost = measure();
    if (key) await driver.apply([put('bpf.policy', key, undefined)]);
    return cost;
  };
  endpoint(0, 1);
  clear();
  const none = many();
  fresh();
  const noneFresh = fresh();
  const hit = own('UDP', String(PORT));
  const over = {
    established: (await measured(hit, false, 1, many)) - none,
    hit: (await measured(hit, false, 0, many)) - none,
    'L3 only': (await measured(own('ANY', '*'), false, 0, many)) - none,
    deny: (await measured(hit, true, 0, many)) - none,
    new: (await measured(hit, false, 1, fresh)) - noneFresh,
  };
  await driver.apply([put('bpf.policy-maps', String(endpointId), undefined)]);
  return over;
}

function bareLookups(bare: ReturnType<typeof openObject>, empty: BpfProgram, node: WiredNode, count: number): number {
  const map = bare.map('entries');
  for (const key of map.keys()) map.delete(key);
  for (let i = 0; i < count; i++) {
    const key = Buffer.alloc(12);
    key.writeUInt32LE(64, 0);
    key.writeUInt32LE(i === 0 ? 0 : 300 + i + (i >= 700 ? 5_000 : 0), 4);
    key.writeUInt8(1, 8);
    key.writeUInt8(17, 9);
    key.writeUInt16BE(PORT, 10);
    map.put(key, Buffer.alloc(12));
  }
  const [a, b] = node.pods;
  if (!a || !b) throw new Error('two pods were asked for');
  const ends = { from: a.ipv4, to: b.ipv4 };
  const cost = (program: BpfProgram): number => {
    const run = runner(program, node, a.link, ends);
    return median(Array.from({ length: samples }, () => run(1, hopsMax)));
  };
  return cost(bare.program('two_lookups')) - cost(empty);
}

type Run = (index: number, repeat: number) => number;

function runner(program: BpfProgram, node: WiredNode, link: string, { from, to }: { from: string; to: string }): Run {
  const ifindex = withNetns(node.netns, () => ifNameToIndex(link));
  const ctx = skbContext({ ifindex, ingressIfindex: ifindex, mark: 301 });
  const run: Run = (index, repeat) => {
    const data = packet(
      { from, to, ttl: 255, ethDest: '02:00:00:00:02:00' },
      udp(1024 + (index % 60_000), PORT, Buffer.alloc(22)),
    );
    try {
      return withNetns(node.netns, () => program.testRun({ data, ctx, repeat }).durationNs);
    } catch (error) {
      // The kernel gives up a test run for any signal of the process.
      if (isErrno(error, 'EINTR')) return run(index, repeat);
      throw error;
    }
  };
  return run;
}

function median(values: readonly number[]): number {
  return values.toSorted((x, y) => x - y)[values.length >> 1] ?? Number.NaN;
}
