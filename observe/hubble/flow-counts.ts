/**
 * How many flows of each kind there were, counted as they come: two flows are of one kind when Hubble's metrics do not tell them apart.
 *
 * - A kind is kept as one flow that stands for it, which is made when somebody asks.
 */
import { EVENT_DROP, EVENT_POLICY_VERDICT, EVENT_TRACE } from '../../datapath/events.ts';
import { ICMP, ICMPV6, type PacketHead, SCTP, TCP, UDP } from './packet-head.ts';
import { type Flow, type FlowEndpoint, SCTP_CHUNKS } from './types.ts';

/** Flags that metrics tell apart: FIN, SYN, RST, ACK. */
const FLAGS = 0x17;
const KINDS_MAX = 65_536;
/** Ports that are told apart: a scan of all of them is not. */
const PORTS_MAX = 1_024;
const OTHER_PORTS = 0;
/** States of a connection, as the programs tell them: new, established, reply, related. */
const REPLY = 2;
const STATE_MAX = 3;

interface Kind {
  count: number;
  flow: Flow;
}

export interface CountedEvent {
  type: number;
  subtype: number;
  ctState: number;
  direction: number;
  policyMatch: number;
}

export class FlowCounts {
  /** Namespaces, and whether it is the world, of an end as a number. */
  readonly #places = new WeakMap<FlowEndpoint, number>();
  readonly #numbers = new Map<string, number>();
  #kinds = new Map<number, Map<number, Kind>>();
  #size = 0;
  /** Packets that went on to a port, by protocol and port. */
  readonly #ports = new Map<number, number>();

  /** `flowOf` makes the flow if it is the first of its kind. */
  add(
    event: CountedEvent,
    head: PacketHead,
    source: FlowEndpoint,
    destination: FlowEndpoint,
    flowOf: () => Flow,
  ): void {
    if (event.type === EVENT_TRACE && head.hasTransport && replyOf(event.ctState) === false) this.#toPort(head);
    const between = this.#placeOf(source) * 32_768 + this.#placeOf(destination);
    let kinds = this.#kinds.get(between);
    if (kinds === undefined) {
      kinds = new Map();
      this.#kinds.set(between, kinds);
    }
    const key = keyOf(event, head);
    const kind = kinds.get(key);
    if (kind !== undefined) kind.count++;
    // Nobody asks for metrics: numbers are better lost than memory.
    else if (this.#size < KINDS_MAX) {
      kinds.set(key, { count: 1, flow: flowOf() });
      this.#size++;
    }
  }

  /** Tells what was counted since it was told last. */
  take(tell: (flow: Flow, times: number) => void): void {
    for (const kinds of this.#kinds.values()) {
      for (const kind of kinds.values()) {
        if (kind.count > 0) tell(kind.flow, kind.count);
        kind.count = 0;
      }
    }
    if (this.#size < KINDS_MAX) return;
    this.#kinds = new Map();
    this.#size = 0;
  }

  #toPort({ proto, destinationPort }: PacketHead): void {
    if (proto !== TCP && proto !== UDP && proto !== SCTP) return;
    const port = proto * 65_536 + destinationPort;
    const count = this.#ports.get(port);
    if (count !== undefined || this.#ports.size < PORTS_MAX) this.#ports.set(port, (count ?? 0) + 1);
    else {
      const others = proto * 65_536 + OTHER_PORTS;
      this.#ports.set(others, (this.#ports.get(others) ?? 0) + 1);
    }
  }

  /** Since the start; port 0 is all those that came when many ports were known already. */
  *ports(): Generator<{ protocol: string; port: number; count: number }> {
    for (const [key, count] of this.#ports) {
      const proto = Math.floor(key / 65_536);
      yield { protocol: proto === TCP ? 'TCP' : proto === UDP ? 'UDP' : 'SCTP', port: key % 65_536, count };
    }
  }

  #placeOf(end: FlowEndpoint): number {
    const known = this.#places.get(end);
    if (known !== undefined) return known;
    const isWorld = end.labels.some((label) => label.startsWith('reserved:world'));
    const text = `${isWorld} ${end.namespace}`;
    const number = this.#numbers.get(text) ?? this.#numbers.size;
    this.#numbers.set(text, number);
    this.#places.set(end, number);
    return number;
  }
}

/** Undefined if the programs did not know the connection. */
function replyOf(ctState: number): boolean | undefined {
  return ctState > STATE_MAX ? undefined : ctState === REPLY;
}

/** Chunks that carry data or acknowledge it are of one kind. */
const chunkOf = ({ detail }: PacketHead): number => (detail in SCTP_CHUNKS ? detail : 0);

function keyOf({ type, subtype, ctState, direction, policyMatch }: CountedEvent, head: PacketHead): number {
  const { proto } = head;
  const isIcmp = proto === ICMP || proto === ICMPV6;
  const detail = proto === TCP ? head.detail & FLAGS : isIcmp ? head.detail : proto === SCTP ? chunkOf(head) : 0;
  const transport = !head.hasTransport
    ? 0
    : proto === TCP
      ? 1
      : proto === UDP
        ? 2
        : proto === SCTP
          ? 3
          : isIcmp
            ? 4
            : 0;
  const family = head.version === 0 ? 0 : head.version === 4 ? 1 : 2;
  const reply = type === EVENT_DROP ? undefined : replyOf(ctState);
  const isReply = reply === undefined ? 0 : reply ? 1 : 2;
  const match = type === EVENT_POLICY_VERDICT ? policyMatch & 7 : 0;
  // 3 + 8 + 8 bits, then 3, 2, 2, 1, 3: below 2 ** 31.
  const what = (type & 7) | (subtype << 3) | (detail << 11);
  return what * 2048 + (transport | (family << 3) | (isReply << 5) | ((direction & 1) << 7) | (match << 8));
}
