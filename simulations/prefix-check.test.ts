/** Plans are safe at every op, and a plan that is not is found out. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Op } from '../datapath/driver.ts';
import { plan } from '../reconcilers/plan.ts';
import { canonical, policyEntryKey } from '../state/tables.ts';
import { contains } from './packet-model/address.ts';
import { lookup, meaning } from './packet-model/policy.ts';
import { entryOf } from './packet-model/policy-entry.ts';
import { type AnyRow, ModelTables, type Packet, type Place } from './packet-model.ts';
import { checkPrefixes, type Flow } from './prefix-check.ts';

const POD = '10.0.0.2';
/** Pod identities and addresses; identity 0 stands for any peer. */
const pods = { '10.0.0.3': 1002, '10.0.1.2': 1003, '192.168.7.1': 1, '192.168.7.2': 6 };
/** Prefixes that policies name, and the identity that each has for good. */
const prefixes: Record<string, number> = {
  '198.51.0.0/16': 2 ** 24 + 1,
  '198.51.100.0/24': 2 ** 24 + 2,
  '198.51.100.5/32': 2 ** 24 + 3,
};
const outside = ['198.51.7.7', '198.51.100.9', '198.51.100.5', '203.0.113.9'];

interface Rule {
  direction: 'ingress' | 'egress';
  /** 0: any; an identity; or a prefix. */
  peer: number | string;
  port: readonly [protocol: string, port: string];
  deny: boolean;
}
const rule: fc.Arbitrary<Rule> = fc.record({
  direction: fc.constantFrom('ingress', 'egress'),
  peer: fc.constantFrom<number | string>(0, 0, 1, 1002, 1003, 6, ...Object.keys(prefixes)),
  port: fc.constantFrom(
    ...([
      ['ANY', '*'],
      ['TCP', '*'],
      ['TCP', '80'],
      ['TCP', '8000/13'],
      ['UDP', '53'],
      ['ICMP', '8'],
    ] as const),
  ),
  deny: fc.boolean(),
});

const namedBy = (rules: readonly Rule[]): string[] =>
  Object.keys(prefixes).filter((prefix) => rules.some(({ peer }) => peer === prefix));

/** What a policy machine would want for these rules, with identities for these prefixes: all that entries promise, and no more. */
function rowsOf(rules: readonly Rule[], named = namedBy(rules)): Map<string, AnyRow> {
  const rows = new Map<string, AnyRow>();
  const put = (row: AnyRow): void => void rows.set(`${row.table} ${row.key}`, row);
  for (const prefix of named) put({ table: 'bpf.ipcache', key: prefix, value: { identity: prefixes[prefix] } });
  for (const [address, identity] of Object.entries(pods))
    put({ table: 'bpf.ipcache', key: `${address}/32`, value: { identity } });
  put({ table: 'bpf.policy-maps', key: '1', value: { entriesMax: 16384 } });
  for (const { direction, peer, port, deny } of rules) {
    const identities =
      typeof peer === 'number'
        ? [peer]
        : named.filter((one) => isWithin(one, peer)).map((one) => prefixes[one] as number);
    for (const identity of identities) {
      const key = policyEntryKey(1, direction, identity, ...port);
      const isDenied = deny || (rows.get(`bpf.policy ${key}`)?.value as { deny: boolean } | undefined)?.deny === true;
      put({
        table: 'bpf.policy',
        key,
        value: { deny: isDenied, precedence: isDenied ? 255 : 1, cookie: 1, origins: [] },
      });
    }
  }
  dropCovered(rows);
  const enforces = (direction: string): boolean => rules.some((one) => one.direction === direction);
  const flags = (enforces('ingress') ? 1 : 0) + (enforces('egress') ? 2 : 0);
  put({ table: 'bpf.endpoints', key: POD, value: { link: 'lxca', identity: 1001, id: 1, flags, policyRevision: 0 } });
  put({ table: 'bpf.netdevs', key: 'eth0', value: {} });
  return rows;
}

const isWithin = (inner: string, outer: string): boolean =>
  contains(outer, inner.slice(0, inner.indexOf('/'))) && Number(inner.split('/')[1]) >= Number(outer.split('/')[1]);

/** A longest-prefix match must never find an allowance inside a denial of the same peer. */
function dropCovered(rows: Map<string, AnyRow>): void {
  const entries = [...rows.values()].filter(({ table }) => table === 'bpf.policy');
  for (const wide of entries) {
    for (const narrow of entries) {
      const [w, n] = [entryOf(wide.key, wide.value as never), entryOf(narrow.key, narrow.value as never)];
      const group = (key: string): string => key.split('|').slice(0, 3).join();
      if (group(wide.key) !== group(narrow.key) || w.length >= n.length || w.precedence <= n.precedence) continue;
      const free = Math.min(24 - w.length, 16);
      if (w.length === 0 || (w.proto === n.proto && w.port >> free === n.port >> free))
        rows.delete(`bpf.policy ${narrow.key}`);
    }
  }
}

function opsBetween(before: Map<string, AnyRow>, after: Map<string, AnyRow>): Op[] {
  const op = (row: AnyRow, action: Op['action'], old: unknown): Op => ({
    ...row,
    action,
    value: action === 'put' ? row.value : undefined,
    before: old,
    revision: 1,
    owners: ['test'],
  });
  const puts = [...after].flatMap(([name, row]) =>
    canonical(before.get(name)?.value) === canonical(row.value) ? [] : [op(row, 'put', before.get(name)?.value)],
  );
  const deletes = [...before].flatMap(([name, row]) => (after.has(name) ? [] : [op(row, 'delete', row.value)]));
  return [...puts, ...deletes];
}

function flows(): Flow[] {
  const found: Flow[] = [];
  const ports = [
    { proto: 6, dport: 80 },
    { proto: 6, dport: 81 },
    { proto: 6, dport: 8005 },
    { proto: 17, dport: 53 },
    { proto: 1, dport: 0, icmpType: 8, icmpCode: 0 },
  ];
  for (const peer of [...Object.keys(pods), ...outside]) {
    for (const port of ports) {
      const packet = (from: string, to: string): Packet => ({ from, to, sport: 4000, ttl: 64, tcpFlags: 2, ...port });
      const inward: Place =
        peer === '192.168.7.1' ? { program: 'to_endpoint', link: 'lxca' } : { program: 'from_netdev', link: 'eth0' };
      found.push({ place: { program: 'from_endpoint', link: 'lxca' }, packet: packet(POD, peer) });
      found.push({ place: inward, packet: packet(peer, POD) });
    }
  }
  return found;
}

describe('prefixes of plans', () => {
  const rules = fc.array(rule, { maxLength: 7 });

  it('the rules of this test have entries that mean what a policy map answers', () => {
    fc.assert(
      fc.property(rules, (some) => {
        const tables = new ModelTables(rowsOf(some).values());
        for (const identity of [0, 1, 6, 9, 1002, 1003, ...Object.values(prefixes)]) {
          for (const [proto, port] of [
            [6, 80],
            [6, 81],
            [6, 8005],
            [17, 53],
            [1, 8],
          ] as const) {
            for (const direction of ['ingress', 'egress'] as const) {
              const question = { endpoint: 1, direction, identity, proto, port };
              expect(lookup(tables, question, true).reason).toBe(meaning(tables, question, true).reason);
            }
          }
        }
      }),
      { numRuns: 200 },
    );
  });

  const change = fc
    .tuple(rules, fc.array(fc.nat(6), { maxLength: 2 }), fc.array(rule, { maxLength: 2 }))
    .map(([before, without, added]) => [before, [...before.filter((_, i) => !without.includes(i)), ...added]] as const);
  const violations = (before: Map<string, AnyRow>, after: Map<string, AnyRow>): string[] =>
    checkPrefixes(before.values(), plan(opsBetween(before, after)), flows());

  it('are safe when policy changes over the same identities, and when identities come and go under the same policy', () => {
    fc.assert(
      fc.property(change, ([before, after]) => {
        const all = [...new Set([...namedBy(before), ...namedBy(after)])];
        expect(violations(rowsOf(before), rowsOf(before, all))).toEqual([]);
        expect(violations(rowsOf(before, all), rowsOf(after, all))).toEqual([]);
        expect(violations(rowsOf(after, all), rowsOf(after))).toEqual([]);
      }),
      { numRuns: 150 },
    );
  });

  it('are not when both change in one plan, whatever its order: the checker finds it', () => {
    const allowAll: Rule = { direction: 'egress', peer: 0, port: ['ANY', '*'], deny: false };
    const denyOne: Rule = { direction: 'egress', peer: '198.51.100.5/32', port: ['ANY', '*'], deny: true };
    const allowDns: Rule = { direction: 'egress', peer: 0, port: ['UDP', '53'], deny: false };
    const found = violations(rowsOf([allowAll, denyOne]), rowsOf([allowDns]));
    expect(found.map((line) => line.split(':')[0])).toContain('leakless');
    expect(violations(rowsOf([allowDns]), rowsOf([allowAll, denyOne]))).not.toEqual([]);
  });

  it('are not when allowances come first: the checker finds it', () => {
    const allow: Rule = { direction: 'egress', peer: 0, port: ['TCP', '*'], deny: false };
    const deny: Rule = { direction: 'egress', peer: 1003, port: ['TCP', '80'], deny: true };
    const [before, after] = [rowsOf([{ ...deny, deny: true, port: ['UDP', '53'] }]), rowsOf([deny, allow])];
    const steps = plan(opsBetween(before, after));
    expect(checkPrefixes(before.values(), steps, flows())).toEqual([]);
    const turned = steps.map((step) => ({ ...step, ops: step.ops.toReversed() }));
    expect(checkPrefixes(before.values(), turned, flows())).toContainEqual(expect.stringMatching(/^leakless/));
  });
});
