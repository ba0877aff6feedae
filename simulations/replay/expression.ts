/**
 * The language of `--break-on`: what must be true of machines, rows and the event for the replay to stop.
 *
 *   EXPR  = EXPR or EXPR | EXPR and EXPR | not EXPR | ( EXPR ) | VALUE | VALUE (= | != | < | <= | > | >= | ~) VALUE
 *   VALUE = machine(KEY)[.FIELD…] | row(TABLE KEY)[.FIELD…] | count(TABLE) | event.FIELD… | "text" | 12 | word | none
 *
 * - A KEY with `*` means all that match; a comparison holds when it holds for one of them.
 * - A machine is its state, with fields those of its context; a row is its value. What is not there is `none`.
 * - `~` compares with a pattern in which `*` is anything. A value alone holds when it is not `none`, false or empty.
 */
import { nearest } from '../../observe/nearest.ts';

export interface Facts {
  /** States of machines whose keys match; of a machine with fields, its context. */
  machines(key: string): Iterable<{ state: string; context: () => unknown }>;
  rows(table: string, key: string): Iterable<unknown>;
  count(table: string): number;
  event(): unknown;
}

export class ExpressionError extends Error {
  readonly column: number;
  constructor(text: string, column: number, message: string) {
    super(`${message}, at column ${column + 1}:\n  ${text}\n  ${' '.repeat(column)}^`);
    this.column = column;
  }
}

export type Condition = (facts: Facts) => boolean;
type Value = (facts: Facts) => unknown[];

interface Token {
  kind: 'call' | 'word' | 'text' | 'number' | 'sign' | 'end';
  text: string;
  column: number;
  /** Of a call: what is in the parentheses, and the fields after them. */
  inside: string;
  fields: string[];
}

const SIGNS = ['!=', '<=', '>=', '=', '<', '>', '~', '(', ')'] as const;
const COMPARISONS: Readonly<Record<string, (a: unknown, b: unknown) => boolean>> = {
  '=': (a, b) => same(a, b),
  '!=': (a, b) => !same(a, b),
  '<': (a, b) => typeof a === typeof b && (a as number) < (b as number),
  '<=': (a, b) => typeof a === typeof b && (a as number) <= (b as number),
  '>': (a, b) => typeof a === typeof b && (a as number) > (b as number),
  '>=': (a, b) => typeof a === typeof b && (a as number) >= (b as number),
  '~': (a, b) => a !== undefined && matcher(textOf(b))(textOf(a)),
};
const textOf = (value: unknown): string => (typeof value === 'string' ? value : (JSON.stringify(value) ?? 'none'));
const same = (a: unknown, b: unknown): boolean =>
  a === b || (a !== undefined && b !== undefined && textOf(a) === textOf(b));

/** A pattern in which `*` is anything. */
export function matcher(pattern: string): (text: string) => boolean {
  if (!pattern.includes('*')) return (text) => text === pattern;
  const parts = pattern.split('*').map((part) => part.replaceAll(/[.+?^${}()|[\]\\]/g, '\\$&'));
  const regexp = new RegExp(`^${parts.join('.*')}$`, 's');
  return (text) => regexp.test(text);
}

/** `tables` are the names that there are. Throws ExpressionError. */
export function parseExpression(text: string, tables: readonly string[]): Condition {
  return new Parser(text, tables).whole();
}

class Parser {
  readonly #text: string;
  readonly #tables: readonly string[];
  #at = 0;
  #token: Token;

  constructor(text: string, tables: readonly string[]) {
    this.#text = text;
    this.#tables = tables;
    this.#token = this.#read();
  }

  whole(): Condition {
    if (this.#token.kind === 'end') this.#fail(0, 'an expression is expected');
    const condition = this.#or();
    const { kind, text, column }: Token = this.#token;
    if ((kind as Token['kind']) !== 'end') this.#fail(column, `${text} is not expected here`);
    return condition;
  }

  #or(): Condition {
    let left = this.#and();
    while (this.#is('or')) left = either(left, this.#and());
    return left;
  }

  #and(): Condition {
    let left = this.#not();
    while (this.#is('and')) left = both(left, this.#not());
    return left;
  }

  #not(): Condition {
    if (this.#is('not')) {
      const inner = this.#not();
      return (facts) => !inner(facts);
    }
    if (this.#is('(')) {
      const inner = this.#or();
      if (!this.#is(')')) this.#fail(this.#token.column, ') is expected');
      return inner;
    }
    return this.#comparison();
  }

  #comparison(): Condition {
    const left = this.#value();
    const compare = this.#token.kind === 'sign' ? COMPARISONS[this.#token.text] : undefined;
    if (!compare) return (facts) => left(facts).some((one) => one !== undefined && one !== false && one !== '');
    this.#token = this.#read();
    const right = this.#value();
    return (facts) => {
      const others = right(facts);
      return left(facts).some((a) => others.some((b) => compare(a, b)));
    };
  }

  #value(): Value {
    const token = this.#token;
    const { kind, text, column, inside, fields } = token;
    if (kind === 'sign' || kind === 'end')
      this.#fail(
        column,
        `machine(KEY), row(TABLE KEY), count(TABLE), event.FIELD, "text", a number or a word is expected here, not ${kind === 'end' ? 'the end' : text}`,
      );
    this.#token = this.#read();
    if (kind === 'number') return () => [Number(text)];
    if (kind === 'text') return () => [text];
    if (kind === 'word') return this.#word(text);
    if (text === 'machine') {
      if (inside === '') this.#fail(column + 8, 'the key of a machine is expected');
      return (facts) =>
        orNone(
          [...facts.machines(inside)].map(({ state, context }) =>
            fields.length > 0 ? fieldOf(context(), fields) : state,
          ),
        );
    }
    if (text === 'count') {
      this.#table(inside, column + 6);
      return (facts) => [facts.count(inside)];
    }
    if (text !== 'row') this.#fail(column, `there is no ${text}(…); known are machine, row and count`);
    const [table = '', key = ''] = inside.split(/\s+(.*)/s);
    this.#table(table, column + 4);
    if (key === '')
      this.#fail(column + 4 + table.length, `the key of a row is expected after the table: row(${table} KEY)`);
    return (facts) => orNone([...facts.rows(table, key.trim())].map((row) => fieldOf(row, fields)));
  }

  #word(text: string): Value {
    if (text === 'none') return () => [undefined];
    if (text === 'true' || text === 'false') return () => [text === 'true'];
    if (text !== 'event' && !text.startsWith('event.')) return () => [text];
    const path = text.split('.').slice(1);
    return (facts) => [fieldOf(facts.event(), path)];
  }

  #table(name: string, column: number): void {
    if (!this.#tables.includes(name)) this.#fail(column, `no table is named ${name || '(nothing)'}${this.#near(name)}`);
  }

  #near(name: string): string {
    const near = nearest(name, this.#tables);
    return near.length > 0 ? `, near it are ${near.join(', ')}` : `; known are ${this.#tables.join(', ')}`;
  }

  #is(word: string): boolean {
    const { kind, text } = this.#token;
    if ((kind !== 'word' && kind !== 'sign') || text !== word) return false;
    this.#token = this.#read();
    return true;
  }

  #read(): Token {
    while (this.#text[this.#at] === ' ') this.#at++;
    const column = this.#at;
    const rest = this.#text.slice(column);
    const token = (kind: Token['kind'], text: string, length = text.length): Token => {
      this.#at += length;
      return { kind, text, column, inside: '', fields: [] };
    };
    if (rest === '') return token('end', '');
    const sign = SIGNS.find((one) => rest.startsWith(one));
    if (sign) return token('sign', sign, sign.length);
    const quoted = /^"((?:[^"\\]|\\.)*)"/.exec(rest);
    if (quoted) return token('text', (quoted[1] ?? '').replaceAll(/\\(.)/g, '$1'), quoted[0].length);
    if (rest.startsWith('"')) this.#fail(column, 'the text that begins here has no end');
    const call = /^([a-z]+)\(/.exec(rest);
    if (call) return this.#call(call[1] ?? '', column);
    const word = /^[^\s()=!<>~"]+/.exec(rest)?.[0];
    if (word === undefined) this.#fail(column, `${rest[0]} is not expected here`);
    return token(/^-?\d+(\.\d+)?$/.test(word as string) ? 'number' : 'word', word as string);
  }

  /** What is inside the parentheses is taken as it stands: keys have all sorts of signs in them. */
  #call(name: string, column: number): Token {
    const open = column + name.length;
    let depth = 0;
    for (let at = open; at < this.#text.length; at++) {
      if (this.#text[at] === '(') depth++;
      else if (this.#text[at] === ')' && --depth === 0) {
        const fields = /^(\.[\w-]+)*/.exec(this.#text.slice(at + 1))?.[0] ?? '';
        this.#at = at + 1 + fields.length;
        const inside = this.#text.slice(open + 1, at).trim();
        return { kind: 'call', text: name, column, inside, fields: fields.split('.').slice(1) };
      }
    }
    return this.#fail(open, 'the parenthesis that opens here is not closed');
  }

  #fail(column: number, message: string): never {
    throw new ExpressionError(this.#text, column, message);
  }
}

const either =
  (a: Condition, b: Condition): Condition =>
  (facts) =>
    a(facts) || b(facts);
const both =
  (a: Condition, b: Condition): Condition =>
  (facts) =>
    a(facts) && b(facts);
const orNone = (values: unknown[]): unknown[] => (values.length > 0 ? values : [undefined]);

function fieldOf(value: unknown, path: readonly string[]): unknown {
  let inner = value;
  for (const key of path) {
    if (typeof inner !== 'object' || inner === null) return undefined;
    inner = (inner as Record<string, unknown>)[key];
  }
  return inner ?? undefined;
}
