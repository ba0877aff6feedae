/**
 * Events of the BPF programs, drops, traces, policy verdicts and translations of sockets, as they lie in the ring buffer, and decoded.
 *
 * - Nothing that a record may hold makes reading throw: what is too short or of no known type is counted and passed over.
 * - Reading takes at most half of the thread's time, however much there is: the rest stays in the ring, and what that has no room
 *   for is counted by the programs (`eventsLost`).
 */
import { Observable, share } from 'rxjs';
import { type BpfMap, monotonicNs, RECORDS_MAX, ringBlocks } from '../native/index.ts';
import { readMapped } from './address.ts';
import type { EventLayout } from './event-layout.ts';

export const ORIG_SOURCE = 1;
export const ORIG_DESTINATION = 2;

/** enum event_type. */
export const EVENT_DROP = 1;
export const EVENT_TRACE = 2;
export const EVENT_POLICY_VERDICT = 3;
export const EVENT_SOCK = 4;

/** `struct event` of bpf/lib/structs-events.h, where every field is explained. */
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

/** `struct sock_event`. */
export interface SockEvent {
  timestamp: bigint;
  type: typeof EVENT_SOCK;
  subtype: number;
  proto: number;
  frontendId: number;
  /** The socket's. */
  cookie: bigint;
  netnsCookie: bigint;
  cgroupId: bigint;
  frontendAddr: string;
  backendAddr: string;
  frontendPort: number;
  backendPort: number;
  backendId: number;
}

/** Records of one hand-over in a block that nobody writes to again: record i lies from offsets[i] up to offsets[i + 1]. */
export interface EventBlock {
  bytes: Buffer;
  offsets: Uint32Array;
}

/**
 * How often the ring is looked into. The programs wake the reader only when a good part of it is full: a wake-up for
 * each event made a connection between pods cost half as much again.
 */
export const EVENT_READ_INTERVAL_MS = 50;
/** What reading may take of the thread in the long run, and in one go before it has to rest. */
const READ_SHARE = 0.5;
const READ_BURST_MS = 100;
const REST_MIN_MS = 1;
const REST_MAX_MS = 20;

/** Hot while there is a subscriber, and one ring buffer for all of them: each block reaches every one. */
export function eventBlocks(map: BpfMap): Observable<EventBlock> {
  return new Observable<EventBlock>((subscriber) => {
    let resting: NodeJS.Timeout | undefined;
    /** Milliseconds of reading that are not paid for by time that went by. */
    let debtMs = 0;
    let endedAt = performance.now();
    const ring = ringBlocks(map, (bytes, offsets) => {
      const begin = performance.now();
      subscriber.next({ bytes, offsets });
      const end = performance.now();
      debtMs = Math.max(0, debtMs - READ_SHARE * (end - endedAt)) + end - begin;
      endedAt = end;
      if (offsets.length <= RECORDS_MAX || debtMs <= READ_BURST_MS || resting) return;
      ring.pause();
      const rest = Math.min(REST_MAX_MS, Math.max(REST_MIN_MS, (debtMs - READ_BURST_MS) / READ_SHARE));
      resting = setTimeout(() => {
        resting = undefined;
        ring.resume();
        ring.read();
      }, rest);
    });
    const reading = setInterval(() => {
      if (!resting) ring.read();
    }, EVENT_READ_INTERVAL_MS);
    return () => {
      clearInterval(reading);
      clearTimeout(resting);
      ring.close();
    };
  }).pipe(share());
}

export class EventDecoder {
  readonly layout: EventLayout;
  /** Records that were none of ours. */
  malformed = 0;

  constructor(layout: EventLayout) {
    this.layout = layout;
  }

  /** The type of a record that is whole; 0, and counted, of one that is not. */
  typeOf(bytes: Buffer, from: number, to: number): number {
    const { event, eventSize, sock, sockSize } = this.layout;
    const size = to - from;
    if (size >= sockSize) {
      const type = bytes[from + event.type] as number;
      if (type >= EVENT_DROP && type <= EVENT_POLICY_VERDICT && size >= eventSize) return type;
      if (type === EVENT_SOCK && bytes[from + sock.type] === EVENT_SOCK) return type;
    }
    this.malformed++;
    return 0;
  }

  /** Of a record with the type of a packet's. */
  event(bytes: Buffer, from: number): DatapathEvent {
    const { event: at, captureSize } = this.layout;
    const lenCap = Math.min(bytes.readUInt16LE(from + at.lenCap), captureSize);
    const data = from + at.data;
    return {
      timestamp: bytes.readBigUInt64LE(from + at.timestamp),
      type: bytes[from + at.type] as number,
      subtype: bytes[from + at.subtype] as number,
      direction: bytes[from + at.direction] as number,
      ctState: bytes[from + at.ctState] as number,
      proto: bytes[from + at.proto] as number,
      tcpFlags: bytes[from + at.tcpFlags] as number,
      policyMatch: bytes[from + at.policyMatch] as number,
      reason: bytes[from + at.reason] as number,
      endpointId: bytes.readUInt32LE(from + at.endpointId),
      ifindex: bytes.readUInt32LE(from + at.ifindex),
      srcIdentity: bytes.readUInt32LE(from + at.srcIdentity),
      dstIdentity: bytes.readUInt32LE(from + at.dstIdentity),
      flowHash: bytes.readUInt32LE(from + at.flowHash),
      policyCookie: bytes.readUInt32LE(from + at.policyCookie),
      lenOrig: bytes.readUInt32LE(from + at.lenOrig),
      lenCap,
      sourceFile: bytes[from + at.sourceFile] as number,
      sourceLine: bytes.readUInt16LE(from + at.sourceLine),
      origEnd: bytes[from + at.origEnd] as number,
      origPort: bytes.readUInt16BE(from + at.origPort),
      origAddr: readMapped(bytes, from + at.origAddr),
      data: bytes.subarray(data, data + lenCap),
    };
  }

  sockEvent(bytes: Buffer, from: number): SockEvent {
    const { sock: at } = this.layout;
    return {
      timestamp: bytes.readBigUInt64LE(from + at.timestamp),
      type: EVENT_SOCK,
      subtype: bytes[from + at.subtype] as number,
      proto: bytes[from + at.proto] as number,
      frontendId: bytes.readUInt32LE(from + at.frontendId),
      cookie: bytes.readBigUInt64LE(from + at.cookie),
      netnsCookie: bytes.readBigUInt64LE(from + at.netnsCookie),
      cgroupId: bytes.readBigUInt64LE(from + at.cgroupId),
      frontendAddr: readMapped(bytes, from + at.frontendAddr),
      backendAddr: readMapped(bytes, from + at.backendAddr),
      frontendPort: bytes.readUInt16BE(from + at.frontendPort),
      backendPort: bytes.readUInt16BE(from + at.backendPort),
      backendId: bytes.readUInt32LE(from + at.backendId),
    };
  }
}

/** Events of packets, for people who look at each. What happened before there was a subscriber is not told. */
/** Translations of sockets, from now on. */
export function socketEvents(blocks$: Observable<EventBlock>, decoder: EventDecoder): Observable<SockEvent> {
  return new Observable<SockEvent>((subscriber) => {
    const since = monotonicNs();
    return blocks$.subscribe(({ bytes, offsets }) => {
      for (let i = 0; i + 1 < offsets.length; i++) {
        const from = offsets[i] as number;
        if (decoder.typeOf(bytes, from, offsets[i + 1] as number) !== EVENT_SOCK) continue;
        const event = decoder.sockEvent(bytes, from);
        if (event.timestamp >= since) subscriber.next(event);
      }
    });
  });
}

export function datapathEvents(blocks$: Observable<EventBlock>, decoder: EventDecoder): Observable<DatapathEvent> {
  return new Observable<DatapathEvent>((subscriber) => {
    const since = monotonicNs();
    return blocks$.subscribe(({ bytes, offsets }) => {
      for (let i = 0; i + 1 < offsets.length; i++) {
        const from = offsets[i] as number;
        const type = decoder.typeOf(bytes, from, offsets[i + 1] as number);
        if (type === 0 || type === EVENT_SOCK) continue;
        const event = decoder.event(bytes, from);
        if (event.timestamp >= since) subscriber.next(event);
      }
    });
  });
}
