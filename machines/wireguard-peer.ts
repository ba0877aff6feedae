/**
 * Another node as a peer of this node's WireGuard device.
 *
 * - Lives as long as its remote node wants it; the row is named by the peer's key, so that a new key is a new peer, which takes over
 *   the addresses before the old one goes.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { hostCidr } from './cidr.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { WIREGUARD_KEY_ID } from './node-announcement.ts';
import { type ClusterNodeFact, clusterNodeTopic } from './remote-node.ts';
import type { PeerFact } from './remote-node-context.ts';
import { encryptionOf, routingOf } from './underlay.ts';
import { WIREGUARD_LINK, type WireguardFact, wireguardKey } from './wireguard.ts';

// --- context

interface Context {
  key: string;
  agent: AgentFacts | undefined;
  node: ClusterNodeFact | undefined;
  device: WireguardFact | undefined;
  backoff: Backoff;
}

const PREFIX = 'wireguard-peer/';
const nameOf = (key: string): string => key.slice(PREFIX.length);

// --- events

type Event = Hears<'agent.started' | 'fact' | 'unwanted' | 'wanted' | 'settled' | 'failed' | 'timer.fired'>;

// --- machine

/** A peer with this node's own key is refused by the kernel without a word. */
const isKeyed = ({ agent, node, device }: Context): boolean =>
  agent !== undefined &&
  device !== undefined &&
  node !== undefined &&
  node.wireguardKey !== '' &&
  node.wireguardKey !== device.publicKey;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type !== 'fact') return;
        if (event.topic === wireguardKey) draft.device = event.value as WireguardFact | undefined;
        else draft.node = event.value as ClusterNodeFact | undefined;
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
    keyed: ({ context }) => isKeyed(context),
    keyless: ({ context }) => !isKeyed(context),
  },
}).createMachine({
  id: 'wireguard-peer',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, agent: undefined, node: undefined, device: undefined, backoff: calm }),
  initial: 'keyless',
  on: {
    'agent.started': { actions: 'learn' },
    fact: { actions: 'learn' },
    unwanted: '.gone',
  },
  states: {
    /** The node has told no key, or this node has none. */
    keyless: { always: { target: 'adding', guard: 'keyed' } },
    adding: {
      always: { target: 'keyless', guard: 'keyless' },
      on: { settled: 'known', failed: { target: 'failing', actions: 'backOff' } },
    },
    known: {
      entry: 'calm',
      always: { target: 'keyless', guard: 'keyless' },
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'keyless', guard: 'keyless' },
      on: { settled: 'known', 'timer.fired': { target: 'adding', actions: { type: 'retry' } } },
    },
    gone: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

/** Its pods; its own addresses too where what they send or what is wrapped between them is encrypted. */
function allowedIps(agent: AgentFacts, { podCidrs, addresses, internal }: ClusterNodeFact): string[] {
  const isWrapped = routingOf(agent).mode !== 'native' || encryptionOf(agent).nodeEncryption;
  return [...new Set([...podCidrs, ...internal.map(hostCidr), ...(isWrapped ? addresses.map(hostCidr) : [])])].sort();
}

function rows({ context, value }: Snapshot): Row[] {
  const { key, agent, node, backoff } = context;
  if (value === 'gone' || !agent || !node || !isKeyed(context)) return [];
  const { remote } = node;
  const peer: Row = {
    table: 'wireguard.peers',
    key: node.wireguardKey,
    value: {
      dev: WIREGUARD_LINK,
      node: node.name,
      endpoint: `${remote.includes(':') ? `[${remote}]` : remote}:${encryptionOf(agent).wireguardPort}`,
      allowedIps: allowedIps(agent, node),
      keepaliveSeconds: 0,
    },
  };
  return value === 'failing' ? [peer, timerRow(key, 'retry', backoff.dueMs)] : [peer];
}

export const wireguardPeer: Kind = {
  name: 'wireguard-peer',
  logic: machine,
  serves: PREFIX,
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key } = context as Context;
    return ['agent', clusterNodeTopic(nameOf(key)), wireguardKey, timerTopic(key, 'retry')];
  },
  facts: (snapshot) => {
    const context = snapshot.context as Context;
    const fact: PeerFact = { ready: context.device !== undefined, encryptKey: isKeyed(context) ? WIREGUARD_KEY_ID : 0 };
    return [{ topic: context.key, value: fact }];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
};
