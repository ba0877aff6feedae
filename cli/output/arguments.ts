/** Positional arguments that verbs of inspection share. */
import { meant, UsageError } from '../usage.ts';

export function noPositionals(positionals: readonly string[]): void {
  if (positionals.length > 0) throw new UsageError(`unexpected argument ${positionals[0]}`);
}

/** One of these words, or a UsageError that knows what was meant. */
export function chosen<const C extends string>(what: string, word: string | undefined, choices: readonly C[]): C {
  const found = choices.find((choice) => choice === word);
  if (found !== undefined) return found;
  if (word === undefined) throw new UsageError(`${what} is missing, expected ${choices.join(', ')}`);
  throw new UsageError(`unknown ${what} ${word}${meant(word, choices)}; known are ${choices.join(', ')}`);
}

export function required(what: string, word: string | undefined): string {
  if (word === undefined) throw new UsageError(`${what} is missing`);
  return word;
}
