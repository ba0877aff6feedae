/** How verbs read their arguments and refuse them: one parser, one error, with suggestions for what was probably meant. */

/** A mistake on the command line; printed without a stack, exit code 2. */
export class UsageError extends Error {}

/** Text flags bear the name of their value, as usage shows it; a switch is `true`. */
export type FlagSpec = Readonly<Record<string, string | true>>;

export interface Arguments<S extends FlagSpec> {
  /** Undefined: not given. */
  flags: { [F in keyof S]?: S[F] extends true ? true : string };
  positionals: string[];
  /** What follows `--`; undefined: there was none. */
  rest: string[] | undefined;
}

/** Short forms known to every verb that has the long one. */
const SHORT: Readonly<Record<string, string>> = {
  '-o': '--output',
  '-n': '--namespace',
  '-f': '--follow',
  '-h': '--help',
  '-t': '--type',
  '-v': '--verbose',
};

/** `--flag VALUE`, `--flag=VALUE` and switches, anywhere among the positionals, up to `--`. */
export function parseArguments<const S extends FlagSpec>(args: readonly string[], spec: S): Arguments<S> {
  const flags: Record<string, string | true> = {};
  const positionals: string[] = [];
  const queue = [...args];
  for (;;) {
    const arg = queue.shift();
    if (arg === undefined) return { flags: flags as Arguments<S>['flags'], positionals, rest: undefined };
    if (arg === '--') return { flags: flags as Arguments<S>['flags'], positionals, rest: queue };
    if (!arg.startsWith('-') || arg === '-') {
      positionals.push(arg);
      continue;
    }
    const [given = '', ...parts] = arg.split('=');
    const name = (SHORT[given] ?? given).replace(/^--/, '');
    const inline = parts.length > 0 ? parts.join('=') : undefined;
    const kind = Object.hasOwn(spec, name) ? spec[name] : undefined;
    if (kind === undefined) {
      const known = Object.keys(spec).map((flag) => `--${flag}`);
      throw new UsageError(`unknown flag ${given}${meant(given, known)}; known are ${known.join(', ') || 'none'}`);
    }
    if (kind === true && inline !== undefined)
      throw new UsageError(`flag --${name} takes no value, got ${JSON.stringify(inline)}`);
    const value = kind === true ? true : (inline ?? queue.shift());
    if (value === undefined) throw new UsageError(`flag --${name} needs a value: --${name} ${kind}`);
    flags[name] = value;
  }
}

/** `, did you mean X?`, or nothing when no candidate is near. */
export function meant(word: string, candidates: readonly string[]): string {
  const near = candidates
    .map((candidate) => ({ candidate, distance: distance(word, candidate) }))
    .filter((other) => other.distance <= Math.max(1, Math.floor(word.length / 3)))
    .sort((a, b) => a.distance - b.distance)[0];
  return near ? `, did you mean ${near.candidate}?` : '';
}

/** Levenshtein's: insertions, deletions and replacements. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, replaced));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** A whole number within bounds, or a UsageError. */
export function wholeNumber(flag: string, text: string, min: number, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw new UsageError(`flag --${flag} is ${JSON.stringify(text)}, expected a whole number from ${min} to ${max}`);
  }
  return value;
}
