// SPDX-License-Identifier: Apache-2.0
/** The one error the native addon throws: which system call failed, on what, and what the kernel said about it. */

/** One property in which a pinned map differs from the map the object file declares. */
export interface MapDifference {
  readonly property: 'type' | 'keySize' | 'valueSize' | 'maxEntries' | 'flags' | 'inner';
  readonly pinned: string;
  readonly wanted: string;
}

export interface NativeErrorFields {
  /** The system call, with its command where it has one: `bpf(BPF_MAP_UPDATE_ELEM)`, `setns`. */
  readonly syscall: string;
  readonly errno: number;
  /** The errno's name: `ENOENT`. */
  readonly code: string;
  /** The errno's text, or the kernel's own words (netlink extended ack), or libbpf's warning. */
  readonly detail: string;
  /** What it was done to: `map endpoints`, `netns /run/netns/a`. */
  readonly object?: string;
  /** The verifier's log, when a program was refused. */
  readonly verifierLog?: string;
  /** Set when a pin holds a map of another layout than the object file wants. */
  readonly differences?: readonly MapDifference[];
}

/** Errors that may pass by themselves: the same call can succeed later without anything else having changed. */
const retryableCodes: ReadonlySet<string> = new Set([
  'EAGAIN',
  'EINTR',
  'EBUSY',
  'ENOMEM',
  'ENOBUFS',
  'ENFILE',
  'EMFILE',
  'ETIMEDOUT',
]);

export class NativeError extends Error {
  override readonly name = 'NativeError';
  readonly kind = 'native';
  readonly syscall: string;
  readonly errno: number;
  readonly code: string;
  readonly detail: string;
  readonly object: string | undefined;
  readonly verifierLog: string | undefined;
  readonly differences: readonly MapDifference[] | undefined;
  readonly retryable: boolean;

  constructor(fields: NativeErrorFields) {
    super(`${fields.syscall}: ${fields.code}: ${fields.detail}${fields.object ? ` (${fields.object})` : ''}`);
    this.syscall = fields.syscall;
    this.errno = fields.errno;
    this.code = fields.code;
    this.detail = fields.detail;
    this.object = fields.object;
    this.verifierLog = fields.verifierLog;
    this.differences = fields.differences;
    this.retryable = retryableCodes.has(fields.code);
  }
}

/** True for a NativeError with one of these errno names: `isErrno(error, 'ENOENT')`. */
export function isErrno(error: unknown, ...codes: readonly string[]): error is NativeError {
  return error instanceof NativeError && codes.includes(error.code);
}
