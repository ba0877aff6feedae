/**
 * One Service on this node: waiting → no-backends → balancing → draining … → gone.
 *
 * - Born of its Service or of a slice that names it; it is over when there is neither.
 * - It wants nothing before the node's facts say that all lists are complete: rows that are in the kernel from before stay.
 * - An external address and port that another has (`service-claims.ts`) is not wanted, and a Kubernetes event says so.
 * - A row that cannot be applied (a full map) is tried again with growing pauses; the other rows stay as they are.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { KubeUpserted } from '../cluster/events.ts';
import { calm, failedAgain, timerTopic } from './backoff.ts';
import { type Birth, type Fact, type Kind, recipe, speech } from './machine.ts';
import { claimTopic } from './service-claims.ts';
import { claimOf, initialContext, learn, type ServiceContext, type ServiceEvent } from './service-context.ts';
import { serviceNodeKey } from './service-node.ts';
import { groupRows, serviceRows } from './service-rows.ts';

// --- context

type Context = ServiceContext;

// --- events

type Event = ServiceEvent;

// --- guards

const phases = ['gone', 'waiting', 'unserved', 'contested', 'no-backends', 'draining', 'balancing'] as const;
type Phase = (typeof phases)[number];

/** Several guards ask of one context, one after the other. */
let lastAsked: { context: Context; phase: Phase } | undefined;
function phaseOf(context: Context): Phase {
  if (lastAsked?.context !== context) lastAsked = { context, phase: phaseIn(context) };
  return lastAsked.phase;
}

function phaseIn({ spec, slices, node, isHeard, frontends, lost, sets }: Context): Phase {
  if (!spec) return isHeard && Object.keys(slices).length === 0 ? 'gone' : 'waiting';
  if (!node) return 'waiting';
  if (frontends.length === 0) return 'unserved';
  if (Object.keys(lost).length > 0) return 'contested';
  const chosen = Object.values(sets).filter(({ backends }) => backends.length > 0);
  if (chosen.length === 0) return 'no-backends';
  return chosen.every(({ draining }) => draining) ? 'draining' : 'balancing';
}

const isIn =
  (phase: Phase) =>
  ({ context }: { context: Context }): boolean =>
    phaseOf(context) === phase;

/** Wherever it is, it goes to the state that what it knows means. */
const to = (...targets: Phase[]) => targets.map((target) => ({ target, guard: target }) as const);
const failing = { target: 'failing', actions: 'backOff' } as const;
const served = { always: to(...phases), on: { failed: failing } } as const;

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string } },
  actions: {
    ...speech,
    learn: assign(({ context, event }) => learn(context, event)),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'failed') return;
        draft.backoff = failedAgain(draft.backoff, event.at, `${event.table} ${event.key}: ${event.error.message}`);
        draft.groups.touched = [];
      }),
    ),
    calm: assign(({ context }) => ({ backoff: calm, groups: { ...context.groups, touched: [] } })),
  },
  guards: {
    gone: isIn('gone'),
    waiting: isIn('waiting'),
    unserved: isIn('unserved'),
    contested: isIn('contested'),
    'no-backends': isIn('no-backends'),
    draining: isIn('draining'),
    balancing: isIn('balancing'),
    /** Of the rows that fail together the first counts. */
    counted: ({ context, event }) => event.type === 'failed' && event.at < context.backoff.dueMs,
    shaken: ({ context }) => context.backoff.attempt > 0,
  },
}).createMachine({
  id: 'service',
  options: { maxIterations: 100 },
  context: ({ input }) => initialContext(input.key),
  initial: 'waiting',
  on: {
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
    fact: { actions: 'learn' },
    settled: { guard: 'shaken', actions: 'calm' },
  },
  states: {
    /** Its Service, or the end of the first lists, has not been seen. */
    waiting: { always: to('gone', 'unserved', 'contested', 'no-backends', 'draining', 'balancing') },
    /** Headless, a name elsewhere, or another proxy's. */
    unserved: { always: to('gone', 'waiting', 'contested', 'no-backends', 'draining', 'balancing') },
    /** Another has some of its addresses; the others are served. */
    contested: { ...served, always: to('gone', 'waiting', 'unserved', 'no-backends', 'draining', 'balancing') },
    /** New connections are refused. */
    'no-backends': { ...served, always: to('gone', 'waiting', 'unserved', 'contested', 'draining', 'balancing') },
    /** Only terminating backends are left. */
    draining: { ...served, always: to('gone', 'waiting', 'unserved', 'contested', 'no-backends', 'balancing') },
    balancing: { ...served, always: to('gone', 'waiting', 'unserved', 'contested', 'no-backends', 'draining') },
    /** A row could not be applied. */
    failing: {
      always: to('gone', 'waiting', 'unserved'),
      on: {
        failed: [{ guard: 'counted' }, failing],
        settled: 'no-backends',
        'timer.fired': { target: 'no-backends', actions: { type: 'retry' } },
      },
    },
    gone: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

const isServed = ({ context }: Snapshot): boolean => context.spec !== undefined && context.frontends.length > 0;

function bornOf({ resource, object }: KubeUpserted): Birth[] {
  if (resource !== 'services' && resource !== 'endpointslices') return [];
  const { namespace = '', name, labels } = object.metadata;
  const service = resource === 'services' ? name : labels?.['kubernetes.io/service-name'];
  if (!service) return [];
  const key = `service/${namespace}/${service}`;
  return [{ key, input: { key } }];
}

// --- speech

type Said = Pick<Context, 'spec'> & { topics: string[]; facts: Fact[] };

/** Of the last context with these frontends: what else it depends on changes seldom, slices all the time. */
const said = new WeakMap<Context['frontends'], Said>();

function saidBy(context: Context): Said {
  const { key, service, spec, frontends } = context;
  const known = said.get(frontends);
  if (known && known.spec === spec) return known;
  const rivals = frontends.filter(({ type }) => type !== 'ClusterIP').map((frontend) => claimTopic(frontend.key));
  const own = [`services/${service}`, `slices/${service}`, serviceNodeKey];
  const made = {
    spec,
    topics: [...own, timerTopic(key, 'retry'), ...rivals],
    facts: frontends.map((frontend) => ({ topic: claimTopic(frontend.key), value: claimOf(context, frontend) })),
  };
  said.set(frontends, made);
  return made;
}

export const service: Kind = {
  name: 'service',
  logic: machine,
  births: { 'kube.upserted': bornOf },
  repeatsLists: true,
  topics: ({ context }: AnyMachineSnapshot) => saidBy(context as Context).topics,
  facts: ({ context }: AnyMachineSnapshot) => saidBy(context as Context).facts,
  rows: (snapshot) => {
    const { value, context } = snapshot as Snapshot;
    return isServed(snapshot as Snapshot) ? serviceRows(context, value === 'failing') : [];
  },
  groups: {
    touched: (snapshot) => (snapshot.context as Context).groups.touched,
    rows: (snapshot, group) => (isServed(snapshot as Snapshot) ? groupRows(snapshot.context as Context, group) : []),
  },
};
