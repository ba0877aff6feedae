/**
 * Policy of this node: all policies and all identities in, map entries of all local endpoints out.
 *
 * - Nothing is said and no row is wanted before everything that policy is made of has been listed; until then what an earlier
 *   agent left in the maps stays in force.
 * - Each event touches the rows that it changes, in groups, and no others.
 * - Identities of new CIDRs are in the maps before the policies that name them, and go after them.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Fact, type Kind, speech } from './machine.ts';
import { begin, proceed, retire } from './policy-apply.ts';
import { initialContext, type PolicyContext, policyMachineKey } from './policy-context.ts';
import { endpointPolicyTopic, subjectsTopic } from './policy-facts.ts';
import { hear, type PolicyEvent } from './policy-hear.ts';
import { policyResources } from './policy-objects.ts';
import { factOf, groupRows } from './policy-rows.ts';

// --- context

type Context = PolicyContext;

/** Pods bring endpoints their labels and named ports, namespaces labels too. */
export const policySources: readonly string[] = [
  'local',
  'kube/pods',
  'kube/namespaces',
  'kube/ciliumidentities',
  'kube/ciliumcidrgroups',
  ...policyResources.map((resource) => `kube/${resource}`),
];
/** A CIDR whose identity does not get into the maps holds its policies back for so many attempts. */
const ATTEMPTS_MAX = 3;

// --- events

type Event = PolicyEvent;

// --- guards

const guards = {
  listed: ({ context }: { context: Context }) => policySources.every((source) => context.synced.includes(source)),
  introducing: ({ context }: { context: Context }) => context.waiting.length > 0,
  retiring: ({ context }: { context: Context }) => context.retired.length > 0,
  patient: ({ context }: { context: Context }) => context.waiting.length > 0 && context.backoff.attempt < ATTEMPTS_MAX,
};

// --- machine

const hears = { actions: 'hear' } as const;
const failed = { target: '#policy.failing', actions: 'backOff' } as const;
const heard = { target: '#policy.changing', actions: 'hear' } as const;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    hear: assign(({ context, event }) => hear(context, event)),
    begin: assign(({ context }) => begin(context)),
    proceed: assign(({ context }) => proceed(context)),
    retire: assign(({ context }) => retire(context)),
    backOff: assign(({ context, event }) =>
      event.type === 'failed'
        ? { ...context, touched: [], backoff: failedAgain(context.backoff, event.at, event.error.message) }
        : context,
    ),
    calm: assign(({ context }) => ({ ...context, touched: [], backoff: calm })),
    rest: assign(({ context }) => (context.touched.length > 0 ? { ...context, touched: [] } : context)),
  },
  guards,
}).createMachine({
  id: 'policy',
  options: { maxIterations: 100 },
  context: ({ input }) => initialContext(input.agent),
  initial: 'listing',
  states: {
    /** Waits for the first lists. */
    listing: {
      always: { target: 'changing', guard: 'listed', actions: 'begin' },
      on: {
        'agent.started': hears,
        'local.restored': hears,
        'source.synced': hears,
        'kube.upserted': hears,
        'kube.deleted': hears,
        fact: hears,
      },
    },
    /** Its rows are being applied. */
    changing: {
      always: { target: 'introducing', guard: 'introducing' },
      on: {
        failed,
        'agent.started': hears,
        'kube.upserted': hears,
        'kube.deleted': hears,
        fact: hears,
        settled: [
          { target: 'retiring', guard: 'retiring', actions: 'retire' },
          { target: 'steady', actions: 'calm' },
        ],
      },
    },
    /** Identities of new CIDRs are on their way into the maps; the policies that name them come next. */
    introducing: {
      on: {
        failed,
        'agent.started': hears,
        'kube.upserted': hears,
        'kube.deleted': hears,
        fact: hears,
        settled: { target: 'changing', actions: 'proceed' },
      },
    },
    /** Identities of CIDRs that nobody names any more are on their way out. */
    retiring: {
      on: {
        failed,
        'agent.started': heard,
        'kube.upserted': heard,
        'kube.deleted': heard,
        fact: heard,
        settled: { target: 'steady', actions: 'calm' },
      },
    },
    /** What policies say is in the maps. */
    steady: {
      always: { target: 'introducing', guard: 'introducing' },
      on: {
        failed,
        'agent.started': heard,
        'kube.upserted': heard,
        'kube.deleted': heard,
        fact: heard,
      },
    },
    /** A row did not get into the kernel; the others do. */
    failing: {
      on: {
        'agent.started': hears,
        'kube.upserted': hears,
        'kube.deleted': hears,
        fact: hears,
        'timer.fired': [
          { target: 'introducing', guard: 'patient', actions: ['rest', { type: 'retry' }] },
          { target: 'changing', guard: 'introducing', actions: ['proceed', { type: 'retry' }] },
          { target: 'changing', actions: ['rest', { type: 'retry' }] },
        ],
        settled: [
          { target: 'changing', guard: 'introducing', actions: 'proceed' },
          { target: 'retiring', guard: 'retiring', actions: ['calm', 'retire'] },
          { target: 'steady', actions: 'calm' },
        ],
      },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- facts

function facts({ context }: Snapshot): Fact[] {
  return Object.values(context.subjects).flatMap(({ endpointId, audit }): Fact[] => {
    const value = factOf(context, endpointId, audit);
    return value ? [{ topic: endpointPolicyTopic(endpointId), value }] : [];
  });
}

const BASE_TOPICS = [
  'agent',
  'local',
  subjectsTopic,
  'every/ciliumidentities',
  'every/ciliumcidrgroups',
  ...policyResources.map((resource) => `every/${resource}`),
  ...policySources.map((source) => `source/${source}`),
  timerTopic(policyMachineKey, 'retry'),
];
const SERVICE_TOPICS = ['every/services', 'every/endpointslices'];

// --- rows

/** All others are in groups, see `policy-rows.ts`. */
const rows = ({ context, value }: Snapshot): Row[] =>
  value === 'failing' ? [timerRow(policyMachineKey, 'retry', context.backoff.dueMs)] : [];

export const policy: Kind = {
  name: 'policy',
  logic: machine,
  births: (event) =>
    event.type === 'agent.started' && event.config.policy
      ? [{ key: policyMachineKey, input: { agent: event.config } }]
      : [],
  topics: (snapshot: AnyMachineSnapshot) => {
    const { agent, namingServices } = snapshot.context as Context;
    const node = agent.policy?.hostFirewall ? [`nodes/${agent.nodeName}`] : [];
    const services = namingServices > 0 ? SERVICE_TOPICS : [];
    return [...BASE_TOPICS, ...node, ...services];
  },
  facts: (snapshot) => facts(snapshot as Snapshot),
  rows: (snapshot) => rows(snapshot as Snapshot),
  groups: {
    touched: (snapshot) => ((snapshot as Snapshot).context.known ? (snapshot as Snapshot).context.touched : []),
    rows: (snapshot, group) => groupRows((snapshot as Snapshot).context, group),
  },
};
