/**
 * Entries of one map written or deleted for several ops: in one system call where the kernel can, and each with its own result.
 *
 * - When a batch fails each entry is tried by itself, so that one op's failure is not another's.
 */
import { type BpfMap, isErrno, type NativeError } from '../../native/index.ts';
import type { Op, OpResult } from '../driver.ts';
import { driverError, kernelError, opName } from '../errors.ts';

export interface Entry {
  /** Place of the op in its batch, and of its result. */
  at: number;
  op: Op;
  key: Buffer;
  /** Of a map of maps the inner map. */
  value: Buffer | BpfMap;
}

/** Entries of ops that failed before are left out. `name` is the map's whole name. */
export function putEntries(map: BpfMap, name: string, entries: readonly Entry[], results: OpResult[]): void {
  const left = entries.filter(({ at }) => !results[at]);
  if (left.length > 1) {
    try {
      const values = left.map(({ value }) => (Buffer.isBuffer(value) ? value : descriptor(value)));
      map.putBatch(Buffer.concat(left.map(({ key }) => key)), Buffer.concat(values), left.length);
      return;
    } catch {
      // Which one failed is found out below; writing an entry again changes nothing.
    }
  }
  for (const { at, op, key, value } of left) {
    try {
      map.put(key, value);
    } catch (error) {
      results[at] ??= isFull(error)
        ? kernelError(error.code, full(op, map, name), false)
        : driverError(error, opName(op));
    }
  }
}

export function deleteEntries(map: BpfMap, entries: readonly Omit<Entry, 'value'>[], results: OpResult[]): void {
  const left = entries.filter(({ at }) => !results[at]);
  if (left.length > 1) {
    try {
      map.deleteBatch(Buffer.concat(left.map(({ key }) => key)), left.length);
      return;
    } catch {
      // As above.
    }
  }
  for (const { at, op, key } of left) {
    try {
      map.delete(key);
    } catch (error) {
      results[at] ??= driverError(error, opName(op));
    }
  }
}

function descriptor({ fd }: BpfMap): Buffer {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32LE(fd);
  return bytes;
}

/** Hash maps say E2BIG, longest-prefix-match maps ENOSPC. */
const isFull = (error: unknown): error is NativeError => isErrno(error, 'E2BIG', 'ENOSPC');

const full = (op: Op, map: BpfMap, name: string): string =>
  `${opName(op)}: map ${name} is full: its capacity is ${map.info.maxEntries} entries`;
