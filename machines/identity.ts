/**
 * The identity of one label set: a number that the whole cluster agrees on.
 *
 * - Lives as long as somebody subscribes to its topic `identity/<labels>`.
 * - The number comes from CiliumIdentity objects; of several with the same labels the lowest wins.
 * - A single reserved label has a fixed number and needs no object.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { KubeObject } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Fact, type Hears, type Kind, recipe, speech } from './machine.ts';

// --- context

interface Context {
  key: string;
  /** Canonical text of the label set. */
  text: string;
  /** Numbers of the CiliumIdentity objects that bear these labels. */
  numbers: number[];
  /** When each of them was made, in ms. */
  madeMs: Record<string, number>;
  /** All CiliumIdentity objects have been listed: before that, one with these labels may exist unseen. */
  listed: boolean;
  backoff: Backoff;
}

/** reference/identities-and-labels.md, section 2. */
export const reservedIdentities: Readonly<Record<string, number>> = {
  host: 1,
  world: 2,
  unmanaged: 3,
  health: 4,
  init: 5,
  'remote-node': 6,
  'kube-apiserver': 7,
  ingress: 8,
  'world-ipv4': 9,
  'world-ipv6': 10,
};

/** What subscribers of the topic hear. */
export interface IdentityFact {
  /** 0: none could be had so far. */
  identity: number;
  /** Why not. */
  problem: string;
  /** When it was made, in ms; 0: long ago. */
  sinceMs: number;
}

/** The errno of a claim for which the cluster has no number left. */
export const EXHAUSTED = 'EXHAUSTED';

// --- events

type Event = Hears<
  'source.synced' | 'kube.upserted' | 'kube.deleted' | 'wanted' | 'unwanted' | 'settled' | 'failed' | 'timer.fired'
>;

const numberOf = (object: KubeObject): number => Number(object.metadata.name);

/** Cut to the second. It may have been made long before it is heard of here. */
function madeMs({ metadata }: KubeObject): number {
  const { creationTimestamp } = metadata as { creationTimestamp?: string };
  return Date.parse(creationTimestamp ?? '') || 0;
}

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'source.synced') draft.listed = true;
        if (event.type !== 'kube.upserted' && event.type !== 'kube.deleted') return;
        const number = numberOf(event.object);
        draft.numbers = draft.numbers.filter((known) => known !== number);
        if (event.type === 'kube.upserted' && Number.isInteger(number)) draft.numbers.push(number);
        draft.numbers.sort((a, b) => a - b);
        if (event.type === 'kube.upserted') draft.madeMs[number] = madeMs(event.object);
        else delete draft.madeMs[number];
      }),
    ),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'failed') draft.backoff = failedAgain(draft.backoff, event.at, event.error.message);
      }),
    ),
    calm: assign({ backoff: calm }),
  },
  guards: {
    /** Not before all are listed: of several the lowest wins, and a number once given should stay. */
    numbered: ({ context }) => context.listed && context.numbers.length > 0,
    unnumbered: ({ context }) => context.numbers.length === 0,
    exhausted: ({ event }) => event.type === 'failed' && event.error.errno === EXHAUSTED,
  },
}).createMachine({
  id: 'identity',
  options: { maxIterations: 100 },
  context: ({ input }) => {
    const text = input.key.slice('identity/'.length);
    const fixed = reservedIdentities[text.match(/^reserved:([a-z0-9-]+)=;$/)?.[1] ?? ''];
    return {
      key: input.key,
      text,
      numbers: fixed === undefined ? [] : [fixed],
      madeMs: {},
      listed: fixed !== undefined,
      backoff: calm,
    };
  },
  initial: 'unallocated',
  on: {
    'source.synced': { actions: 'learn' },
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
    unwanted: '.released',
  },
  states: {
    unallocated: {
      always: { target: 'allocated', guard: 'numbered' },
      on: {
        failed: [
          { target: 'exhausted', guard: 'exhausted', actions: 'backOff' },
          { target: 'failing', actions: 'backOff' },
        ],
      },
    },
    failing: {
      always: { target: 'allocated', guard: 'numbered' },
      on: { 'timer.fired': { target: 'unallocated', actions: { type: 'retry' } } },
    },
    /** Every number of the cluster is taken; one that is collected may become this one's. */
    exhausted: {
      always: { target: 'allocated', guard: 'numbered' },
      on: { 'timer.fired': { target: 'unallocated', actions: { type: 'retry' } } },
    },
    allocated: {
      entry: 'calm',
      always: { target: 'unallocated', guard: 'unnumbered' },
    },
    released: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

function labelsOf(text: string): Record<string, string> {
  const pairs = text.split(';').filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]));
}

function rows(snapshot: Snapshot): Row[] {
  const { key, text, listed, backoff } = snapshot.context;
  if (!listed) return [];
  if (snapshot.value === 'allocated' || snapshot.value === 'released') return [];
  const labels = labelsOf(text);
  const namespace = labels['k8s:io.kubernetes.pod.namespace'] ?? '';
  const claim: Row = { table: 'identity.claims', key: text, value: { labels, namespace } };
  return snapshot.value === 'unallocated' ? [claim] : [claim, timerRow(key, 'retry', backoff.dueMs)];
}

// --- facts

function facts({ value, context }: Snapshot): Fact[] {
  const {
    key,
    numbers: [lowest],
    madeMs: made,
    backoff,
  } = context;
  const fact = (of: IdentityFact): Fact[] => [{ topic: key, value: of }];
  if (value === 'allocated')
    return lowest === undefined ? [] : fact({ identity: lowest, problem: '', sinceMs: made[lowest] ?? 0 });
  return value === 'failing' || value === 'exhausted' ? fact({ identity: 0, problem: backoff.reason, sinceMs: 0 }) : [];
}

export const identity: Kind = {
  name: 'identity',
  logic: machine,
  serves: 'identity/',
  topics: ({ context }: AnyMachineSnapshot) => [
    'source/kube/ciliumidentities',
    `identity-objects/${(context as Context).text}`,
    timerTopic((context as Context).key, 'retry'),
  ],
  facts: (snapshot) => facts(snapshot as Snapshot),
  rows: (snapshot) => rows(snapshot as Snapshot),
};
