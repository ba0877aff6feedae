/**
 * One pod interface, from CNI ADD to CNI DEL: created → identity → addressed → programmed → ready → leaving.
 *
 * - A state is named after the last milestone reached.
 * - A restored endpoint knows all it needs from its `local.endpoints` row, so its rows never depend on the API server.
 * - While a changed label set has no identity yet, the old identity stays in force.
 * - The answer to CNI ADD comes after every row is actual; the address is free again only after every row is gone.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import { type AgentFacts, type ClusterEvent, type KubeObject, labelsKey } from '../cluster/events.ts';
import { podIdentityLabels } from '../policy/labels.ts';
import type { CniReplyRow, LocalEndpointRow } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerTopic } from './backoff.ts';
import { rows } from './endpoint-rows.ts';
import type { IdentityFact } from './identity.ts';
import { poolKey } from './ip-pool.ts';
import { type Birth, type Hears, type Kind, recipe, speech, type Tell } from './machine.ts';
import { linkName, macFor } from './naming.ts';
import { type NodeFact, nodeKey } from './node.ts';

// --- context

export interface EndpointContext extends LocalEndpointRow {
  key: string;
  hostMac: string;
  agent: AgentFacts | undefined;
  pod: KubeObject | undefined;
  namespace: KubeObject | undefined;
  /** Canonical text of the labels the pod has now; `labels` and `identity` may still be of the labels before. */
  labelsText: string;
  /** CNI requests to be answered with the outcome. */
  requests: string[];
  /** CNI requests that failed, whatever becomes of the endpoint. */
  refused: Record<string, NonNullable<CniReplyRow['error']>>;
  /** When a CNI ADD that is still waiting is refused. */
  deadlineMs: number;
  backoff: Backoff;
}

/** Why this machine came to life. */
type Input = { key: string } & (
  | { why: 'add'; request: Extract<ClusterEvent, { type: 'cni.add' }>; at: number }
  | { why: 'del'; request: Extract<ClusterEvent, { type: 'cni.del' }> }
  | { why: 'restored'; row: LocalEndpointRow }
);

/** The runtime gives CNI about a minute; we answer before that, with a reason. */
const ADD_TIMEOUT_MS = 30_000;

/** CNI spec 1.1, "Error": well-known 11 try again later; 100 and up are the plugin's own. */
const CNI_TRY_AGAIN = 11;
export const CNI_EXISTS = 100;
export const CNI_NO_ADDRESS = 101;
export const CNI_PROGRAMMING = 102;

// --- events

type Event = Hears<
  | 'cni.add'
  | 'cni.del'
  | 'kube.upserted'
  | 'kube.deleted'
  | 'agent.started'
  | 'local.restored'
  | 'fact'
  | 'address.granted'
  | 'address.refused'
  | 'settled'
  | 'failed'
  | 'timer.fired'
>;

function initialContext(input: Input): EndpointContext {
  const blank = {
    agent: undefined,
    pod: undefined,
    namespace: undefined,
    labelsText: '',
    requests: [],
    refused: {},
    backoff: calm,
  };
  if (input.why === 'restored') {
    const { row } = input;
    return { ...row, ...blank, key: input.key, hostMac: macFor(`host/${row.link}`), deadlineMs: 0 };
  }
  const { containerId, ifname } = input.request;
  const link = linkName(containerId, ifname);
  const pod =
    input.why === 'add' ? input.request : { netns: '', podNamespace: '', podName: '', podUid: '', endpointId: 0 };
  return {
    ...blank,
    key: input.key,
    containerId,
    ifname,
    link,
    netns: pod.netns,
    podNamespace: pod.podNamespace,
    podName: pod.podName,
    podUid: pod.podUid,
    endpointId: pod.endpointId,
    mac: macFor(`pod/${link}`),
    hostMac: macFor(`host/${link}`),
    ipv4: '',
    ipv6: '',
    gateway4: '',
    gateway6: '',
    mtu: 0,
    identity: 0,
    labels: [],
    requests: [input.request.requestId],
    deadlineMs: input.why === 'add' ? input.at + ADD_TIMEOUT_MS : 0,
  };
}

function learn(draft: EndpointContext, event: Event): void {
  switch (event.type) {
    case 'agent.started':
      draft.agent = event.config;
      break;
    case 'kube.upserted':
      if (event.resource === 'namespaces') draft.namespace = event.object;
      else if (!draft.podUid || draft.podUid === event.object.metadata.uid) draft.pod = event.object;
      break;
    case 'fact':
      if (event.value === undefined) return;
      if (event.topic === nodeKey) learnNode(draft, event.value as NodeFact);
      else if (event.topic === `identity/${draft.labelsText}`) {
        draft.identity = (event.value as IdentityFact).identity;
        draft.labels = draft.labelsText.split(';').filter(Boolean);
      }
      break;
    default:
      return;
  }
  const { pod, namespace, agent } = draft;
  if (pod && namespace && agent) draft.labelsText = labelsKey(podIdentityLabels(pod, namespace, agent.clusterName));
}

function learnNode(draft: EndpointContext, fact: NodeFact): void {
  draft.mtu = fact.mtu;
  draft.gateway4 ||= fact.gateway4;
  draft.gateway6 ||= fact.gateway6;
}

// --- guards

const guards = {
  unknown: ({ context }: { context: EndpointContext }) => context.endpointId === 0,
  restored: ({ context }: { context: EndpointContext }) =>
    context.identity > 0 && Boolean(context.ipv4 || context.ipv6) && context.agent !== undefined,
  /** Not before the agent is known: a restored endpoint has an address already, and must not ask for another. */
  identified: ({ context }: { context: EndpointContext }) =>
    context.identity > 0 && context.mtu > 0 && context.agent !== undefined,
  /** A newborn hears the request that it was born of. */
  again: ({ context, event }: { context: EndpointContext; event: Event }) =>
    event.type === 'cni.add' && !context.requests.includes(event.requestId),
  repeated: ({ context, event }: { context: EndpointContext; event: Event }) =>
    event.type === 'cni.del' && context.requests.includes(event.requestId),
  hopeless: ({ context, event }: { context: EndpointContext; event: Event }) =>
    event.type === 'failed' && !event.error.retryable && context.requests.length > 0,
  late: ({ context, event }: { context: EndpointContext; event: Event }) =>
    context.requests.length > 0 && context.deadlineMs > 0 && event.at >= context.deadlineMs,
  answered: ({ context }: { context: EndpointContext }) => Object.keys(context.refused).length > 0,
};

function refuseAll(draft: EndpointContext, code: number, msg: string, details: string): void {
  for (const id of draft.requests) draft.refused[id] = { code, msg, details };
  draft.requests = [];
}

/** What a waiting CNI ADD waits for, in words. */
function missing(context: EndpointContext): string {
  const pod = `${context.podNamespace}/${context.podName}`;
  if (!context.pod)
    return `pod ${pod}${context.podUid ? ` with uid ${context.podUid}` : ''} has not been seen on the API server`;
  if (!context.namespace) return `namespace ${context.podNamespace} has not been seen on the API server`;
  if (context.identity === 0) return `labels ${context.labelsText} have no identity yet`;
  if (context.mtu === 0) return 'the node has no pod CIDR yet (field spec.podCIDRs of its Node)';
  return `rows are not programmed yet: ${context.backoff.reason || 'still being applied'}`;
}

const release = ({ context }: { context: EndpointContext }): Tell => ({
  to: poolKey,
  message: { type: 'address.release', owner: context.key },
});

// --- machine

const machine = setup({
  types: {} as { context: EndpointContext; events: Event; input: Input },
  actions: {
    ...speech,
    learn: assign(recipe(learn)),
    accept: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type !== 'cni.del' || draft.requests.includes(event.requestId)) return;
        const gone = `endpoint of container ${draft.containerId} was deleted while it was being added`;
        refuseAll(draft, CNI_TRY_AGAIN, gone, '');
        draft.requests.push(event.requestId);
      }),
    ),
    join: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type === 'cni.del' && !draft.requests.includes(event.requestId)) draft.requests.push(event.requestId);
      }),
    ),
    refuseSecondAdd: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type !== 'cni.add') return;
        draft.refused[event.requestId] = {
          code: CNI_EXISTS,
          msg: `container ${draft.containerId} already has interface ${draft.ifname}`,
          details: `endpoint ${draft.endpointId} of pod ${draft.podNamespace}/${draft.podName}; DEL it before another ADD`,
        };
      }),
    ),
    refuseLate: assign(
      recipe<EndpointContext, Event>((draft) =>
        refuseAll(
          draft,
          CNI_TRY_AGAIN,
          `endpoint of pod ${draft.podNamespace}/${draft.podName} is not ready in time`,
          missing(draft),
        ),
      ),
    ),
    refuseUnaddressed: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type === 'address.refused') refuseAll(draft, CNI_NO_ADDRESS, event.reason, '');
      }),
    ),
    refuseUnprogrammed: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type !== 'failed') return;
        refuseAll(draft, CNI_PROGRAMMING, `${event.table} ${event.key}: ${event.error.errno}`, event.error.message);
      }),
    ),
    forgetAnswers: assign({ requests: [], refused: {}, deadlineMs: 0 }),
    takeAddress: assign(
      recipe<EndpointContext, Event>((draft, event) => {
        if (event.type !== 'address.granted') return;
        draft.ipv4 = event.ipv4;
        draft.ipv6 = event.ipv6;
      }),
    ),
    backOff: assign(
      recipe<EndpointContext, Event>((draft, event) => {
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
    fact: { actions: 'learn' },
    'cni.add': { guard: 'again', actions: 'refuseSecondAdd' },
    'cni.del': [{ guard: 'repeated' }, { target: '.leaving', actions: 'accept' }],
    settled: { guard: 'answered', actions: 'forgetRefused' },
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
        'address.granted': { target: 'addressed', actions: 'takeAddress' },
        'address.refused': { target: 'rejected', actions: 'refuseUnaddressed' },
        'timer.fired': { target: 'rejected', actions: 'refuseLate' },
      },
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
    rejected: { on: { settled: { target: 'gone', actions: { type: 'tell', params: release } } } },
    /** Its rows are being deleted. */
    leaving: {
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

function births(event: ClusterEvent, at: number): Birth[] {
  switch (event.type) {
    case 'cni.add':
    case 'cni.del': {
      const key = `endpoint/${event.containerId}/${event.ifname}`;
      const input: Input =
        event.type === 'cni.add' ? { key, why: 'add', request: event, at } : { key, why: 'del', request: event };
      return [{ key, input }];
    }
    case 'local.restored':
      return event.endpoints.map((row) => {
        const key = `endpoint/${row.containerId}/${row.ifname}`;
        return { key, input: { key, why: 'restored', row } satisfies Input };
      });
    default:
      return [];
  }
}

export const endpoint: Kind = {
  name: 'endpoint',
  logic: machine,
  births,
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key, containerId, ifname, podNamespace, podName, labelsText, endpointId } = context as EndpointContext;
    const own = [`container/${containerId}/${ifname}`, timerTopic(key, 'wake')];
    if (endpointId === 0) return own;
    const identity = labelsText ? [`identity/${labelsText}`] : [];
    return [...own, 'agent', nodeKey, `pods/${podNamespace}/${podName}`, `namespaces/${podNamespace}`, ...identity];
  },
  rows: (snapshot) => rows(snapshot as EndpointSnapshot),
};
