/** Command lines: what is understood, and how mistakes are answered. */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { parseArguments, wholeNumber } from './usage.ts';

const spec = { name: 'NAME', output: 'FORMAT', all: true } as const;

describe('arguments', () => {
  test('flags with a value, with =, short ones, switches, positionals and the rest', () => {
    expect(parseArguments(['a', '--name', 'x', '-o=json', '--all', 'b', '--', '--name', 'y'], spec)).toEqual({
      flags: { name: 'x', output: 'json', all: true },
      positionals: ['a', 'b'],
      rest: ['--name', 'y'],
    });
  });
  test.each([
    [['--nmae', 'x'], 'unknown flag --nmae, did you mean --name?; known are --name, --output, --all'],
    [['--zzz'], 'unknown flag --zzz; known are'],
    [['--name'], 'flag --name needs a value: --name NAME'],
    [['--all=yes'], 'flag --all takes no value, got "yes"'],
  ])('%j is refused', (args, message) => {
    expect(() => parseArguments(args, spec)).toThrow(message);
  });
  test.each(['', '-1', '1.5', '11', 'x'])('%j is no number from 0 to 10', (text) => {
    expect(() => wholeNumber('n', text, 0, 10)).toThrow('expected a whole number from 0 to 10');
  });
});

test.each([
  [['upp'], 2, 'unknown verb upp, did you mean up?'],
  [['up', '--nodse', '2'], 2, 'unknown flag --nodse, did you mean --nodes?'],
  [['up', '--nodes', 'two'], 2, 'flag --nodes is "two", expected a whole number from 1'],
  [['up', '--name', 'No_Name'], 2, 'expected a DNS label'],
  [['up', '--manifests', '/nowhere'], 1, 'no such file or directory'],
  [['exec', 'web-0'], 2, 'which command? Expected -- COMMAND'],
  [['exec', '--name', 'axt-nobody', 'web-0', '--', 'true'], 1, 'no cluster named axt-nobody is running'],
])('axoneme %j ends with %i: %s', (args, code, message) => {
  const axoneme = new URL('./axoneme', import.meta.url).pathname;
  const { status, stderr } = spawnSync(axoneme, args, { encoding: 'utf8' });
  expect(stderr).toContain(message);
  expect(status).toBe(code);
});
