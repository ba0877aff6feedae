// SPDX-License-Identifier: Apache-2.0
/** The BPF ring buffer: records arrive in batches on the JavaScript thread, woken by the event loop and never by polling. */
import { addon, type WatchPointer } from './addon.ts';
import type { BpfMap } from './map.ts';

/** Of one hand-over (kRecordsMax of src/ring.cc). */
export const RECORDS_MAX = 4096;

export class RingBuffer {
  #pointer: WatchPointer | undefined;

  constructor(map: BpfMap, onBlock: (block: Buffer, offsets: Uint32Array) => void) {
    this.#pointer = addon().ringOpen(map.fd, map.label, onBlock);
  }

  /** Reads now what is there, without waiting for the event loop; returns the number of records. */
  drain(): number {
    return this.#pointer === undefined ? 0 : addon().ringDrain(this.#pointer);
  }

  /** One hand-over of what is there now; the number of its records, RECORDS_MAX when there may be more. */
  read(): number {
    return this.#pointer === undefined ? 0 : addon().ringRead(this.#pointer);
  }

  /** Hears no wake-ups until `resume`; `read` and `drain` work all the same. */
  pause(): void {
    if (this.#pointer !== undefined) addon().watchPause(this.#pointer);
  }

  resume(): void {
    if (this.#pointer !== undefined) addon().watchResume(this.#pointer);
  }

  /** Lets the process end although the ring is open. */
  unref(): void {
    if (this.#pointer !== undefined) addon().watchUnref(this.#pointer);
  }

  /** Records not yet read are dropped. Allowed from within the callback. */
  close(): void {
    if (this.#pointer === undefined) return;
    addon().watchClose(this.#pointer);
    this.#pointer = undefined;
  }
}

/**
 * Calls `onRecords` with all records of a wake-up (a few thousand at most, then the event loop gets its turn).
 * The buffers are views of one block. What the ring had no room for was counted by the BPF program, not here.
 * An open ring keeps the process alive until `close` or `unref`.
 */
export function ringBuffer(map: BpfMap, onRecords: (records: Buffer[]) => void): RingBuffer {
  return new RingBuffer(map, (block, offsets) => {
    const records = new Array<Buffer>(offsets.length - 1);
    for (let i = 0; i < records.length; i++) records[i] = block.subarray(offsets[i], offsets[i + 1]);
    onRecords(records);
  });
}

/** The same, without a view for each record: record i lies from offsets[i] up to offsets[i + 1]. */
export function ringBlocks(map: BpfMap, onBlock: (block: Buffer, offsets: Uint32Array) => void): RingBuffer {
  return new RingBuffer(map, onBlock);
}
