/** What a failure of `simulate` prints can be run again, however much it is. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { actionsFlag, parseActions } from './actions-flag.ts';

const some = (count: number) => Array.from({ length: count }, (_, pod) => ({ do: 'delete', pod }));
/** As a shell would. */
const wordOf = (flag: string): string => flag.replace(/^--actions '?/, '').replace(/'$/, '');

test('few actions are in the command, many in a file, and both are read again', () => {
  expect(actionsFlag(7, some(2))).toBe(`--actions '[{"do":"delete","pod":0},{"do":"delete","pod":1}]'`);
  const flag = actionsFlag(7, some(10_000));
  expect(flag).toMatch(/^--actions @\/.*\/seed-7\.json$/);
  try {
    for (const count of [0, 2, 10_000])
      expect(parseActions(count === 10_000 ? wordOf(flag) : wordOf(actionsFlag(7, some(count))))).toEqual(some(count));
  } finally {
    rmSync(dirname(wordOf(flag).slice(1)), { recursive: true });
  }
});

test('what is no list of actions is refused, and said where it was', () => {
  expect(() => parseActions('{"do":"delete"}')).toThrow('expected a JSON list');
  expect(() => parseActions('@/nowhere/actions.json')).toThrow(
    "flag --actions: ENOENT: no such file or directory, open '/nowhere",
  );
  const dir = mkdtempSync(join(tmpdir(), `axt-${process.pid}-actions-`));
  try {
    writeFileSync(join(dir, 'torn.json'), '[{"do":');
    expect(() => parseActions(`@${dir}/torn.json`)).toThrow('torn.json", expected a JSON list');
  } finally {
    rmSync(dir, { recursive: true });
  }
});
