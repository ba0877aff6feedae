/**
 * One pod interface, from CNI ADD to CNI DEL: created → identity → (awaiting-policy →) addressed → programmed → ready → leaving.
 *
 * - It is a subject of policy from the moment it has an identity, and nothing of it is wired before its policy is known.
 * - A state is named after the last milestone reached.
 * - A restored endpoint knows all it needs from its `local.endpoints` row, so its rows never depend on the API server.
 * - While a changed label set has no identity yet, the old identity stays in force; and then until other nodes have had the time to hear
 *   of the new one, and policy says that it may go.
 * - Its `local.endpoints` row is put before all others and deleted after all others: what a dead agent leaves has an owner.
 * - The answer to CNI ADD comes after every row is actual; the address is free again only after every row is gone.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import { calm, failedAgain, timerTopic } from './backoff.ts';
import {
  CNI_EXISTS,
  CNI_NO_ADDRESS,
  CNI_PROGRAMMING,
  CNI_TRY_AGAIN,
  type EndpointContext,
  type EndpointEvent,
  type EndpointInput,
  graceTimer,
  initialContext,
  isHealth,
  learn,
  missing,
  refuseAll,
} from './endpoint-context.ts';
import { rows } from './endpoint-rows.ts';
import { subjectOf } from './endpoint-subject.ts';
import { poolKey } from './ip-pool.ts';
import { type Birth, type Births, type Fact, type Kind, recipe, speech, type Tell } from './machine.ts';
import { nodeKey } from './node.ts';
import { type HealthEndpointFact, healthEndpointTopic } from './node-announcement.ts';
import { endpointPolicyTopic, subjectsTopic } from './policy-facts.ts';

// --- context

type Context = EndpointContext;

// --- events

type Event = EndpointEvent;

// --- guards

const guards = {
  unknown: ({ context }: { context: Context }) => context.endpointId === 0,
  restored: ({ context }: { context: Context }) =>
    context.identity > 0 && Boolean(context.ipv4 || context.ipv6) && context.agent !== undefined,
  /** Not before the agent is known: a restored endpoint has an address already, and must not ask for another. */
  identified: ({ context }: { context: Context }) =>
    context.identity > 0 && context.mtu > 0 && context.agent !== undefined,
  policed: ({ context }: { context: Context }) => context.policed || context.agent?.policy === undefined,
  /** A newborn hears the request that it was born of. */
  again: ({ context, event }: { context: Context; event: Event }) =>
    event.type === 'cni.add' && !context.requests.includes(event.requestId),
  repeated: ({ context, event }: { context: Context; event: Event }) =>
    event.type === 'cni.del' && context.requests.includes(event.requestId),
  hopeless: ({ context, event }: { context: Context; event: Event }) =>
    event.type === 'failed' && !event.error.retryable && context.requests.length > 0,
  late: ({ context, event }: { context: Context; event: Event }) =>
    context.requests.length > 0 && context.deadlineMs > 0 && event.at >= context.deadlineMs,
  /** The new identity has been known for long enough. */
  graced: ({ context, event }: { context: Context; event: Event }) =>
    event.type === 'timer.fired' && event.key === graceTimer(context.key),
  answered: ({ context }: { context: Context }) => Object.keys(context.refused).length > 0,
};

const release = ({ context }: { context: Context }): Tell => ({
  to: poolKey,
  message: { type: 'address.release', owner: context.key },
});

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: EndpointInput },
  actions: {
    ...speech,
    learn: assign(recipe(learn)),
    accept: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'cni.del' || draft.requests.includes(event.requestId)) return;
        const gone = `endpoint of container ${draft.containerId} was deleted while it was being added`;
        refuseAll(draft, CNI_TRY_AGAIN, gone, '');
        draft.requests.push(event.requestId);
      }),
    ),
    join: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'cni.del' && !draft.requests.includes(event.requestId)) draft.requests.push(event.requestId);
      }),
    ),
    refuseSecondAdd: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'cni.add') return;
        draft.refused[event.requestId] = {
          code: CNI_EXISTS,
          msg: `container ${draft.containerId} already has interface ${draft.ifname}`,
          details: `endpoint ${draft.endpointId} of pod ${draft.podNamespace}/${draft.podName}; DEL it before another ADD`,
        };
      }),
    ),
    refuseLate: assign(
      recipe<Context, Event>((draft) =>
        refuseAll(
          draft,
          CNI_TRY_AGAIN,
          `endpoint of pod ${draft.podNamespace}/${draft.podName} is not ready in time`,
          missing(draft),
        ),
      ),
    ),
    refuseUnaddressed: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'address.refused') refuseAll(draft, CNI_NO_ADDRESS, event.reason, '');
      }),
    ),
    refuseUnprogrammed: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'failed') return;
        refuseAll(draft, CNI_PROGRAMMING, `${event.table} ${event.key}: ${event.error.errno}`, event.error.message);
      }),
    ),
    forgetAnswers: assign({ requests: [], refused: {}, deadlineMs: 0 }),
    takeAddress: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'address.granted') return;
        draft.ipv4 = event.ipv4;
        draft.ipv6 = event.ipv6;
      }),
    ),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type !== 'failed') return;
        draft.backoff = failedAgain(draft.backoff, event.at, `${event.table} ${event.key}: ${event.error.message}`);
      }),
    ),
    forgetRefused: assign({ refused: {} }),
    calm: assign({ backoff: calm }),
  },
  guards,
}).createMachine({
  id: 'endpoint',
  options: { maxIterations: 100 },
  context: ({ input }) => initialContext(input),
  initial: 'created',
  on: {
    'agent.started': { actions: 'learn' },
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
    fact: { actions: 'learn' },
    'cni.add': { guard: 'again', actions: 'refuseSecondAdd' },
    'cni.del': [{ guard: 'repeated' }, { target: '.leaving', actions: 'accept' }],
    settled: { guard: 'answered', actions: 'forgetRefused' },
    'timer.fired': { guard: 'graced', actions: 'learn' },
  },
  states: {
    /** Waits for the pod's labels and their identity. */
    created: {
      always: [
        { target: 'departed', guard: 'unknown' },
        { target: 'addressed', guard: 'restored' },
        { target: 'identity', guard: 'identified' },
      ],
      on: { 'timer.fired': { target: 'rejected', actions: 'refuseLate' } },
    },
    /** Waits for an address. */
    identity: {
      entry: {
        type: 'tell',
        params: ({ context }) => ({ to: poolKey, message: { type: 'address.request', owner: context.key } }),
      },
      on: {
        'address.granted': { target: 'awaiting-policy', actions: 'takeAddress' },
        'address.refused': { target: 'rejected', actions: 'refuseUnaddressed' },
        'timer.fired': { target: 'rejected', actions: 'refuseLate' },
      },
    },
    /** Has all but its policy, which is known once everything that policy is made of has been listed. */
    'awaiting-policy': {
      always: { target: 'addressed', guard: 'policed' },
      on: { 'timer.fired': { target: 'rejected', actions: 'refuseLate' } },
    },
    /** Its rows are being applied. */
    addressed: {
      on: {
        settled: { target: 'programmed', actions: 'calm' },
        failed: [
          { target: 'rejected', guard: 'hopeless', actions: 'refuseUnprogrammed' },
          { target: 'failing', actions: 'backOff' },
        ],
      },
    },
    failing: {
      on: {
        'timer.fired': [
          { guard: 'graced', actions: 'learn' },
          { target: 'rejected', guard: 'late', actions: 'refuseLate' },
          { target: 'addressed', actions: { type: 'retry' } },
        ],
      },
    },
    /** Every row is actual; CNI is being answered. */
    programmed: {
      on: {
        settled: { target: 'ready', actions: 'forgetAnswers' },
        failed: { target: 'failing', actions: 'backOff' },
      },
    },
    ready: { on: { failed: { target: 'failing', actions: 'backOff' } } },
    /** CNI ADD failed: everything is taken back, and the runtime is told why. */
    rejected: {
      on: { settled: { target: 'forgotten' }, failed: { target: 'lingering', actions: 'backOff' } },
    },
    /** Its rows are being deleted, and it is remembered until they are: an agent that dies now goes on with it. */
    leaving: {
      on: {
        'cni.del': { actions: 'join' },
        settled: { target: 'forgotten' },
        failed: { target: 'lingering', actions: 'backOff' },
      },
    },
    /** Its last row is being deleted, that by which it is remembered. */
    forgotten: {
      on: {
        'cni.del': { actions: 'join' },
        settled: { target: 'departed' },
        failed: { target: 'lingering', actions: 'backOff' },
      },
    },
    /** A delete failed. */
    lingering: {
      on: { 'cni.del': { actions: 'join' }, 'timer.fired': { target: 'leaving', actions: { type: 'retry' } } },
    },
    /** Nothing is left; CNI is being answered. */
    departed: {
      on: { 'cni.del': { actions: 'join' }, settled: { target: 'gone', actions: { type: 'tell', params: release } } },
    },
    gone: { type: 'final' },
  },
});

export type EndpointSnapshot = SnapshotFrom<typeof machine>;

// --- rows

const keyOf = ({ containerId, ifname }: { containerId: string; ifname: string }): string =>
  `endpoint/${containerId}/${ifname}`;
const born = (input: EndpointInput): Birth => ({ key: input.key, input });

const births: Births = {
  'cni.add': (request, at) => [born({ key: keyOf(request), why: 'add', request, at })],
  'cni.del': (request) => [born({ key: keyOf(request), why: 'del', request })],
  'local.restored': ({ endpoints }) => endpoints.map((row) => born({ key: keyOf(row), why: 'restored', row })),
};

// --- facts

const isNoSubject: ReadonlySet<string> = new Set(['rejected', 'leaving', 'forgotten', 'lingering', 'departed', 'gone']);

function subjectFacts({ context, value }: EndpointSnapshot): Fact[] {
  if (context.identity === 0 || context.endpointId === 0 || isNoSubject.has(value)) return [];
  return [{ topic: subjectsTopic, value: subjectOf(context) }, ...healthFacts(context, value)];
}

const isUp: ReadonlySet<string> = new Set(['addressed', 'failing', 'programmed', 'ready']);

function healthFacts(context: Context, state: EndpointSnapshot['value']): Fact[] {
  const { ipv4, ipv6 } = context;
  return isHealth(context) && isUp.has(state)
    ? [{ topic: healthEndpointTopic, value: { ipv4, ipv6 } satisfies HealthEndpointFact }]
    : [];
}

export const endpoint: Kind = {
  name: 'endpoint',
  logic: machine,
  births,
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key, containerId, ifname, podNamespace, podName, labelsText, endpointId } = context as Context;
    const own = [`container/${containerId}/${ifname}`, timerTopic(key, 'wake'), `timer/${graceTimer(key)}`];
    if (endpointId === 0) return own;
    const identity = labelsText ? [`identity/${labelsText}`] : [];
    const pod = isHealth(context as Context) ? [] : [`pods/${podNamespace}/${podName}`, `namespaces/${podNamespace}`];
    return [...own, endpointPolicyTopic(endpointId), 'agent', nodeKey, ...pod, ...identity];
  },
  facts: (snapshot) => subjectFacts(snapshot as EndpointSnapshot),
  rows: (snapshot) => rows(snapshot as EndpointSnapshot),
};
