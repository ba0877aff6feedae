/**
 * The living machines: who hears what, who knows what, and each one's transitions.
 *
 * - Messages are delivered in the order in which they were sent; a step ends when none is left.
 * - A fact is handed to whoever subscribes to its topic later; a fact that did not change is not sent again.
 * - A machine in its final state lives on until its rows are settled, and then leaves without a trace; what would bring it
 *   to life meanwhile does so then, or when what is left are deletes that failed.
 */
import type { AnyMachineSnapshot } from 'xstate';
import { type ClusterEvent, type KubeObject, keepsTopics, type TopicRef, topicsOf } from '../cluster/events.ts';
import type { Birth, Births, Fact, FactMessage, Kind, RowName, Tell } from '../machines/machine.ts';
import { initialTransition, transition } from '../machines/transition.ts';
import { canonical, type Row } from '../state/tables.ts';
import { type AnyMessage, type ColdPlace, Facts } from './facts.ts';
import type { Cause, Transition } from './inspect.ts';
import type { RowEntry } from './rows.ts';
import type { SavedMachine, SavedPopulation } from './saved.ts';

const HISTORY_MAX = 50;
const HISTORY_FEW = 8;
/** Messages that one event may cause; more is a loop between machines, and a defect. */
const MESSAGES_MAX = 1_000_000;

export interface Machine {
  readonly key: string;
  readonly kind: Kind;
  snapshot: AnyMachineSnapshot;
  topics: ReadonlySet<string>;
  /** The list that `topics` was made of, of a kind that repeats its lists. */
  topicList: readonly string[] | undefined;
  facts: Map<string, string>;
  /** The list that `facts` was made of, likewise. */
  factList: readonly Fact[] | undefined;
  /** Facts of `Kind.groups`, by group; a group without facts is not there. */
  groupFacts: Map<string, Map<string, string>>;
  rows: readonly RowEntry[];
  /** Rows of `Kind.groups`, by group, but for named ones: lists of the entries themselves, or of names where rows may be out of memory. */
  groups: Map<string, readonly RowName[]>;
  /** Rows that are wanted or given up, and not settled. */
  unsettled: Set<RowEntry>;
  /** Something happened since it was last told that it is settled. */
  owedSettled: boolean;
  history: Transition[];
}

/** What the engine does with a machine's wishes. */
export interface RowKeeper {
  /** `rows` is what the machine wants now, after `by`. */
  rewrite(machine: Machine, rows: readonly Row[], by: Transition): void;
  /** The same for one group of rows. */
  rewriteGroup(machine: Machine, group: string, rows: readonly Row[], by: Transition): void;
  retry(machine: Machine): void;
  /** The machine is over, and something would bring it to life. */
  await(machine: Machine): void;
}

const nothing: readonly never[] = [];

export class Population {
  readonly machines = new Map<string, Machine>();
  readonly #subscribers = new Map<string, Set<string>>();
  readonly #facts: Facts;
  #queue: { to: string; message: AnyMessage }[] = [];
  /** By key of a machine that is over and not yet buried: events that gave birth to it anew. */
  readonly #rebirths = new Map<string, { birth: Birth; event: ClusterEvent }[]>();
  readonly #kinds: readonly Kind[];
  /** Kinds that are born of events of this type. */
  readonly #bearing = new Map<string, { kind: Kind; births: NonNullable<Births[ClusterEvent['type']]> }[]>();
  readonly #keeper: RowKeeper;
  readonly #onTransition: (transition: Transition) => void;
  transitions = 0;
  /** Words to machines that do not live. */
  unheard = 0;

  constructor(
    kinds: readonly Kind[],
    keeper: RowKeeper,
    onTransition: (transition: Transition) => void,
    cold: ColdPlace | undefined,
  ) {
    this.#kinds = kinds;
    for (const kind of kinds) {
      for (const [type, births] of Object.entries(kind.births ?? {}))
        this.#bearing.set(type, [...(this.#bearing.get(type) ?? []), { kind, births }]);
    }
    this.#facts = new Facts(cold);
    this.#keeper = keeper;
    this.#onTransition = onTransition;
  }

  /** Between two events. */
  save(): SavedPopulation {
    const machines = [...this.machines.values()].map(
      ({ kind, snapshot, topicList: _, factList: __, ...machine }): SavedMachine => {
        const { value, context, status } = snapshot;
        return { ...machine, kind: kind.name, snapshot: { value, context: JSON.stringify(context), status } };
      },
    );
    const { transitions, unheard } = this;
    return {
      machines,
      subscribers: this.#subscribers,
      facts: this.#facts.save(),
      rebirths: this.#rebirths,
      transitions,
      unheard,
    };
  }

  load({ machines, subscribers, facts, rebirths, transitions, unheard }: SavedPopulation): void {
    for (const { kind: name, snapshot, ...machine } of machines) {
      const kind = this.#kinds.find((one) => one.name === name);
      if (!kind) throw new Error(`there is no kind of machine named ${name}`);
      const { value, context, status } = snapshot;
      const resolved = kind.logic.resolveState({ value, context: JSON.parse(context), status } as never);
      this.machines.set(machine.key, {
        ...machine,
        kind,
        snapshot: resolved,
        topicList: undefined,
        factList: undefined,
      });
    }
    for (const [topic, keys] of subscribers) this.#subscribers.set(topic, keys);
    this.#facts.load(facts);
    for (const [key, births] of rebirths) this.#rebirths.set(key, births);
    this.transitions = transitions;
    this.unheard = unheard;
  }

  /** Lets an event be heard; `run` must follow. */
  announce(event: ClusterEvent, cause: Cause): void {
    // Of these nobody is born, and nobody hears but by his rows.
    if (event.type === 'ops.done' || event.type === 'observed') return;
    for (const { kind, births } of this.#bearing.get(event.type) ?? []) {
      for (const birth of births(event as never, cause.at)) {
        const machine = this.machines.get(birth.key);
        if (machine?.snapshot.status !== 'done') this.#bear(kind, birth, cause);
        else {
          this.#postpone(birth, event);
          this.#keeper.await(machine);
        }
      }
    }
    const topics = topicsOf(event);
    if (event.type === 'kube.upserted' || event.type === 'kube.deleted') this.#retract(topics, event.object);
    for (const { topic, fact, gone } of topics) {
      if (fact !== undefined) this.#facts.retain(topic, fact, gone ? undefined : event);
      this.#publish(topic, event);
    }
  }

  /** Where an object was heard of under a topic that it no longer has, or that its end does not name, it is gone. */
  #retract(topics: readonly TopicRef[], object: KubeObject): void {
    const [own] = topics;
    const before = own?.fact === undefined ? undefined : this.#facts.get(own.topic, own.fact);
    if (before?.type !== 'kube.upserted' || keepsTopics(before.resource, before.object, object)) return;
    for (const { topic, fact } of topicsOf(before)) {
      if (fact === undefined || topics.some((now) => now.topic === topic)) continue;
      this.#facts.retain(topic, fact, undefined);
      this.#publish(topic, { ...before, type: 'kube.deleted' });
    }
  }

  /** Something would bring it to life, were it not there. */
  isAwaited({ key }: Machine): boolean {
    return this.#rebirths.has(key);
  }

  knows(topic: string, fact: string): boolean {
    return this.#facts.get(topic, fact) !== undefined;
  }

  /** Events whose facts are retained, each once. */
  heard(): ClusterEvent[] {
    return this.#facts.heard();
  }

  /** Between two events. */
  rest(): void {
    this.#facts.rest();
  }

  send(to: string, message: AnyMessage): void {
    this.#queue.push({ to, message });
  }

  /** Delivers until nobody has anything to say. */
  run(cause: Cause): void {
    for (let count = 0; this.#queue.length > 0; count++) {
      if (count > MESSAGES_MAX)
        throw new Error(`event ${cause.seq} (${cause.type} ${cause.subject}) keeps machines talking for ever`);
      const batch = this.#queue;
      this.#queue = [];
      for (const { to, message } of batch) this.#deliver(to, message, cause);
    }
  }

  #bear(kind: Kind, { key, input }: Birth, cause: Cause): void {
    if (this.machines.has(key)) return;
    const [snapshot, actions] = initialTransition(kind.logic, input);
    const machine: Machine = {
      key,
      kind,
      snapshot,
      topics: new Set(),
      topicList: undefined,
      facts: new Map(),
      factList: undefined,
      groupFacts: new Map(),
      rows: [],
      groups: new Map(),
      unsettled: new Set(),
      owedSettled: true,
      history: [],
    };
    this.machines.set(key, machine);
    this.#moved(machine, '', 'born', cause);
    this.#act(machine, actions);
    this.#express(machine, cause);
  }

  #postpone(birth: Birth, event: ClusterEvent): void {
    const known = this.#rebirths.get(birth.key);
    if (known) known.push({ birth, event });
    else this.#rebirths.set(birth.key, [{ birth, event }]);
  }

  /** Of facts that ended meanwhile nothing is born; later occurrences are heard by the newborn. */
  #bearAgain(kind: Kind, key: string, cause: Cause): void {
    const isTrue = (event: ClusterEvent): boolean =>
      topicsOf(event).every(({ topic, fact }) => fact === undefined || this.#facts.get(topic, fact) !== undefined);
    const [first, ...later] = (this.#rebirths.get(key) ?? []).filter(({ event }) => isTrue(event));
    this.#rebirths.delete(key);
    if (!first) return;
    this.#bear(kind, first.birth, cause);
    for (const { event } of later) this.send(key, event);
  }

  #deliver(to: string, message: AnyMessage, cause: Cause): void {
    const machine = this.machines.get(to);
    if (!machine) {
      this.unheard++;
      return;
    }
    const before = machine.snapshot;
    const from = nameOf(before);
    const [snapshot, actions] = transition(machine.kind.logic, before, { ...message, at: cause.at });
    const hasMoved = nameOf(snapshot) !== from;
    const hasChanged = hasMoved || !hasSameFields(snapshot.context, before.context);
    if (hasChanged) machine.snapshot = snapshot;
    if (hasMoved) {
      machine.owedSettled = true;
      this.#moved(machine, from, message.type, cause);
    }
    this.#act(machine, actions);
    if (hasChanged) this.#express(machine, cause, message.type);
  }

  #moved(machine: Machine, from: string, on: string, cause: Cause): void {
    this.transitions++;
    const record: Transition = { machine: machine.key, from, to: nameOf(machine.snapshot), on, cause };
    // A list that is pushed to has room for sixteen more, which most machines never need.
    if (machine.history.length < HISTORY_FEW) machine.history = [...machine.history, record];
    else if (machine.history.push(record) > HISTORY_MAX) machine.history.shift();
    this.#onTransition(record);
  }

  #act(machine: Machine, actions: readonly { type: string; params?: unknown }[]): void {
    for (const action of actions) {
      if (action.type === 'tell') {
        const { to, message } = action.params as Tell;
        this.send(to, message);
      } else if (action.type === 'retry') this.#keeper.retry(machine);
    }
  }

  /** Brings topics, facts and rows in line with the snapshot. */
  #express(machine: Machine, cause: Cause, on = 'born'): void {
    const { kind, snapshot } = machine;
    const over = snapshot.status === 'done';
    const topics = over ? nothing : kind.topics(snapshot);
    if (topics !== machine.topicList) this.#subscribe(machine, topics, cause);
    if (kind.repeatsLists) machine.topicList = topics;
    const facts = over ? nothing : (kind.facts?.(snapshot) ?? nothing);
    if (facts !== machine.factList) machine.facts = this.#state(machine, machine.facts, facts);
    if (kind.repeatsLists) machine.factList = facts;
    const state = nameOf(snapshot);
    const last = machine.history.at(-1);
    const by =
      last && last.cause.seq === cause.seq && last.on === on
        ? last
        : { machine: machine.key, from: state, to: state, on, cause };
    this.#keeper.rewrite(machine, over ? [] : kind.rows(snapshot), by);
    if (!kind.groups) return;
    const touched = over
      ? new Set([...machine.groups.keys(), ...machine.groupFacts.keys(), ...namedGroups(kind, snapshot)])
      : kind.groups.touched(snapshot);
    for (const group of touched) {
      const facts = over ? [] : (kind.groups.facts?.(snapshot, group) ?? []);
      this.#stateGroup(machine, group, facts);
      this.#keeper.rewriteGroup(machine, group, over ? [] : kind.groups.rows(snapshot, group), by);
    }
  }

  #subscribe(machine: Machine, topics: readonly string[], cause: Cause): void {
    if (topics.length === machine.topics.size && topics.every((topic) => machine.topics.has(topic))) return;
    const now = new Set(topics);
    const before = machine.topics;
    machine.topics = now;
    for (const topic of now) {
      if (before.has(topic)) continue;
      const subscribers = this.#subscribers.get(topic) ?? new Set();
      this.#subscribers.set(topic, subscribers.add(machine.key));
      const server = this.#kinds.find((kind) => kind.serves !== undefined && topic.startsWith(kind.serves));
      if (server && !this.machines.has(topic)) this.#bear(server, { key: topic, input: { key: topic } }, cause);
      else if (server && subscribers.size === 1) this.send(topic, { type: 'wanted' });
      for (const message of this.#facts.of(topic)) this.send(machine.key, message);
    }
    for (const topic of before) {
      if (now.has(topic)) continue;
      const subscribers = this.#subscribers.get(topic);
      subscribers?.delete(machine.key);
      if (subscribers?.size !== 0) continue;
      this.#subscribers.delete(topic);
      if (this.machines.has(topic)) this.send(topic, { type: 'unwanted' });
    }
  }

  /** Says what of `facts` is news after `before`; returns what has been said, as text by topic. */
  #state(machine: Machine, before: ReadonlyMap<string, string>, facts: readonly Fact[]): Map<string, string> {
    const now = new Map(facts.map(({ topic, value }) => [topic, canonical(value)]));
    for (const topic of before.keys()) {
      if (!now.has(topic)) this.#fact(machine, topic, undefined);
    }
    for (const { topic, value } of facts) {
      if (before.get(topic) !== now.get(topic)) this.#fact(machine, topic, value);
    }
    return now;
  }

  #stateGroup(machine: Machine, group: string, facts: readonly Fact[]): void {
    const before = machine.groupFacts.get(group);
    if (!before && facts.length === 0) return;
    const now = this.#state(machine, before ?? new Map(), facts);
    if (now.size > 0) machine.groupFacts.set(group, now);
    else machine.groupFacts.delete(group);
  }

  #fact(machine: Machine, topic: string, value: unknown): void {
    const message: Omit<FactMessage, never> = { type: 'fact', topic, from: machine.key, value };
    this.#facts.retain(topic, machine.key, value === undefined ? undefined : message);
    this.#publish(topic, message);
  }

  #publish(topic: string, message: AnyMessage): void {
    for (const key of this.#subscribers.get(topic) ?? []) this.send(key, message);
  }

  /** Takes a machine out that is over and has no rows left. */
  bury(machine: Machine, cause: Cause): void {
    this.machines.delete(machine.key);
    const from = nameOf(machine.snapshot);
    this.transitions++;
    this.#onTransition({ machine: machine.key, from, to: '', on: 'buried', cause });
    this.#bearAgain(machine.kind, machine.key, cause);
    // A topic may have found a new subscriber after its machine was told that it is unwanted.
    const server = this.#subscribers.get(machine.key)?.size
      ? this.#kinds.find((kind) => kind === machine.kind)
      : undefined;
    if (server?.serves) this.#bear(server, { key: machine.key, input: { key: machine.key } }, cause);
  }
}

/** Those that it has, and those that it may have had before its last event. */
const namedGroups = ({ groups }: Kind, snapshot: AnyMachineSnapshot): string[] =>
  groups?.named ? [...groups.named.groups(snapshot), ...groups.touched(snapshot)] : [];

/** `ready`, or `up.ready` where states are nested. */
export function nameOf(snapshot: AnyMachineSnapshot): string {
  if (typeof snapshot.value === 'string') return snapshot.value;
  const parts: string[] = [];
  let value: unknown = snapshot.value;
  while (typeof value === 'object' && value !== null) {
    const [first] = Object.entries(value);
    if (!first) break;
    parts.push(first[0]);
    value = first[1];
  }
  return typeof value === 'string' ? [...parts, value].join('.') : parts.join('.');
}

/** XState makes a new context for each assignment, also for one that changes nothing. */
function hasSameFields(a: object, b: object): boolean {
  if (a === b) return true;
  for (const key in a) if (a[key as keyof typeof a] !== b[key as keyof typeof b]) return false;
  for (const key in b) if (!(key in a)) return false;
  return true;
}

/** One that is over but for deletes that failed is over: they are nobody's, and tried again when their tables are looked at. */
export function releaseStuck({ key, snapshot, unsettled }: Machine): void {
  if (snapshot.status !== 'done') return;
  for (const { error, inFlight } of unsettled) if (!error || inFlight) return;
  for (const entry of unsettled) entry.watchers.delete(key);
  unsettled.clear();
}
