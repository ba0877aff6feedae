/**
 * Two replays compared: the rows in which they end differently, and the first op in which they differ, with its event.
 *
 * - Ops are compared in their order, without their numbers and times where these are of two histories.
 */
import { canonical, type TableName, tableNames } from '../../state/tables.ts';
import { briefOf, type EventBrief } from './account.ts';
import type { Moment, Watcher } from './moment.ts';

export interface OpAt {
  event: EventBrief;
  op: { action: string; table: string; key: string; value?: unknown };
}
/** Undefined: that one plans nothing more. */
export interface FirstDifference {
  index: number;
  one: OpAt | undefined;
  other: OpAt | undefined;
}

export interface RowDifference {
  table: TableName;
  key: string;
  /** Undefined: there is no such row. */
  one?: unknown;
  other?: unknown;
}

export type RowsOf = (table: TableName) => ReadonlyMap<string, unknown>;

export const opText = ({ action, table, key, value }: OpAt['op']): string =>
  `${action} ${table} ${key}${value === undefined ? '' : ` ${canonical(value)}`}`;

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
function hashOf(text: string): number {
  let hash = FNV_OFFSET;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), FNV_PRIME);
  return hash >>> 0;
}

/** A number for each op: of ten million ops they take 40 MB. */
export class OpNumbers {
  #numbers = new Uint32Array(1 << 16);
  count = 0;

  add(text: string): void {
    if (this.count === this.#numbers.length) {
      const grown = new Uint32Array(2 * this.count);
      grown.set(this.#numbers);
      this.#numbers = grown;
    }
    this.#numbers[this.count++] = hashOf(text);
  }

  has(index: number, text: string): boolean {
    return index < this.count && this.#numbers[index] === hashOf(text);
  }
}

/** Tells of each op; 'stop' ends the replay. */
export const eachOp = (hear: (op: OpAt['op'], moment: Moment) => 'stop' | undefined): Watcher => ({
  onMoment(moment) {
    for (const { ops } of moment.steps) for (const op of ops) if (hear(op, moment) === 'stop') return 'stop';
    return undefined;
  },
});

export const opAt = ({ action, table, key, value }: OpAt['op'], moment: Moment): OpAt => ({
  event: briefOf(moment),
  op: { action, table, key, ...(value !== undefined && { value }) },
});

/** Finds the op of a number and stops there. */
export class OpFinder implements Watcher {
  readonly #index: number;
  #at = 0;
  found: OpAt | undefined;

  constructor(index: number) {
    this.#index = index;
  }

  onMoment(moment: Moment): 'stop' | undefined {
    for (const { ops } of moment.steps) {
      for (const op of ops) {
        if (this.#at++ !== this.#index) continue;
        this.found = opAt(op, moment);
        return 'stop';
      }
    }
    return undefined;
  }
}

export function differingRows(one: RowsOf, other: RowsOf): RowDifference[] {
  const found: RowDifference[] = [];
  for (const table of tableNames) {
    const [a, b] = [one(table), other(table)];
    for (const key of [...new Set([...a.keys(), ...b.keys()])].sort()) {
      const [x, y] = [a.get(key), b.get(key)];
      if (canonical(x) !== canonical(y))
        found.push({ table, key, ...(x !== undefined && { one: x }), ...(y !== undefined && { other: y }) });
    }
  }
  return found;
}
