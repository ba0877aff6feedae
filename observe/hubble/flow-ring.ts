/**
 * The last flows of a node as the bytes of their events and what those were found to be about; a flow is made of it when somebody reads it.
 *
 * - What is held is bounded from the beginning: a slot for each of `capacity` flows.
 * - An event of a socket is two flows: to the service as the process asked, and to the backend as it goes out.
 */
import { randomBytes } from 'node:crypto';
import { EVENT_SOCK, type EventBlock, type EventDecoder } from '../../datapath/events.ts';
import { Enricher, type FlowContext, type FlowParts } from './enrich.ts';
import { FlowCounts } from './flow-counts.ts';
import { type Loss, Ring, type RingView, Waiting } from './ring.ts';
import { packetFlow, type SocketPoint, socketFlow } from './to-flow.ts';
import type { Flow, FlowEndpoint, FlowPolicy, LostEvents, Timestamp } from './types.ts';

const PACKET = 0;
const SOCKET_BEFORE = 1;
const SOCKET_AFTER = 2;

const LOSSES = 255;
const NOBODY: FlowEndpoint = { ID: 0, identity: 0, cluster_name: '', namespace: '', labels: [], pod_name: '' };
const POINTS: Readonly<Record<number, SocketPoint>> = { [SOCKET_BEFORE]: 1, [SOCKET_AFTER]: 2 };

export class FlowRing implements RingView<Flow> {
  readonly capacity: number;
  readonly losses: Ring<Loss> = new Ring(LOSSES);
  readonly counts = new FlowCounts();
  next = 0;
  /** By readers that were too slow. */
  overtaken = 0;
  readonly #context: FlowContext;
  readonly #decoder: EventDecoder;
  readonly #enricher: Enricher;
  readonly #waiting = new Waiting();
  /** Two random words: flows of two runs of an agent do not have one name. */
  readonly #run = randomBytes(8).toString('hex');
  readonly #slotSize: number;
  readonly #events: Buffer;
  readonly #kinds: Uint8Array;
  readonly #sources: FlowEndpoint[];
  readonly #destinations: FlowEndpoint[];
  readonly #sourceServices: FlowParts['sourceService'][];
  readonly #destinationServices: FlowParts['destinationService'][];
  readonly #links: string[];
  readonly #policies: (readonly FlowPolicy[])[];
  /** Those that were read already. */
  readonly #flows: (Flow | undefined)[];
  readonly #parts: FlowParts = {
    source: NOBODY,
    destination: NOBODY,
    sourceService: undefined,
    destinationService: undefined,
    link: '',
    policies: [],
  };
  /** Events before this nanosecond of CLOCK_MONOTONIC are of another time. */
  readonly #since: number;
  /** Seconds of the last flow of a namespace. */
  readonly namespaces = new Map<string, number>();

  constructor(capacity: number, context: FlowContext, decoder: EventDecoder, since = 0n, now = Date.now) {
    const { eventSize, sockSize } = decoder.layout;
    this.capacity = capacity;
    this.#context = context;
    this.#decoder = decoder;
    this.#enricher = new Enricher(context, decoder, now);
    this.#since = Number(since);
    this.#slotSize = Math.max(eventSize, sockSize);
    this.#events = Buffer.alloc(capacity * this.#slotSize);
    this.#kinds = new Uint8Array(capacity);
    this.#sources = new Array<FlowEndpoint>(capacity).fill(NOBODY);
    this.#destinations = new Array<FlowEndpoint>(capacity).fill(NOBODY);
    this.#sourceServices = new Array<FlowParts['sourceService']>(capacity).fill(undefined);
    this.#destinationServices = new Array<FlowParts['destinationService']>(capacity).fill(undefined);
    this.#links = new Array<string>(capacity).fill('');
    this.#policies = new Array<readonly FlowPolicy[]>(capacity).fill([]);
    this.#flows = new Array<Flow | undefined>(capacity).fill(undefined);
  }

  get oldest(): number {
    return Math.max(0, this.next - this.capacity);
  }

  get size(): number {
    return this.next - this.oldest;
  }

  add({ bytes, offsets }: EventBlock): void {
    const decoder = this.#decoder;
    const { timestamp } = decoder.layout.event;
    this.#enricher.begin();
    for (let i = 0; i + 1 < offsets.length; i++) {
      const from = offsets[i] as number;
      const type = decoder.typeOf(bytes, from, offsets[i + 1] as number);
      if (type === 0) continue;
      const ns = bytes.readUInt32LE(from + timestamp) + bytes.readUInt32LE(from + timestamp + 4) * 0x1_0000_0000;
      if (ns < this.#since) continue;
      if (type !== EVENT_SOCK) this.#addPacket(bytes, from);
      else {
        this.#addSocket(bytes, from, SOCKET_BEFORE);
        this.#addSocket(bytes, from, SOCKET_AFTER);
      }
    }
    this.#seen();
    this.#waiting.wake();
  }

  #addPacket(bytes: Buffer, from: number): void {
    const { event: at } = this.#decoder.layout;
    const enricher = this.#enricher;
    const parts = this.#parts;
    enricher.packet(parts, bytes, from);
    this.#keep(bytes, from, PACKET);
    const counted = {
      type: bytes[from + at.type] as number,
      subtype: bytes[from + at.subtype] as number,
      ctState: bytes[from + at.ctState] as number,
      direction: bytes[from + at.direction] as number,
      policyMatch: bytes[from + at.policyMatch] as number,
    };
    this.counts.add(counted, enricher.head, parts.source, parts.destination, this.#last);
  }

  #addSocket(bytes: Buffer, from: number, kind: typeof SOCKET_BEFORE | typeof SOCKET_AFTER): void {
    const { sock: at } = this.#decoder.layout;
    const parts = this.#parts;
    this.#enricher.socket(parts, bytes, from, kind === SOCKET_AFTER);
    this.#keep(bytes, from, kind);
    const head = this.#enricher.socketHead(bytes, from);
    const counted = {
      type: bytes[from + at.type] as number,
      subtype: kind,
      ctState: 0,
      direction: 1,
      policyMatch: 0,
    };
    this.counts.add(counted, head, parts.source, parts.destination, this.#last);
  }

  readonly #last = (): Flow => this.get(this.next - 1) as Flow;

  #keep(bytes: Buffer, from: number, kind: number): void {
    const slot = this.next % this.capacity;
    const parts = this.#parts;
    const size = kind === PACKET ? this.#decoder.layout.eventSize : this.#decoder.layout.sockSize;
    bytes.copy(this.#events, slot * this.#slotSize, from, from + size);
    this.#kinds[slot] = kind;
    this.#sources[slot] = parts.source;
    this.#destinations[slot] = parts.destination;
    this.#sourceServices[slot] = parts.sourceService;
    this.#destinationServices[slot] = parts.destinationService;
    this.#links[slot] = parts.link;
    this.#policies[slot] = parts.policies;
    this.#flows[slot] = undefined;
    this.next++;
  }

  #seenTo = 0;

  /** Notes the namespaces of what came last. */
  #seen(): void {
    const { namespaces } = this;
    let last: FlowEndpoint | undefined;
    const seconds = this.next > this.#seenTo ? this.#timeOf((this.next - 1) % this.capacity).seconds : 0;
    for (let at = Math.max(this.#seenTo, this.oldest); at < this.next; at++) {
      const slot = at % this.capacity;
      for (const end of [this.#sources[slot], this.#destinations[slot]] as FlowEndpoint[]) {
        if (end === last || end.namespace === '') continue;
        last = end;
        namespaces.set(end.namespace, seconds);
      }
    }
    this.#seenTo = this.next;
  }

  get(number: number): Flow | undefined {
    if (number < this.oldest || number >= this.next) return undefined;
    const slot = number % this.capacity;
    this.#flows[slot] ??= this.#make(number, slot);
    return this.#flows[slot];
  }

  #make(number: number, slot: number): Flow {
    const at = slot * this.#slotSize;
    const parts: FlowParts = {
      source: this.#sources[slot] as FlowEndpoint,
      destination: this.#destinations[slot] as FlowEndpoint,
      sourceService: this.#sourceServices[slot],
      destinationService: this.#destinationServices[slot],
      link: this.#links[slot] as string,
      policies: this.#policies[slot] as readonly FlowPolicy[],
    };
    const id = this.#uuid(number);
    const point = POINTS[this.#kinds[slot] as number];
    return point === undefined
      ? packetFlow(this.#decoder.event(this.#events, at), parts, this.#context, id)
      : socketFlow(this.#decoder.sockEvent(this.#events, at), point, parts, this.#context, id);
  }

  /** RFC 9562, version 8: the run, and the flow's number. */
  #uuid(number: number): string {
    const run = this.#run;
    return `${run.slice(0, 8)}-${run.slice(8, 12)}-8${run.slice(13, 16)}-8000-${number.toString(16).padStart(12, '0')}`;
  }

  #timeOf(slot: number): Timestamp {
    const ns = this.#context.bootedAtNs + this.#events.readBigUInt64LE(slot * this.#slotSize);
    return { seconds: Number(ns / 1_000_000_000n), nanos: Number(ns % 1_000_000_000n) };
  }

  /** How many there were since that second. */
  countSince(seconds: number): number {
    let at = this.next;
    while (at > this.oldest && this.#timeOf((at - 1) % this.capacity).seconds >= seconds) at--;
    return this.next - at;
  }

  lost(events: LostEvents, time: Timestamp): void {
    this.losses.push({ at: this.next, time, events });
    this.#waiting.wake();
  }

  missed(count: number): void {
    this.overtaken += count;
  }

  async reached(number: number, signal: AbortSignal, loss = Number.POSITIVE_INFINITY): Promise<void> {
    while (this.next <= number && this.losses.next <= loss && !signal.aborted) await this.#waiting.next(signal);
  }
}
