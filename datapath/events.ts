/** Events of the BPF programs, drops, traces and policy verdicts, as an Observable of decoded records. */
import { Observable, share } from 'rxjs';
import { type BpfMap, type Btf, monotonicNs, ringBuffer } from '../native/index.ts';
import { Codecs } from './codec.ts';

export const ORIG_SOURCE = 1;
export const ORIG_DESTINATION = 2;

/** `struct event` of bpf/lib/structs.h, where every field is explained. */
export interface DatapathEvent {
  /** Nanoseconds of CLOCK_MONOTONIC. */
  timestamp: bigint;
  type: number;
  subtype: number;
  direction: number;
  ctState: number;
  proto: number;
  tcpFlags: number;
  policyMatch: number;
  reason: number;
  endpointId: number;
  ifindex: number;
  srcIdentity: number;
  dstIdentity: number;
  flowHash: number;
  policyCookie: number;
  lenOrig: number;
  lenCap: number;
  sourceFile: number;
  sourceLine: number;
  /** enum orig_end: which end `origAddr` and `origPort` are of, before translation. */
  origEnd: number;
  origPort: number;
  origAddr: string;
  /** The captured bytes, from the Ethernet header on; a view that is valid for as long as it is kept. */
  data: Buffer;
}

/**
 * How often the ring is looked into. The programs wake the reader only when a good part of it is full: a wake-up for
 * each event made a connection between pods cost half as much again.
 */
export const EVENT_READ_INTERVAL_MS = 50;

/**
 * Hot while there is a subscriber, and one ring buffer for all of them: each record reaches every one. What happened
 * before there was a subscriber is not told.
 */
export function datapathEvents(map: BpfMap, btf: Btf): Observable<DatapathEvent> {
  const codec = new Codecs(btf).struct('event');
  return new Observable<DatapathEvent>((subscriber) => {
    const since = monotonicNs();
    const ring = ringBuffer(map, (records) => {
      for (const record of records) {
        if (record.length < codec.size) continue;
        const event = codec.read(record, 0) as unknown as DatapathEvent;
        if (event.timestamp < since) continue;
        event.data = event.data.subarray(0, event.lenCap);
        subscriber.next(event);
      }
    });
    const reading = setInterval(() => ring.drain(), EVENT_READ_INTERVAL_MS);
    return () => {
      clearInterval(reading);
      ring.close();
    };
  }).pipe(share());
}
