/** Port ranges as prefixes, and the fewest entries. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  ALLOW_PRECEDENCE,
  type Contribution,
  cookieOf,
  DENY_PRECEDENCE,
  isDenial,
  type Rulings,
  rulingsOf,
} from './entries.ts';
import { broader, covers, keysOf, portBlocks, portText } from './ports.ts';
import type { PortMatch } from './rule.ts';

describe('port ranges', () => {
  test('are covered once, by at most 30 blocks', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 65_535 }), fc.integer({ min: 0, max: 65_535 }), (a, b) => {
        const [first, last] = [Math.min(a, b), Math.max(a, b)];
        const blocks = portBlocks(first, last);
        expect(blocks.length).toBeLessThanOrEqual(30);
        let next = first;
        for (const { port, bits } of blocks) {
          const size = 2 ** (16 - bits);
          expect([port, port % size]).toEqual([next, 0]);
          next += size;
        }
        expect(next).toBe(last + 1);
      }),
    );
    expect(portBlocks(1, 65_534)).toHaveLength(30);
    expect(portBlocks(0, 65_535)).toEqual([{ port: 0, bits: 0 }]);
  });

  test('have one text each', () => {
    const text = (match: PortMatch) => keysOf(match, []).map((key) => Object.values(portText(key)).join(' '));
    expect(text({ kind: 'range', protocol: 'TCP', first: 79, last: 90 })).toEqual([
      'TCP 79',
      'TCP 80/13',
      'TCP 88/15',
      'TCP 90',
    ]);
    expect(text({ kind: 'range', protocol: 'ANY', first: 0, last: 65_535 })).toEqual(['TCP *', 'UDP *', 'SCTP *']);
    expect(text({ kind: 'icmp', protocol: 'ICMP', type: 0 })).toEqual(['ICMP 0']);
    expect(text({ kind: 'range', protocol: 'GRE', first: 0, last: 65_535 })).toEqual(['GRE *']);
  });
});

const match: fc.Arbitrary<PortMatch> = fc.oneof(
  fc.tuple(fc.constantFrom('TCP', 'UDP', 'ANY'), fc.integer({ min: 1, max: 40 }), fc.nat(40)).map(
    ([protocol, first, more]): PortMatch => ({
      kind: 'range',
      protocol: protocol as 'TCP',
      first,
      last: first + more,
    }),
  ),
  fc.constant<PortMatch>({ kind: 'range', protocol: 'TCP', first: 0, last: 65_535 }),
);
const contribution: fc.Arbitrary<Contribution> = fc
  .record({ origin: fc.constantFrom('p', 'q'), deny: fc.boolean(), of: fc.option(match) })
  .map(({ origin, deny, of }) => ({ origin, deny, keys: of ? keysOf(of, []) : [0] }));
const contributions = fc.array(contribution, { maxLength: 6 });

/** The highest precedence of all that covers the port: what any lookup must come to. */
const meaning = (all: readonly Contribution[], key: number): number =>
  Math.max(
    0,
    ...all
      .filter(({ keys }) => keys.some((wide) => covers(wide, key)))
      .map(({ deny }) => (deny ? DENY_PRECEDENCE : ALLOW_PRECEDENCE)),
  );

/** As in the kernel: the longest prefix of each, then the precedence. */
const longest = (rulings: Rulings, key: number): number =>
  [...rulings].findLast(([wide]) => covers(wide, key))?.[1].precedence ?? 0;

describe('the fewest entries', () => {
  test('mean what the contributions mean', () => {
    fc.assert(
      fc.property(
        contributions,
        contributions,
        fc.integer({ min: 1, max: 90 }),
        fc.constantFrom('TCP', 'UDP', 'SCTP'),
        (own, any, port, protocol) => {
          const forAny = rulingsOf(any);
          const forOne = rulingsOf(own, forAny);
          const [key = 0] = keysOf({ kind: 'range', protocol: protocol as 'TCP', first: port, last: port }, []);
          expect(Math.max(longest(forOne, key), longest(forAny, key))).toBe(
            Math.max(meaning(own, key), meaning(any, key)),
          );
        },
      ),
      { numRuns: 1000 },
    );
  });

  test('have none that a broader one makes needless', () => {
    fc.assert(
      fc.property(contributions, contributions, (own, any) => {
        const forAny = rulingsOf(any);
        for (const [key, { precedence }] of rulingsOf(own, forAny)) {
          for (let wide = broader(key); wide !== undefined; wide = broader(wide))
            expect(rulingsOf(own, forAny).get(wide)?.precedence ?? 0).toBeLessThan(precedence);
          for (const [wide, ruling] of forAny)
            if (covers(wide, key)) expect(ruling.precedence).toBeLessThan(precedence);
        }
      }),
    );
  });

  test('know all policies behind them, and a denial only those that deny', () => {
    const all = [0];
    const rulings = rulingsOf([
      { origin: 'b', deny: false, keys: all },
      { origin: 'a', deny: false, keys: all },
    ]);
    expect(rulings.get(0)).toEqual({ precedence: ALLOW_PRECEDENCE, origins: ['a', 'b'] });
    const denied = rulingsOf([
      { origin: 'b', deny: false, keys: all },
      { origin: 'c', deny: true, keys: all },
    ]).get(0);
    expect(denied).toEqual({ precedence: DENY_PRECEDENCE, origins: ['c'] });
    expect(denied && isDenial(denied)).toBe(true);
  });

  test('have cookies that are never 0 and tell policies apart', () => {
    const cookies = Array.from({ length: 1000 }, (_, i) => cookieOf([`NetworkPolicy/x/p${i}`]));
    expect(new Set(cookies).size).toBe(1000);
    expect(cookieOf([])).not.toBe(0);
  });
});
