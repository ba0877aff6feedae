/** What verbs print: tables for people, JSON for programs; and how times and labels read. */
import { UsageError } from '../usage.ts';

/** `-o`; undefined: for people. */
export function wantsJson(output: string | undefined): boolean {
  return formatOf(output, ['json']) === 'json';
}

export function formatOf<const F extends string>(output: string | undefined, formats: readonly F[]): F | undefined {
  if (output === undefined) return undefined;
  const found = formats.find((format) => format === output);
  if (found === undefined)
    throw new UsageError(`flag --output is ${JSON.stringify(output)}, expected ${formats.join(' or ')}`);
  return found;
}

export function print(text: string): void {
  process.stdout.write(text);
}

export function printJson(value: unknown): void {
  print(`${JSON.stringify(value, null, 2)}\n`);
}

/** `1h2m`, `3m4s`, `5.2s`, `12ms`. */
export function duration(ms: number): string {
  if (ms < 1_000) return `${Math.round(ms)}ms`;
  if (ms < 60_000) return `${Math.round(ms / 100) / 10}s`;
  const seconds = Math.round(ms / 1_000);
  const units: [number, string][] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3_600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [seconds % 60, 's'],
  ];
  const first = units.findIndex(([count]) => count > 0);
  return units
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count}${unit}`)
    .join('');
}

export const clock = (at: number): string => new Date(at).toISOString().slice(11, 23);
export const timestamp = (at: number): string => new Date(at).toISOString();

/** `k8s:app=` has no value and is written without `=`. */
export const labelText = (label: string): string => label.replace(/=$/, '');
