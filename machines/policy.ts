/**
 * Policy of this node: all policies and all identities in, map entries of all local endpoints out.
 *
 * - Nothing is said and no row is wanted before everything that policy is made of has been listed; until then what an earlier
 *   agent left in the maps stays in force.
 * - Each event touches the rows that it changes, in groups, and no others.
 * - Identities of new CIDRs are in the maps before the policies that name them, and go after them.
 * - What takes away at one end and adds at another takes away first (`policy-settle.ts`).
 */
import { type AnyMachineSnapshot, and, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { apiServerKey } from './api-server.ts';
import { calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Kind, speech } from './machine.ts';
import { nodeIdentitiesTopic } from './node-identity.ts';
import { begin, proceed, retire } from './policy-apply.ts';
import { initialContext, type PolicyContext, policyMachineKey } from './policy-context.ts';
import { policyKnownTopic, subjectsTopic } from './policy-facts.ts';
import { hear, type PolicyEvent, rested } from './policy-hear.ts';
import { policyResources } from './policy-objects.ts';
import { PORT_TOPICS } from './policy-ports.ts';
import { groupFacts, groupRows } from './policy-rows.ts';
import { isRelabelling, open, relabel } from './policy-settle.ts';

// --- context

type Context = PolicyContext;

/** Pods bring endpoints their labels and named ports, namespaces labels too; nodes and slices tell where the API server is. */
export const policySources: readonly string[] = [
  'local',
  'kube/pods',
  'kube/namespaces',
  'kube/ciliumidentities',
  'kube/ciliumcidrgroups',
  'kube/nodes',
  'kube/endpointslices',
  ...policyResources.map((resource) => `kube/${resource}`),
];
/** A CIDR whose identity does not get into the maps holds its policies back for so many attempts. */
const ATTEMPTS_MAX = 3;

// --- events

type Event = PolicyEvent;

// --- guards

const guards = {
  listed: ({ context }: { context: Context }) =>
    [...policySources, ...(context.namingPorts > 0 ? ['kube/ciliumendpoints'] : [])].every((source) =>
      context.synced.includes(source),
    ),
  closing: ({ context }: { context: Context }) => context.closing !== undefined,
  relabelling: ({ context }: { context: Context }) => isRelabelling(context),
  introducing: ({ context }: { context: Context }) => context.waiting.length > 0,
  retiring: ({ context }: { context: Context }) => context.retired.length > 0,
  patient: ({ context }: { context: Context }) => context.backoff.attempt < ATTEMPTS_MAX,
};

// --- machine

const hears = { actions: 'hear' } as const;
const failed = { target: '#policy.failing', actions: 'backOff' } as const;
const heard = { target: '#policy.changing', ...hears } as const;
const news = { 'agent.started': hears, 'kube.upserted': hears, 'kube.deleted': hears, fact: hears } as const;
const newsOfRest = { 'agent.started': heard, 'kube.upserted': heard, 'kube.deleted': heard, fact: heard } as const;
const opens = { target: '#policy.changing', actions: 'open' } as const;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    hear: assign(({ context, event }) => hear(context, event)),
    begin: assign(({ context }) => begin(context)),
    proceed: assign(({ context }) => proceed(context)),
    retire: assign(({ context }) => retire(context)),
    relabel: assign(({ context }) => relabel(context)),
    open: assign(({ context }) => open(context)),
    backOff: assign(({ context, event }) =>
      event.type === 'failed'
        ? { ...rested(context), backoff: failedAgain(context.backoff, event.at, event.error.message) }
        : context,
    ),
    calm: assign(({ context }) => ({ ...rested(context), backoff: calm })),
    rest: assign(({ context }) => rested(context)),
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
      on: { 'local.restored': hears, 'source.synced': hears, ...news },
    },
    /** Its rows are being applied. */
    changing: {
      always: [
        { target: 'closing', guard: 'closing' },
        { target: 'introducing', guard: 'introducing' },
      ],
      on: {
        failed,
        ...news,
        settled: [
          { target: 'retiring', guard: 'retiring', actions: 'retire' },
          { target: 'steady', actions: 'calm' },
        ],
      },
    },
    /** Endpoints come to allow only what they do both before and after the change. */
    closing: {
      on: {
        failed,
        ...news,
        settled: [{ target: 'relabelling', guard: 'relabelling', actions: 'relabel' }, opens],
      },
    },
    /** Addresses get their new identities. */
    relabelling: { on: { failed, ...news, settled: opens } },
    /** Identities of new CIDRs are on their way into the maps, or what was to come before; what waits for them comes next. */
    introducing: {
      on: { failed, ...news, settled: { target: 'changing', actions: 'proceed' } },
    },
    /** Identities of CIDRs that nobody names any more are on their way out. */
    retiring: {
      on: { failed, ...newsOfRest, settled: { target: 'steady', actions: 'calm' } },
    },
    /** What policies say is in the maps. */
    steady: { on: { failed, ...newsOfRest } },
    /** A row did not get into the kernel; the others do. */
    failing: {
      on: {
        ...news,
        'timer.fired': [
          { target: 'closing', guard: and(['closing', 'patient']), actions: ['rest', { type: 'retry' }] },
          { target: 'changing', guard: 'closing', actions: ['open', { type: 'retry' }] },
          { target: 'introducing', guard: and(['introducing', 'patient']), actions: ['rest', { type: 'retry' }] },
          { target: 'changing', guard: 'introducing', actions: ['proceed', { type: 'retry' }] },
          { target: 'changing', actions: ['rest', { type: 'retry' }] },
        ],
        settled: [
          { target: 'closing', guard: 'closing', actions: 'rest' },
          { target: 'changing', guard: 'introducing', actions: 'proceed' },
          { target: 'retiring', guard: 'retiring', actions: ['calm', 'retire'] },
          { target: 'steady', actions: 'calm' },
        ],
      },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- topics

const BASE_TOPICS = [
  'agent',
  'local',
  subjectsTopic,
  apiServerKey,
  'every/ciliumidentities',
  'every/ciliumcidrgroups',
  ...policyResources.map((resource) => `every/${resource}`),
  ...policySources.map((source) => `source/${source}`),
  timerTopic(policyMachineKey, 'retry'),
];
const SERVICE_TOPICS = ['every/services', 'every/endpointslices'];

// --- rows

/** Never, for a timer. */
const NEVER_MS = 8.64e15;

/**
 * All others are in groups, see `policy-rows.ts`. The timer of a change in steps never fires: its row is actual only when what endpoints
 * make of the step is planned, so that the next step is not planned along with it.
 */
function rows({ context, value }: Snapshot): Row[] {
  switch (value) {
    case 'failing':
      return [timerRow(policyMachineKey, 'retry', context.backoff.dueMs)];
    case 'closing':
    case 'relabelling':
      return [timerRow(policyMachineKey, value, NEVER_MS)];
    default:
      return [];
  }
}

export const policy: Kind = {
  name: 'policy',
  logic: machine,
  births: {
    'agent.started': ({ config }) => (config.policy ? [{ key: policyMachineKey, input: { agent: config } }] : []),
  },
  topics: (snapshot: AnyMachineSnapshot) => {
    const { agent, namingServices, namingPorts } = snapshot.context as Context;
    const node = agent.policy?.hostFirewall ? [`nodes/${agent.nodeName}`] : [];
    const others = agent.policy?.nodeSelectorLabels ? [nodeIdentitiesTopic] : [];
    const services = namingServices > 0 ? SERVICE_TOPICS : [];
    const ports = namingPorts > 0 ? PORT_TOPICS : [];
    return [...BASE_TOPICS, ...node, ...others, ...services, ...ports];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
  facts: (snapshot) => ((snapshot as Snapshot).context.known ? [{ topic: policyKnownTopic, value: true }] : []),
  groups: {
    touched: (snapshot) => ((snapshot as Snapshot).context.known ? (snapshot as Snapshot).context.touched : []),
    rows: (snapshot, group) => groupRows((snapshot as Snapshot).context, group),
    facts: (snapshot, group) => groupFacts((snapshot as Snapshot).context, group),
  },
};
