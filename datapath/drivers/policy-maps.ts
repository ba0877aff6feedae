/**
 * Table `bpf.policy-maps`: which inner maps there are, and how large.
 *
 * - A map whose capacity changes is replaced by a copy in one write; programs see the old one or the new one.
 * - The kernel waits for its readers at each change of a map of maps (some milliseconds): maps come and go in batches.
 */
import { type BpfMap, createMap, mapFlags } from '../../native/index.ts';
import type { PolicyMapRow } from '../../state/tables.ts';
import type { Op, OpResult } from '../driver.ts';
import { attempt, kernelError, opName } from '../errors.ts';
import { deleteEntries, type Entry, putEntries } from './map-entries.ts';

/** Inner maps that are open at a time. */
const MAPS_MAX = 128;

export interface InnerLayout {
  keySize: number;
  valueSize: number;
}

/** Ops of one action. */
export function applyMaps(outer: BpfMap, layout: InnerLayout, ops: readonly Op[]): OpResult[] {
  const results: OpResult[] = ops.map(() => undefined);
  for (let from = 0; from < ops.length; from += MAPS_MAX) {
    const made: BpfMap[] = [];
    const gone: Omit<Entry, 'value'>[] = [];
    const come: Entry[] = [];
    ops.slice(from, from + MAPS_MAX).forEach((op, i) => {
      const at = from + i;
      results[at] = attempt(op, () => {
        const key = u32(idOf(op.key));
        if (op.action === 'delete') {
          gone.push({ at, op, key });
          return undefined;
        }
        const value = mapFor(outer, layout, op, key);
        if (!value) return undefined;
        if ('errno' in value) return value;
        made.push(value);
        come.push({ at, op, key, value });
        return undefined;
      });
    });
    deleteEntries(outer, gone, results);
    putEntries(outer, 'policy', come, results);
    for (const map of made) map.close();
  }
  return results;
}

/** A new map with what the one before it holds; undefined: that one does. */
function mapFor(outer: BpfMap, layout: InnerLayout, op: Op, key: Buffer): BpfMap | NonNullable<OpResult> | undefined {
  const { entriesMax } = op.value as PolicyMapRow;
  if (!Number.isInteger(entriesMax) || entriesMax < 1) {
    throw new TypeError(`field entriesMax is ${JSON.stringify(entriesMax)}, expected a number of entries`);
  }
  const before = outer.getInner(key);
  try {
    if (before?.info.maxEntries === entriesMax) return undefined;
    const inner = createMap({
      type: 'lpm_trie',
      name: 'policy_inner',
      ...layout,
      maxEntries: entriesMax,
      flags: mapFlags.noPrealloc,
    });
    try {
      const held = before?.scan();
      if (held && held.count > entriesMax) {
        inner.close();
        return full(op, 'ENOSPC', entriesMax, `it holds ${held.count}`);
      }
      if (held && held.count > 0) inner.putBatch(held.keys, held.values, held.count);
      return inner;
    } catch (error) {
      inner.close();
      throw error;
    }
  } finally {
    before?.close();
  }
}

export function full(op: Op, errno: string, capacity: number, why: string): NonNullable<OpResult> {
  const endpointId = op.key.split('|')[0];
  const text = `the policy map of endpoint ${endpointId} is full: its capacity is ${capacity} entries, and ${why}`;
  return kernelError(errno, `${opName(op)}: ${text}`, false);
}

function idOf(key: string): number {
  if (!/^(0|[1-9]\d*)$/.test(key)) throw new TypeError(`${JSON.stringify(key)} is no endpoint id`);
  return Number(key);
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
