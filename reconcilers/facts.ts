/**
 * What was said and is still true, by topic: for those who subscribe later, and to know what an object was before it changed.
 *
 * - What is known of a topic comes in the order in which it was first heard.
 * - With a place for cold events, endpoints that were not heard of lately are there and not in memory; nobody sees a difference.
 */
import { type ClusterEvent, type KubeUpserted, topicsOf } from '../cluster/events.ts';
import type { Message } from '../machines/machine.ts';
import type { ColdEvent, ColdEvents } from '../state/cold-events.ts';

type Unstamped<M> = M extends unknown ? Omit<M, 'at'> : never;
export type AnyMessage = Unstamped<Message>;

interface Kept {
  /** Place in the order of all that was heard. */
  readonly seat: number;
  message: AnyMessage;
}

/** Of which every node hears all of the cluster's, and of most of them once. */
const COLD: ReadonlySet<string> = new Set(['ciliumendpoints', 'ciliumendpointslices']);
/** Events that are moved out at a time: some hundred microseconds. */
const AT_ONCE = 32;

export interface ColdPlace {
  events: ColdEvents;
  /** That stay in memory. */
  eventsMax: number;
}

export class Facts {
  readonly #topics = new Map<string, Map<string, Kept>>();
  readonly #cold: ColdPlace | undefined;
  /** Objects in memory, the one that was heard of the longest ago first; only where there is a place for cold ones. */
  readonly #warm = new Map<string, KubeUpserted>();
  #seats = 0;

  constructor(cold: ColdPlace | undefined) {
    this.#cold = cold;
  }

  /** What is known from now on; undefined: nothing. */
  retain(topic: string, fact: string, message: AnyMessage | undefined): void {
    this.#fetch(fact);
    const known = this.#topics.get(topic);
    if (!message) {
      if (known?.delete(fact) && known.size === 0) this.#topics.delete(topic);
      if (this.#cold) this.#warm.delete(fact);
      return;
    }
    const before = known?.get(fact);
    if (before) before.message = message;
    else if (known) known.set(fact, { seat: ++this.#seats, message });
    else this.#topics.set(topic, new Map([[fact, { seat: ++this.#seats, message }]]));
    if (!this.#cold || message.type !== 'kube.upserted' || !COLD.has(message.resource)) return;
    if (this.#warm.get(fact) === message) return;
    this.#warm.delete(fact);
    this.#warm.set(fact, message);
  }

  get(topic: string, fact: string): AnyMessage | undefined {
    this.#fetch(fact);
    return this.#topics.get(topic)?.get(fact)?.message;
  }

  of(topic: string): AnyMessage[] {
    const known: Kept[] = [...(this.#topics.get(topic)?.values() ?? [])];
    if (this.#cold) {
      for (const { seat, text } of this.#cold.events.of(topic)) known.push({ seat, message: JSON.parse(text) });
      known.sort((a, b) => a.seat - b.seat);
    }
    return known.map(({ message }) => message);
  }

  /** Events that are known, each once, in the order in which they were first heard. */
  heard(): ClusterEvent[] {
    const seats = new Map<ClusterEvent, number>();
    for (const known of this.#topics.values())
      for (const { seat, message } of known.values())
        if (isEvent(message)) seats.set(message, Math.min(seat, seats.get(message) ?? seat));
    for (const { seat, text } of this.#cold?.events.all() ?? []) seats.set(JSON.parse(text) as ClusterEvent, seat);
    return [...seats].sort(([, a], [, b]) => a - b).map(([event]) => event);
  }

  /** Between two events: moves out what has not been heard of for the longest time. What the disk has no room for stays. */
  rest(): void {
    if (!this.#cold || this.#warm.size < this.#cold.eventsMax + Math.min(AT_ONCE, this.#cold.eventsMax + 1)) return;
    const { events, eventsMax } = this.#cold;
    const leaving: ColdEvent[] = [];
    for (const [fact, event] of this.#warm) {
      if (this.#warm.size <= eventsMax || leaving.length >= 2 * AT_ONCE) break;
      this.#warm.delete(fact);
      const cold = this.#asCold(fact, event);
      if (cold) leaving.push(cold);
    }
    try {
      events.put(leaving);
    } catch {
      return;
    }
    for (const { fact, seats } of leaving)
      for (const { topic } of seats) {
        const known = this.#topics.get(topic);
        if (known?.delete(fact) && known.size === 0) this.#topics.delete(topic);
      }
  }

  /** Undefined, if it is not in all of its topics. */
  #asCold(fact: string, event: KubeUpserted): ColdEvent | undefined {
    const seats: ColdEvent['seats'][number][] = [];
    for (const { topic } of topicsOf(event)) {
      const kept = this.#topics.get(topic)?.get(fact);
      if (kept?.message !== event) return undefined;
      seats.push({ topic, seat: kept.seat });
    }
    return { fact, text: JSON.stringify(event), seats };
  }

  #fetch(fact: string): void {
    if (!this.#cold?.events.has(fact)) return;
    const cold = this.#cold.events.take(fact);
    if (!cold) return;
    const message = JSON.parse(cold.text) as KubeUpserted;
    this.#warm.set(fact, message);
    for (const { topic, seat } of cold.seats) {
      const known = this.#topics.get(topic);
      if (known) known.set(fact, { seat, message });
      else this.#topics.set(topic, new Map([[fact, { seat, message }]]));
    }
  }

  /** Those on disk come into memory for it. */
  save(): Map<string, Map<string, unknown>> {
    for (const { text } of this.#cold?.events.all() ?? [])
      this.#fetch(topicsOf(JSON.parse(text) as KubeUpserted)[0]?.fact ?? '');
    const inOrder = (known: ReadonlyMap<string, Kept>): Map<string, unknown> =>
      new Map([...known].sort(([, a], [, b]) => a.seat - b.seat).map(([fact, { message }]) => [fact, message]));
    return new Map([...this.#topics].map(([topic, known]) => [topic, inOrder(known)]));
  }

  load(saved: ReadonlyMap<string, ReadonlyMap<string, unknown>>): void {
    for (const [topic, known] of saved)
      for (const [fact, message] of known) this.retain(topic, fact, message as AnyMessage);
  }
}

const SPOKEN: readonly string[] = ['fact', 'settled', 'failed', 'wanted', 'unwanted'];
const isEvent = (message: AnyMessage): message is AnyMessage & ClusterEvent =>
  !SPOKEN.includes(message.type) && !message.type.startsWith('address.');
