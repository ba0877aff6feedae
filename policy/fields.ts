/** Reading fields of an object that may be anything: what is wrong is noted with its path, and reading goes on. */
import type { Problem } from './rule.ts';

export type Fields = Readonly<Record<string, unknown>>;

export const isFields = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export class Reader {
  readonly problems: Problem[] = [];
  /** What is accepted, but does not mean what it says. */
  readonly warnings: Problem[] = [];

  bad(path: string, value: unknown, expected: string): undefined {
    this.problems.push({ path, value, expected });
    return undefined;
  }

  warn(path: string, value: unknown, expected: string): void {
    this.warnings.push({ path, value, expected });
  }

  /** The object there, with no fields but these. */
  fields(value: unknown, path: string, allowed?: readonly string[]): Fields | undefined {
    if (!isFields(value)) return this.bad(path, value, 'must be an object');
    for (const name of allowed ? Object.keys(value) : []) {
      if (!allowed?.includes(name) && value[name] !== undefined)
        this.bad(`${path}.${name}`, value[name], `unknown field; expected one of ${allowed?.join(', ')}`);
    }
    return value;
  }

  /** Absent and null are undefined; an empty list stays one. */
  list(value: unknown, path: string, max?: number): readonly unknown[] | undefined {
    if (value === undefined || value === null) return undefined;
    if (!Array.isArray(value)) return this.bad(path, value, 'must be a list');
    if (max !== undefined && value.length > max)
      return this.bad(path, value.length, `must have at most ${max} members`);
    return value;
  }

  /** Each member read; members that are bad are left out, which a problem says. */
  each<T>(
    value: unknown,
    path: string,
    read: (member: unknown, path: string) => T | undefined,
    max?: number,
  ): T[] | undefined {
    return this.list(value, path, max)?.flatMap((member, i) => {
      const found = read(member, `${path}[${i}]`);
      return found === undefined ? [] : [found];
    });
  }

  text(value: unknown, path: string, expected = 'must be a text'): string | undefined {
    if (value === undefined || value === null) return undefined;
    return typeof value === 'string' ? value : this.bad(path, value, expected);
  }

  flag(value: unknown, path: string): boolean | undefined {
    if (value === undefined || value === null) return undefined;
    return typeof value === 'boolean' ? value : this.bad(path, value, 'must be true or false');
  }

  /** Which of these fields are there. */
  present(fields: Fields, names: readonly string[]): string[] {
    return names.filter((name) => fields[name] !== undefined && fields[name] !== null);
  }

  exactlyOne(fields: Fields, path: string, names: readonly string[]): string | undefined {
    const found = this.present(fields, names);
    if (found.length === 1) return found[0];
    return this.bad(path, found, `must have exactly one of ${names.join(', ')}`);
  }
}
