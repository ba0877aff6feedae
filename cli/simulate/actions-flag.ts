/** `--actions` of `simulate`: what happens, as JSON or in a file of it, read and written. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { UsageError } from '../usage.ts';

/** Linux takes no argument of 128 KiB, and nobody reads one of four. */
const CHARACTERS_MAX = 4_096;

/** The flag that makes these actions happen again; many of them go to a file of their own. */
export function actionsFlag(seed: number, actions: readonly unknown[]): string {
  const text = JSON.stringify(actions);
  if (text.length <= CHARACTERS_MAX) return `--actions '${text}'`;
  const file = join(mkdtempSync(join(tmpdir(), 'axoneme-simulate-')), `seed-${seed}.json`);
  writeFileSync(file, `${text}\n`);
  return `--actions @${file}`;
}

/** JSON, or `@` and the name of a file of it. */
export function parseActions<A extends { do: string }>(flag: string): A[] {
  const text = flag.startsWith('@') ? read(flag.slice(1)) : flag;
  try {
    const actions: unknown = JSON.parse(text);
    if (Array.isArray(actions) && actions.every((action) => typeof action?.do === 'string')) return actions as A[];
  } catch {
    // said below
  }
  throw new UsageError(
    `flag --actions is ${JSON.stringify(flag.slice(0, 60))}, expected a JSON list of {"do":…} as a failure prints it, or @FILE with one`,
  );
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`flag --actions: ${error instanceof Error ? error.message : error}`);
  }
}
