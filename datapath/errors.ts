/**
 * Failures of drivers as values: what was being done to which object, the errno, and whether a retry may help.
 *
 * - NativeError is the kernel's refusal; a TypeError is a row that can never be applied.
 * - Anything else is a defect and is thrown on.
 */
import { NativeError } from '../native/index.ts';
import type { Op, OpError, OpResult } from './driver.ts';

/** What is missing now and may come by itself: a link or an address that another row is about to bring. */
const mayAppear: ReadonlySet<string> = new Set([
  'ENODEV',
  'ENXIO',
  'ENETDOWN',
  'ENETUNREACH',
  'EHOSTUNREACH',
  'EADDRNOTAVAIL',
]);

export function driverError(error: unknown, object: string): OpError {
  if (error instanceof NativeError) {
    return kernelError(error.code, `${object}: ${error.message}`, error.retryable || mayAppear.has(error.code));
  }
  if (error instanceof TypeError) return invalid(object, error.message);
  if (isSystemError(error)) return kernelError(error.code, `${object}: ${error.message}`, false);
  throw error;
}

export function kernelError(errno: string, message: string, retryable: boolean): OpError {
  return { kind: 'kernel', errno, message, retryable };
}

export function invalid(object: string, why: string): OpError {
  return { kind: 'invalid', errno: 'EINVAL', message: `${object}: ${why}`, retryable: false };
}

export const opName = (op: Op): string => `${op.action} ${op.table} ${op.key}`;

/** Applies one op and turns what it throws into its result. */
export function attempt(op: Op, work: () => OpResult): OpResult {
  try {
    return work();
  } catch (error) {
    return driverError(error, opName(op));
  }
}

/** Applies ops together; what concerns them all, such as no socket to be had, becomes the result of each. */
export function attemptAll(ops: readonly Op[], work: () => OpResult[]): OpResult[] {
  try {
    return work();
  } catch (error) {
    return ops.map((op) => driverError(error, opName(op)));
  }
}

function isSystemError(error: unknown): error is Error & { code: string } {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string';
}
