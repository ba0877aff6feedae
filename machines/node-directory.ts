/**
 * The directory of nodes: who has which pod CIDRs and addresses, and which number each node has here.
 *
 * - Of two nodes that claim something in common the older has it, of two of one age the one whose name is first; this node's own
 *   pods are never taken from it.
 * - A node's number follows from its name, or from the one it had before a restart; where that is taken, the next free one.
 */
import { assign, enqueueActions, setup } from 'xstate';
import { PersistentMap } from '../policy/persistent-map.ts';
import { CidrClaims } from './cidr-claims.ts';
import { type Hears, type Kind, speech, type Tell } from './machine.ts';
import { fnv1a } from './naming.ts';
import { claimsTopic, directoryKey, type NodeClaim, type Standing, standingTopic } from './node-claim.ts';

// --- context

interface Context {
  /** JSON makes a record of it, and it comes back from that. */
  claims: CidrClaims | Record<string, readonly string[]>;
  nodes: Book<NodeClaim>;
  ids: Book<number>;
  taken: Book<string>;
  /** From before the start, by address. */
  restored: Record<string, number>;
  /** Nodes whose standing may be another since the last event. */
  shaken: readonly string[];
}

type Book<V> = Pages<V> | Record<string, V>;

/** A map that a change does not copy; as JSON it is a record. */
class Pages<V> {
  readonly map: PersistentMap<string, V>;

  constructor(map: PersistentMap<string, V>) {
    this.map = map;
  }

  toJSON(): Record<string, V> {
    return Object.fromEntries([...this.map.entries()].sort(([a], [b]) => (a < b ? -1 : 1)));
  }
}

function open<V>(book: Book<V>): PersistentMap<string, V> {
  if (book instanceof Pages) return book.map;
  return Object.entries(book).reduce((map, [key, value]) => map.set(key, value), PersistentMap.empty<string, V>());
}

const claimsOf = ({ claims }: Context): CidrClaims => (claims instanceof CidrClaims ? claims : CidrClaims.from(claims));

// --- events

type Event = Hears<'fact' | 'local.restored'>;

// --- machine

const IDS = 65_535;

/** From 1: 0 is no node. */
function idFor(name: string, addresses: readonly string[], context: Context): number {
  const taken = open(context.taken);
  const isFree = (id: number): boolean => (taken.get(String(id)) ?? name) === name;
  const before = addresses
    .map((cidr) => context.restored[cidr.slice(0, cidr.indexOf('/'))])
    .find((id) => id !== undefined);
  if (before !== undefined && isFree(before)) return before;
  const first = Number.parseInt(fnv1a(name).slice(-8), 16) % IDS;
  for (let step = 0; step < IDS; step++) {
    const id = ((first + step) % IDS) + 1;
    if (isFree(id)) return id;
  }
  return 0;
}

function hear(context: Context, event: Event): Context {
  if (event.type === 'local.restored') return { ...context, restored: event.nodeIds ?? {}, shaken: [] };
  const claim = event.value as NodeClaim | undefined;
  const key = event.from;
  const before = claimsOf(context);
  const claims = before.with(key, claim?.cidrs ?? []);
  const nodes = open(context.nodes);
  const rivals = [
    ...before.of(key).flatMap((cidr) => before.rivals(key, cidr)),
    ...claims.of(key).flatMap((cidr) => claims.rivals(key, cidr)),
  ];
  const known = { ...context, claims, nodes: new Pages(claim ? nodes.set(key, claim) : nodes.delete(key)) };
  const shaken = [...new Set([...(claim ? [key] : []), ...rivals])].sort();
  return { ...numbered(known, key, claim), shaken };
}

function numbered(context: Context, key: string, claim: NodeClaim | undefined): Context {
  const ids = open(context.ids);
  const taken = open(context.taken);
  const had = ids.get(key);
  if (claim && had !== undefined) return context;
  if (!claim)
    return had === undefined
      ? context
      : { ...context, ids: new Pages(ids.delete(key)), taken: new Pages(taken.delete(String(had))) };
  const id = idFor(claim.name, claim.cidrs, context);
  return { ...context, ids: new Pages(ids.set(key, id)), taken: new Pages(taken.set(String(id), claim.name)) };
}

const isOlder = (a: NodeClaim, b: NodeClaim): boolean =>
  a.created === b.created ? a.name < b.name : a.created < b.created;

function standingOf(context: Context, key: string): Standing {
  const nodes = open(context.nodes);
  const own = nodes.get(key);
  const refused: Record<string, string> = {};
  if (!own) return { id: 0, refused };
  for (const cidr of own.cidrs) {
    const winners = claimsOf(context)
      .rivals(key, cidr)
      .map((rival) => nodes.get(rival))
      .filter((rival) => rival !== undefined)
      // This node keeps what it has; it only hears that an older one has it too.
      .filter((rival) => rival.own || isOlder(rival, own))
      .sort((a, b) => (isOlder(a, b) ? -1 : 1));
    const winner = winners.find((rival) => rival.own) ?? winners[0];
    if (winner) refused[cidr] = winner.name;
  }
  return { id: open(context.ids).get(key) ?? 0, refused };
}

/** Words to all whose standing may have changed. */
function words(context: Context): Tell[] {
  return context.shaken.map((key) => ({
    to: key,
    message: { type: 'fact', topic: standingTopic, from: directoryKey, value: standingOf(context, key) },
  }));
}

const machine = setup({
  types: {} as { context: Context; events: Event },
  actions: {
    ...speech,
    hear: assign(({ context, event }) => hear(context, event)),
    tellAll: enqueueActions(({ context, enqueue }) => {
      for (const params of words(context)) enqueue({ type: 'tell', params });
    }),
  },
}).createMachine({
  id: 'node-directory',
  options: { maxIterations: 100 },
  context: { claims: {}, nodes: {}, ids: {}, taken: {}, restored: {}, shaken: [] },
  initial: 'keeping',
  states: {
    keeping: {
      on: {
        'local.restored': { actions: 'hear' },
        fact: { actions: ['hear', 'tellAll'] },
      },
    },
  },
});

// --- rows

export const nodeDirectory: Kind = {
  name: 'node-directory',
  logic: machine,
  births: { 'agent.started': () => [{ key: directoryKey, input: {} }] },
  topics: () => ['local', claimsTopic],
  rows: () => [],
};
