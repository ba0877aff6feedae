/** What an endpoint knows, what it hears, and how the one changes by the other; its machine is in `endpoint.ts`. */
import { type AgentFacts, type ClusterEvent, type KubeObject, labelsKey } from '../cluster/events.ts';
import { labelFilter, podIdentityLabels } from '../policy/labels.ts';
import type { CniReplyRow, LocalEndpointRow } from '../state/tables.ts';
import { type Backoff, calm } from './backoff.ts';
import type { IdentityFact } from './identity.ts';
import type { Hears } from './machine.ts';
import { linkName, macFor } from './naming.ts';
import { type NodeFact, nodeKey } from './node.ts';
import { type EndpointPolicyFact, endpointPolicyTopic, flagsOf } from './policy-facts.ts';

/** The endpoint by which other nodes see whether pods of this node can be reached: the agent's own, and no pod's. */
export const HEALTH_CONTAINER = 'cilium-health';
const HEALTH_LINK = 'lxc_health';
const HEALTH_LABELS = 'reserved:health=;';
export const isHealth = ({ containerId }: Pick<LocalEndpointRow, 'containerId'>): boolean =>
  containerId === HEALTH_CONTAINER;

interface Subjecthood {
  identity: number;
  labels: string[];
}

export interface EndpointContext extends LocalEndpointRow {
  key: string;
  flags: number;
  /** Its policy is known, or nothing will ever be said of it. */
  policed: boolean;
  /** What policy could not do for it, in words; else empty. */
  policyProblem: string;
  hostMac: string;
  agent: AgentFacts | undefined;
  pod: KubeObject | undefined;
  /** It has gone from the API server, before its sandbox: nobody is to be told of it any more. */
  podGone: boolean;
  namespace: KubeObject | undefined;
  /** Canonical text of the labels the pod has now; `labels` and `identity` may still be of the labels before. */
  labelsText: string;
  /** What it has as a subject of policy; it is in force (`identity`, `labels`) when policy says so. */
  wanted: Subjecthood;
  /** By identity: labels of what it wanted since policy last moved it. Policy comes to them one after the other, and may end with any. */
  asked: Record<number, string[]>;
  /** What it will want when the cluster has known it for the time of grace; until then what it has stays. */
  next: (Subjecthood & { dueMs: number }) | undefined;
  /** Why the labels have none; else empty. */
  identityProblem: string;
  /** How other nodes reach it; '' and 0 while this node is not known. */
  nodeAddress: string;
  encryptKey: number;
  /** CNI requests to be answered with the outcome. */
  requests: string[];
  /** CNI requests that failed, whatever becomes of the endpoint. */
  refused: Record<string, NonNullable<CniReplyRow['error']>>;
  /** When a CNI ADD that is still waiting is refused. */
  deadlineMs: number;
  backoff: Backoff;
}

/** Why this machine came to life. */
export type EndpointInput = { key: string } & (
  | { why: 'add'; request: Extract<ClusterEvent, { type: 'cni.add' }>; at: number }
  | { why: 'del'; request: Extract<ClusterEvent, { type: 'cni.del' }> }
  | { why: 'restored'; row: LocalEndpointRow }
);

/** The runtime gives CNI about a minute; we answer before that, with a reason. */
const ADD_TIMEOUT_MS = 30_000;

const POLICY_UNKNOWN =
  'its policy is not known yet: policies, namespaces and identities have not all been listed from the API server';

/** CNI spec 1.1, "Error": well-known 11 try again later; 100 and up are the plugin's own. */
export const CNI_TRY_AGAIN = 11;
export const CNI_EXISTS = 100;
export const CNI_NO_ADDRESS = 101;
export const CNI_PROGRAMMING = 102;

export type EndpointEvent = Hears<
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

export function initialContext(input: EndpointInput): EndpointContext {
  const blank = {
    agent: undefined,
    pod: undefined,
    podGone: false,
    namespace: undefined,
    labelsText: '',
    asked: {},
    next: undefined,
    identityProblem: '',
    policed: false,
    policyProblem: '',
    requests: [],
    refused: {},
    backoff: calm,
  };
  if (input.why === 'restored') {
    const { row } = input;
    return {
      ...row,
      ...blank,
      nodeAddress: '',
      encryptKey: 0,
      flags: row.flags ?? 0,
      wanted: { identity: row.identity, labels: row.labels },
      key: input.key,
      hostMac: macFor(`host/${row.link}`),
      deadlineMs: 0,
    };
  }
  const { containerId, ifname } = input.request;
  const link = isHealth(input.request) ? HEALTH_LINK : linkName(containerId, ifname);
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
    nodeAddress: '',
    encryptKey: 0,
    identity: 0,
    labels: [],
    wanted: { identity: 0, labels: [] },
    flags: 0,
    requests: [input.request.requestId],
    deadlineMs: input.why === 'add' ? input.at + ADD_TIMEOUT_MS : 0,
  };
}

export function learn(draft: EndpointContext, event: EndpointEvent): void {
  switch (event.type) {
    case 'agent.started':
      draft.agent = event.config;
      // One that has an address may be wired: what it has it keeps.
      if (!draft.ipv4 && !draft.ipv6) draft.device = event.config.podDevice;
      break;
    case 'kube.upserted':
      if (event.resource === 'namespaces') draft.namespace = event.object;
      else if (!draft.podUid || draft.podUid === event.object.metadata.uid) {
        draft.pod = event.object;
        draft.podGone = false;
      }
      break;
    case 'kube.deleted':
      if (event.resource === 'pods' && (!draft.podUid || draft.podUid === event.object.metadata.uid))
        draft.podGone = true;
      return;
    case 'fact':
      if (event.value === undefined) return;
      if (event.topic === nodeKey) learnNode(draft, event.value as NodeFact);
      else if (event.topic === endpointPolicyTopic(draft.endpointId))
        learnPolicy(draft, event.value as EndpointPolicyFact);
      else if (event.topic === `identity/${draft.labelsText}`) {
        const { identity, problem, sinceMs } = event.value as IdentityFact;
        draft.identityProblem = problem;
        // Of before it stays in force.
        if (identity === 0) return;
        want(draft, { identity, labels: draft.labelsText.split(';').filter(Boolean) }, sinceMs, event.at);
      }
      break;
    case 'timer.fired':
      if (draft.next) want(draft, draft.next, 0, event.at);
      return;
    default:
      return;
  }
  const { pod, namespace, agent } = draft;
  if (isHealth(draft)) draft.labelsText = HEALTH_LABELS;
  else if (pod && namespace && agent) {
    const filter = labelFilter(agent.policy?.labels ?? []);
    const text = labelsKey(podIdentityLabels(pod, namespace, agent.clusterName, filter));
    if (text === draft.labelsText) return;
    draft.labelsText = text;
    draft.next = undefined;
  }
}

export const graceTimer = (key: string): string => `${key}/identity`;

/** At once if it is the first, or if everybody has had the time to hear of it. The API server's clock may be ahead of ours. */
function want(draft: EndpointContext, { identity, labels }: Subjecthood, sinceMs: number, at: number): void {
  const dueMs = Math.min(sinceMs, at) + (draft.agent?.policy?.identityChangeGraceMs ?? 0);
  const isOther = draft.wanted.identity !== 0 && draft.wanted.identity !== identity;
  draft.next = isOther && sinceMs > 0 && dueMs > at ? { identity, labels, dueMs } : undefined;
  if (draft.next) return;
  draft.wanted = { identity, labels };
  draft.asked[identity] = labels;
  // Another than the one it has is for policy to allow.
  if (draft.identity === 0 || !draft.agent?.policy) take(draft);
}

function take(draft: EndpointContext, identity = draft.wanted.identity): void {
  const { wanted, asked } = draft;
  const labels = identity === wanted.identity ? wanted.labels : asked[identity];
  // What was never asked for is what it has.
  if (!labels) return;
  if (identity !== draft.identity && identity === wanted.identity) draft.asked = {};
  draft.identity = identity;
  draft.labels = labels;
}

function learnPolicy(draft: EndpointContext, fact: EndpointPolicyFact): void {
  take(draft, fact.identity);
  draft.policed = true;
  draft.policyProblem = fact.problem;
  draft.flags = flagsOf(fact);
}

function learnNode(draft: EndpointContext, fact: NodeFact): void {
  draft.mtu = fact.mtu;
  draft.routeMtu = fact.routeMtu;
  draft.nodeAddress = fact.address;
  draft.encryptKey = fact.encryptKey;
  draft.gateway4 ||= fact.gateway4;
  draft.gateway6 ||= fact.gateway6;
}

export function refuseAll(draft: EndpointContext, code: number, msg: string, details: string): void {
  for (const id of draft.requests) draft.refused[id] = { code, msg, details };
  draft.requests = [];
}

/** What a waiting CNI ADD waits for, in words. */
export function missing(context: EndpointContext): string {
  const pod = `${context.podNamespace}/${context.podName}`;
  if (!context.pod && !isHealth(context))
    return `pod ${pod}${context.podUid ? ` with uid ${context.podUid}` : ''} has not been seen on the API server`;
  if (!context.namespace && !isHealth(context))
    return `namespace ${context.podNamespace} has not been seen on the API server`;
  if (context.identity === 0) {
    const { identityProblem } = context;
    return `labels ${context.labelsText} have no identity yet${identityProblem ? `: ${identityProblem}` : ''}`;
  }
  if (context.mtu === 0) return 'the node has no pod CIDR yet (field spec.podCIDRs of its Node)';
  if (!context.policed && context.agent?.policy) return POLICY_UNKNOWN;
  return `rows are not programmed yet: ${context.backoff.reason || 'still being applied'}`;
}
