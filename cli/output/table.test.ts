/** Tables line up, whatever is in them; colours are for terminals. */
import { expect, it } from 'vitest';
import { coloursFor } from './colours.ts';
import { duration } from './print.ts';
import { formatFacts, formatTable } from './table.ts';

it('lines columns up, gives cells several lines, and leaves no spaces at the end', () => {
  expect(
    formatTable(
      ['ID', ['LABELS', '(all)'], 'STATE'],
      [
        [1, ['a=1', 'long-label'], 'ready'],
        [300, [], ''],
      ],
    ),
  ).toBe(
    ['ID    LABELS       STATE', '      (all)', '1     a=1          ready', '      long-label', '300', ''].join('\n'),
  );
});

it('does not count colours as width', () => {
  const { red } = coloursFor({ isTTY: true }, {});
  const [plain = '', coloured = ''] = formatTable(
    ['A', 'B'],
    [
      ['x', 'y'],
      [red('x'), 'y'],
    ],
  )
    .trimEnd()
    .split('\n')
    .slice(1);
  expect(coloured.replace(red('x'), 'x')).toBe(plain);
});

it('paints only terminals that want it', () => {
  expect(coloursFor({ isTTY: true }, {}).red('x')).toBe('\x1b[31mx\x1b[0m');
  for (const [isTTY, env] of [
    [false, {}],
    [true, { NO_COLOR: '1' }],
    [true, { TERM: 'dumb' }],
  ] as const) {
    expect(coloursFor({ isTTY }, env).red('x')).toBe('x');
  }
});

it('aligns facts, and indents what goes on', () => {
  expect(
    formatFacts([
      ['a', 'one'],
      ['long', ['two', 'three']],
    ]),
  ).toBe('a:    one\nlong: two\n      three\n');
});

it.each([
  [5, '5ms'],
  [1_500, '1.5s'],
  [61_000, '1m1s'],
  [3_600_000, '1h'],
  [90_061_000, '1d1h'],
])('%d ms read %s', (ms, text) => {
  expect(duration(ms)).toBe(text);
});
