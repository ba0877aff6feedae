/** Files keep their shape: a header, one purpose's length, no unfinished words, and none that nobody uses. */
import { basename } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isGenerated, isTest, occurrences, roomOf, sources, withoutComments } from './sources.ts';

const code = sources(/\.(ts|c|h|cc)$/).filter((source) => !isGenerated(source));
const typescript = code.filter(({ path }) => path.endsWith('.ts'));
const everything = sources(/\.(ts|c|h|cc|sh|json|yaml|yml|toml)$|^(Makefile|run|axoneme(-cni)?)$/).filter(
  ({ path }) => path !== 'package-lock.json',
);

const longLines = 400;
const tooLongLines = 500;
/** cli/main.ts finds the verbs by looking into their folder. */
const verbs = 'cli/verbs/';
const lines = (text: string) => text.split('\n').length - 1;
/** Split, or this file would find itself. */
const unfinished = new RegExp(`\\b(${['TO' + 'DO', 'FIX' + 'ME', 'HA' + 'CK', 'XX' + 'X'].join('|')})\\b`);

describe('files', () => {
  test(`none is longer than ${tooLongLines} lines`, () => {
    const long = code.filter(({ text }) => lines(text) > longLines).map(({ path, text }) => `${path}: ${lines(text)}`);
    if (long.length > 0) console.warn(`Past ${longLines} lines, still one purpose each?\n  ${long.join('\n  ')}`);
    expect(code.filter(({ text }) => lines(text) > tooLongLines).map(({ path }) => path)).toEqual([]);
  });

  test('each opens with what it is for', () => {
    const bare = code.filter(({ text }) => !/^(#!.*\n)?(\/\/ SPDX.*\n|\/\* SPDX.*\*\/\n)?\s*(\/\*|\/\/)/.test(text));
    expect(bare.map(({ path }) => path)).toEqual([]);
  });

  test('none says that it is unfinished', () => {
    expect(everything.flatMap((source) => occurrences(source, unfinished))).toEqual([]);
  });

  test('no type is given up with `any`', () => {
    // Unions have spaces, as the formatter leaves them; `|any` stands in regular expressions, and `, any)` is an argument.
    const any = /((:|\bas|<)\s*|\|\s+)any\b(?!\s*[:'"`])|,\s*any\s*>/;
    expect(typescript.flatMap(({ path, text }) => occurrences({ path, text: codeOnly(text) }, any))).toEqual([]);
  });

  test('each is used: something imports it, or names it to run it', () => {
    const unused = typescript
      .filter(({ path }) => !isTest(path) && path.includes('/') && !path.startsWith(verbs))
      .filter(({ path }) => {
        const names = new RegExp(`\\b${basename(path).replaceAll('.', '\\.')}\\b`);
        return !everything.some((other) => other.path !== path && names.test(withoutComments(other.text)));
      });
    expect(unused.map(({ path }) => path)).toEqual([]);
  });

  test('every machine file has the same sections in the same order', () => {
    const sections = ['context', 'events', 'machine', 'rows'];
    const machines = typescript.filter(
      ({ path, text }) => roomOf(path) === 'machines' && !isTest(path) && /\.createMachine\(/.test(text),
    );
    const wrong = machines
      .map(({ path, text }) => ({
        path,
        found: [...text.matchAll(/^\/\/ --- (.+)$/gm)].map((match) => match[1] ?? ''),
      }))
      .filter(({ found }) => sections.join() !== found.filter((section) => sections.includes(section)).join());
    expect(wrong).toEqual([]);
  });
});

/** Comments and the text inside strings blanked. */
function codeOnly(text: string): string {
  return withoutComments(text).replace(/'[^'\n]*'|"[^"\n]*"|`[^`]*`/g, (string) => string.replace(/[^\n]/g, ' '));
}
