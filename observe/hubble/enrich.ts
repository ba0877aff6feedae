/**
 * Who and what an event is about, found for each event as it comes, so that a flow keeps the names of its moment.
 *
 * - Ends are shared: flows of one pod under one identity have the same object, which nobody writes to.
 * - They are looked up anew when names may have changed (`Names.generation`), and an end that should have a name but has none yet soon.
 */

import { formatAddress } from '../../datapath/address.ts';
import type { EventLayout } from '../../datapath/event-layout.ts';
import {
  EVENT_DROP,
  EVENT_POLICY_VERDICT,
  EVENT_TRACE,
  type EventDecoder,
  ORIG_DESTINATION,
  ORIG_SOURCE,
} from '../../datapath/events.ts';
import type { Names } from '../names.ts';
import type { Workload } from '../workloads.ts';
import type { Origins, ServiceName } from './origins.ts';
import { type PacketHead, packetHead, readHead, SCTP, TCP, UDP } from './packet-head.ts';
import type { FlowEndpoint, FlowPolicy } from './types.ts';

export interface FlowContext {
  names: Names;
  origins: Origins;
  clusterName: string;
  /** `cluster/node`, or the bare node in the cluster `default`. */
  nodeName: string;
  version: string;
  /** Of this node, `key=value`; frozen. */
  nodeLabels?: () => readonly string[];
  linkName: (ifindex: number) => string | undefined;
  /** Wall-clock nanoseconds at which CLOCK_MONOTONIC was 0. */
  bootedAtNs: bigint;
  /** Of a pod, `namespace/name`; undefined: it is not known. */
  workloadsOf?: (pod: string) => readonly Workload[] | undefined;
  /** Addresses of the pod in a network namespace, by its cookie; undefined: no pod of ours. */
  podOfNetns?: (cookie: bigint) => { ipv4: string; ipv6: string } | undefined;
}

/** What an event does not say itself. */
export interface FlowParts {
  source: FlowEndpoint;
  destination: FlowEndpoint;
  sourceService: ServiceName | undefined;
  destinationService: ServiceName | undefined;
  link: string;
  policies: readonly FlowPolicy[];
}

interface Known {
  end: FlowEndpoint;
  /** Milliseconds; an end without the name that its identity promises is looked for again. */
  until: number;
}

const NO_POLICIES: readonly FlowPolicy[] = [];
/** Identities below are reserved, and promise no pod. */
const DYNAMIC_MIN = 256;
const NAMELESS_MS = 20;
/** DIRECTION_EGRESS of bpf/lib/structs.h. */
const EGRESS = 1;
/** Ends that are kept: those of a scan of the whole Internet are not. */
const ENDS_MAX = 16_384;

export class Enricher {
  readonly #context: FlowContext;
  readonly #layout: EventLayout;
  readonly #now: () => number;
  /** Of the frame that was resolved last. */
  readonly head = packetHead();
  #ends = new Map<number, Map<string, Known>>();
  /** By the link that a packet came by. */
  readonly #senders = new Map<string, FlowEndpoint>();
  #endsCount = 0;
  #generation = -1;
  #nowMs = 0;

  constructor(context: FlowContext, { layout }: EventDecoder, now: () => number = Date.now) {
    this.#context = context;
    this.#layout = layout;
    this.#now = now;
  }

  /** Before each batch of events. */
  begin(): void {
    this.#nowMs = this.#now();
    const generation = this.#context.names.generation();
    if (generation === this.#generation && this.#endsCount < ENDS_MAX) return;
    this.#generation = generation;
    this.#ends = new Map();
    this.#senders.clear();
    this.#endsCount = 0;
  }

  /** Of a packet's event; `parts` is written to. */
  packet(parts: FlowParts, bytes: Buffer, from: number): void {
    const { event: at, captureSize } = this.#layout;
    const { head } = this;
    const { origins, linkName } = this.#context;
    const data = from + at.data;
    readHead(head, bytes, data, data + Math.min(bytes.readUInt16LE(from + at.lenCap), captureSize));
    const { proto, version } = head;
    const type = bytes[from + at.type] as number;
    const origEnd = bytes[from + at.origEnd] as number;
    const length = version === 4 ? 4 : 16;
    const source = version === 0 ? '' : bytes.toString('latin1', head.source, head.source + length);
    const destination = version === 0 ? '' : bytes.toString('latin1', head.destination, head.destination + length);
    const original = origEnd === 0 ? '' : mappedKey(bytes, from + at.origAddr);
    const isTranslated = type === EVENT_TRACE && origEnd === ORIG_SOURCE;
    const identity = bytes.readUInt32LE(from + at.srcIdentity);
    const ifindex = bytes.readUInt32LE(from + at.ifindex);
    parts.link = ifindex > 0 ? (linkName(ifindex) ?? '') : '';
    // An address that is not its own, or only of the link: the endpoint it came from is known all the same.
    const sender =
      identity === 0 && type === EVENT_DROP && bytes[from + at.direction] === EGRESS
        ? this.#sender(parts.link)
        : undefined;
    parts.source = sender ?? this.end(isTranslated ? original : source, identity);
    parts.destination = this.end(destination, bytes.readUInt32LE(from + at.dstIdentity));
    parts.sourceService = undefined;
    parts.destinationService = undefined;
    if (head.hasTransport && (proto === TCP || proto === UDP || proto === SCTP)) {
      parts.sourceService = origins.serviceAt(source, head.sourcePort, proto);
      parts.destinationService =
        origEnd === ORIG_DESTINATION
          ? origins.serviceAt(original, bytes.readUInt16BE(from + at.origPort), proto)
          : origins.serviceAt(destination, head.destinationPort, proto);
    }
    const cookie = type === EVENT_POLICY_VERDICT ? bytes.readUInt32LE(from + at.policyCookie) : 0;
    parts.policies = cookie > 0 ? origins.policies(cookie) : NO_POLICIES;
  }

  /** Of a socket's: before translation to the frontend, after it to the backend. */
  socket(parts: FlowParts, bytes: Buffer, from: number, isTranslated: boolean): void {
    const { sock: at } = this.#layout;
    const { origins, podOfNetns } = this.#context;
    const frontend = mappedKey(bytes, from + at.frontendAddr);
    const backend = mappedKey(bytes, from + at.backendAddr);
    const pod = podOfNetns?.(bytes.readBigUInt64LE(from + at.netnsCookie));
    const proto = bytes[from + at.proto] as number;
    const address = frontend.length === 4 ? pod?.ipv4 : pod?.ipv6;
    parts.source = address ? this.#endOf(address, 0) : this.#host();
    parts.destination = this.end(isTranslated ? backend : frontend, 0);
    parts.sourceService = undefined;
    parts.destinationService = origins.serviceAt(frontend, bytes.readUInt16BE(from + at.frontendPort), proto);
    parts.link = '';
    parts.policies = NO_POLICIES;
  }

  /** What metrics want to know of a socket's event, in the head of a packet. */
  socketHead(bytes: Buffer, from: number): PacketHead {
    const { sock: at } = this.#layout;
    const { head } = this;
    head.version = mappedKey(bytes, from + at.frontendAddr).length === 4 ? 4 : 6;
    head.proto = bytes[from + at.proto] as number;
    head.detail = 0;
    head.hasTransport = true;
    return head;
  }

  #sender(link: string): FlowEndpoint | undefined {
    const known = this.#senders.get(link);
    if (known) return known;
    const address = link === '' ? '' : this.#context.names.addressBehind(link);
    if (address === '') return undefined;
    const end = this.#endOf(address, 0);
    this.#senders.set(link, end);
    return end;
  }

  /** A process of the node itself. */
  #host(): FlowEndpoint {
    return this.end('', 1);
  }

  /** `key` as `addressKey` makes it; '' is no address. */
  end(key: string, identity: number): FlowEndpoint {
    let ofIdentity = this.#ends.get(identity);
    if (ofIdentity === undefined) {
      ofIdentity = new Map();
      this.#ends.set(identity, ofIdentity);
    }
    const known = ofIdentity.get(key);
    if (known !== undefined && known.until > this.#nowMs) return known.end;
    const end = this.#endOf(key === '' ? '' : formatAddress(Buffer.from(key, 'latin1')), identity);
    const isNameless = end.pod_name === '' && end.identity >= DYNAMIC_MIN;
    if (known === undefined) this.#endsCount++;
    ofIdentity.set(key, { end, until: isNameless ? this.#nowMs + NAMELESS_MS : Number.POSITIVE_INFINITY });
    return end;
  }

  #endOf(address: string, identity: number): FlowEndpoint {
    const { names, clusterName, workloadsOf } = this.#context;
    const known = names.of(address, identity);
    const slash = known.pod.indexOf('/');
    const workloads = known.pod ? workloadsOf?.(known.pod) : undefined;
    return Object.freeze({
      ID: names.endpointIdOf(address),
      identity: known.identity,
      cluster_name: known.pod ? clusterName : '',
      namespace: slash > 0 ? known.pod.slice(0, slash) : '',
      labels: known.labels,
      pod_name: known.pod.slice(slash + 1),
      ...(workloads && { workloads: [...workloads] }),
    });
  }
}

/** Of the 16 bytes of a map's address: IPv4 is mapped, all zero is none. */
function mappedKey(bytes: Buffer, at: number): string {
  const high = bytes.readUInt32LE(at) | bytes.readUInt32LE(at + 4);
  const third = bytes.readUInt32LE(at + 8);
  if (high === 0 && third === 0xffff0000) return bytes.toString('latin1', at + 12, at + 16);
  if (high === 0 && third === 0 && bytes.readUInt32LE(at + 12) === 0) return '';
  return bytes.toString('latin1', at, at + 16);
}
