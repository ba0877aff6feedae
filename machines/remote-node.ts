/**
 * Another node: where its pods are, how they are reached, and whether it answers.
 *
 * - It owns the ipcache rows of its pods, a group for each address: one pod's change touches that pod's rows only.
 * - A pod whose node is not known yet waits as a fact of `endpoints-of/ADDRESS`; one that names another node leaves.
 * - A node that does not answer keeps its rows: the way to it may be back at any time.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { KubeUpserted } from '../cluster/events.ts';
import { apiServerKey } from './api-server.ts';
import { calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { hostCidr } from './cidr.ts';
import type { Birth, Fact, Kind } from './machine.ts';
import { speech } from './machine.ts';
import { claimsTopic, type NodeClaim } from './node-claim.ts';
import { nodeIdentitiesTopic, nodeIdentityOf } from './node-identity.ts';
import { policyKnownTopic } from './policy-facts.ts';
import {
  endpointNodes,
  hear,
  initialContext,
  NO_ROUTE,
  NODE_GROUP,
  peerTopic,
  podsIn,
  type RemoteNodeContext,
  type RemoteNodeEvent,
  remoteNodeKey,
  touchedBy,
  viewIn,
} from './remote-node-context.ts';
import { nodeRows, podRows, verdictOf } from './remote-node-rows.ts';
import { underlayKey } from './underlay.ts';

// --- context

type Context = RemoteNodeContext;

/** Published on `node-of-cluster/NAME` for whatever encrypts. */
export interface ClusterNodeFact {
  name: string;
  id: number;
  local: string;
  remote: string;
  podCidrs: readonly string[];
  addresses: readonly string[];
  internal: readonly string[];
  wireguardKey: string;
  keyId: number;
}
export const clusterNodeTopic = (name: string): string => `node-of-cluster/${name}`;

// --- events

type Event = RemoteNodeEvent;

type Place = 'own' | 'leaving' | 'discovered' | 'unroutable' | 'unreachable' | 'reachable' | 'routed';

/** Asked for by each guard of a state. */
const places = new WeakMap<Context, Place>();

/** Where it belongs, as long as nothing failed. */
function placeOf(context: Context): Place {
  const known = places.get(context) ?? placeFrom(context);
  places.set(context, known);
  return known;
}

function placeFrom(context: Context): Place {
  const { name, agent, gone, route, problems } = context;
  if (agent?.nodeName === name) return 'own';
  if (gone) return 'leaving';
  if (!route) return 'discovered';
  if (problems.some((problem) => problem.startsWith(NO_ROUTE))) return 'unroutable';
  const verdict = verdictOf(context);
  return verdict === 'unknown' ? 'routed' : verdict;
}

function to(...places: Place[]) {
  return places.map((target) => ({
    target,
    guard: ({ context }: { context: Context }) => placeOf(context) === target,
  }));
}

// --- machine

const failing = { failed: { target: 'failing', actions: 'backOff' } } as const;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { name: string } },
  actions: {
    ...speech,
    hear: assign(({ context, event }) => hear(context, event)),
    backOff: assign(({ context, event }) =>
      event.type === 'failed'
        ? { touched: [], touchesPods: false, backoff: failedAgain(context.backoff, event.at, event.error.message) }
        : {},
    ),
    calm: assign({ touched: [], touchesPods: false, backoff: calm }),
  },
  guards: {
    uneasy: ({ context }) => context.backoff.attempt > 0,
  },
}).createMachine({
  id: 'remote-node',
  options: { maxIterations: 100 },
  context: ({ input }) => initialContext(input.name),
  initial: 'discovered',
  on: {
    'agent.started': { actions: 'hear' },
    'source.synced': { actions: 'hear' },
    'kube.upserted': { actions: 'hear' },
    'kube.deleted': { actions: 'hear' },
    'health.probed': { actions: 'hear' },
    fact: { actions: 'hear' },
    settled: { guard: 'uneasy', actions: 'calm' },
  },
  states: {
    /** What is known is not enough: `problems` says what is missing. */
    discovered: { always: to('own', 'leaving', 'unroutable', 'routed', 'reachable', 'unreachable') },
    /** Its pods have rows; whether it answers is not known. */
    routed: { on: failing, always: to('leaving', 'discovered', 'unroutable', 'reachable', 'unreachable') },
    reachable: { on: failing, always: to('leaving', 'discovered', 'unroutable', 'routed', 'unreachable') },
    /** No probe of it is answered. */
    unreachable: { on: failing, always: to('leaving', 'discovered', 'unroutable', 'routed', 'reachable') },
    /** A direct route to its pods is asked for, and it is on no network of this node. */
    unroutable: { on: failing, always: to('leaving', 'discovered', 'routed', 'reachable', 'unreachable') },
    /** A row could not be applied. */
    failing: {
      always: to('leaving', 'discovered'),
      on: {
        settled: { target: 'routed', actions: 'calm' },
        'timer.fired': { target: 'routed', actions: { type: 'retry' } },
      },
    },
    /** Gone from the cluster; its rows go. */
    leaving: { type: 'final' },
    own: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

const isNode = (resource: string): boolean => resource === 'ciliumnodes' || resource === 'nodes';

function bornOf({ resource, object }: KubeUpserted): Birth[] {
  if (!isNode(resource)) return [];
  const { name } = object.metadata;
  return [{ key: remoteNodeKey(name), input: { name } }];
}

function facts(context: Context): Fact[] {
  const { name, agent, route, standing } = context;
  const view = viewIn(context);
  if (!agent || !view || agent.nodeName === name) return [];
  const cidrs = [...new Set([...view.podCidrs, ...view.addresses.map(hostCidr)])].sort();
  const claim: NodeClaim = { name, own: false, created: view.created, cidrs };
  const identity = nodeIdentityOf(context);
  const claimed: Fact[] = [
    { topic: claimsTopic, value: claim },
    ...(identity ? [{ topic: nodeIdentitiesTopic, value: identity }] : []),
  ];
  if (!route || !standing || peerTopic(context) === undefined) return claimed;
  const { local, remote, podCidrs, addresses, internal } = route;
  const { wireguardKey, keyId } = view;
  const fact: ClusterNodeFact = {
    ...{ name, id: standing.id, local, remote, podCidrs, addresses, internal, wireguardKey, keyId },
  };
  return [...claimed, { topic: clusterNodeTopic(name), value: fact }];
}

export const remoteNode: Kind = {
  name: 'remote-node',
  logic: machine,
  births: { 'kube.upserted': bornOf },
  topics: (snapshot: AnyMachineSnapshot) => {
    const context = snapshot.context as Context;
    const { name } = context;
    const peer = peerTopic(context);
    return [
      'agent',
      'source/kube/ciliumnodes',
      'source/kube/ciliumendpoints',
      `ciliumnodes/${name}`,
      `nodes/${name}`,
      underlayKey,
      apiServerKey,
      `health/${name}`,
      timerTopic(remoteNodeKey(name), 'retry'),
      ...endpointNodes(context).map((node) => `endpoints-of/${node}`),
      ...(peer === undefined ? [] : [peer]),
      ...(context.agent?.policy?.nodeSelectorLabels ? [policyKnownTopic] : []),
    ];
  },
  facts: (snapshot) => facts((snapshot as Snapshot).context),
  rows: (snapshot) => {
    const { context, value } = snapshot as Snapshot;
    return value === 'failing' ? [timerRow(remoteNodeKey(context.name), 'retry', context.backoff.dueMs)] : [];
  },
  groups: {
    touched: (snapshot) => touchedBy(snapshot.context as Context),
    rows: (snapshot, group) => {
      const context = snapshot.context as Context;
      return group === NODE_GROUP ? nodeRows(context) : podRows(context, group);
    },
    named: {
      rows: (group) => (group === NODE_GROUP ? undefined : [{ table: 'bpf.ipcache', key: hostCidr(group) }]),
      groups: (snapshot) => podsIn(snapshot.context as Context).addresses(),
    },
  },
};
