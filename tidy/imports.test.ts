/** Each room imports only what the design lets it, and the pure rooms stay pure. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { rooms } from './rooms.ts';
import {
  type Import,
  importsOf,
  isTest,
  occurrences,
  roomOf,
  root,
  type Source,
  sources,
  withoutComments,
} from './sources.ts';

const all = sources(/\.ts$/).filter(({ path }) => path.includes('/'));
const shipped = all.filter(({ path }) => !isTest(path));
const pure = shipped.filter(({ path }) => rooms[roomOf(path)]?.pure);

/** Reads a clock, rolls dice, or waits. */
const impure =
  /\b(Date\.now|new Date\(\)|performance|Math\.random|crypto\.|randomUUID|setTimeout|setInterval|setImmediate|queueMicrotask|process\.|globalThis)/;

const complaint = ({ path }: Source, { line, specifier }: Import) => `${path}:${line} imports '${specifier}'`;

/** A test may also take what stands above its room: it drives the room from outside. */
function mayImport(from: string, target: string): boolean {
  const room = rooms[roomOf(from)];
  if (room === undefined) return false;
  if (isTest(from) || roomOf(from) === roomOf(target)) return true;
  return room.mayImport.some((allowed) => target === `${allowed}.ts` || target.startsWith(`${allowed}/`));
}

function packageAllowed(source: Source, { specifier, target }: Import): boolean {
  if (target !== undefined || isTest(source.path)) return true;
  const room = rooms[roomOf(source.path)];
  if (specifier.startsWith('node:')) return !room?.pure;
  return room?.packages?.includes(specifier) ?? true;
}

describe('imports', () => {
  test('every folder with code is a room of the design', () => {
    expect([...new Set(all.map(({ path }) => roomOf(path)))].filter((room) => rooms[room] === undefined)).toEqual([]);
  });

  test('a room imports only the rooms it may', () => {
    const wrong = all.flatMap((source) =>
      importsOf(source)
        .filter(({ target }) => target !== undefined && !mayImport(source.path, target))
        .map((bad) => complaint(source, bad)),
    );
    expect(wrong).toEqual([]);
  });

  test('a room uses only the packages it may', () => {
    const wrong = all.flatMap((source) =>
      importsOf(source)
        .filter((found) => !packageAllowed(source, found))
        .map((bad) => complaint(source, bad)),
    );
    expect(wrong).toEqual([]);
  });

  test('relative imports name a file that is there, with its extension', () => {
    const wrong = all.flatMap((source) =>
      importsOf(source)
        .filter(({ target }) => target !== undefined && !/\.(ts|json|node)$/.test(target))
        .concat(importsOf(source).filter(({ target }) => target?.endsWith('.ts') && !existsSync(join(root, target))))
        .map((bad) => complaint(source, bad)),
    );
    expect(wrong).toEqual([]);
  });

  test('the pure rooms read no clock, roll no dice and wait for nothing', () => {
    const wrong = pure.flatMap(({ path, text }) => occurrences({ path, text: withoutComments(text) }, impure));
    expect(wrong).toEqual([]);
  });

  test('the scanner sees what it must', () => {
    const source = {
      path: 'machines/canary.ts',
      text: "import {\n  a,\n} from '../datapath/x.ts';\n// import b from '../cli/y.ts'\nimport 'node:fs';\nawait import('z');\nDate.now();",
    };
    expect(importsOf(source).map(({ line, specifier, target }) => [line, specifier, target])).toEqual([
      [3, '../datapath/x.ts', 'datapath/x.ts'],
      [5, 'node:fs', undefined],
      [6, 'z', undefined],
    ]);
    expect(mayImport(source.path, 'datapath/x.ts')).toBe(false);
    expect(mayImport(source.path, 'state/tables.ts')).toBe(true);
    expect(mayImport(source.path, 'state/store.ts')).toBe(false);
    expect(occurrences(source, impure)).toEqual(['machines/canary.ts:7: Date.now();']);
  });
});
