/**
 * Another node as the other end of IPsec associations: one each way for each key that is accepted.
 *
 * - Sent is with the key that the other node has told of, as long as this node has it; else with this node's newest.
 * - Keys are named by number and fingerprint; what is derived from them for the two nodes only the driver knows.
 * - Marks carry the node's number here and the key's number: Linux finds associations by mark, far end and key number.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts, IpsecKey } from '../cluster/events.ts';
import { type Row, type XfrmPolicyRow, type XfrmStateRow, xfrmPolicyKey, xfrmStateKey } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { IPSEC_REQID, type IpsecFact, ipsecKey } from './ipsec.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { type ClusterNodeFact, clusterNodeTopic } from './remote-node.ts';
import type { PeerFact } from './remote-node-context.ts';

// --- context

interface Context {
  key: string;
  agent: AgentFacts | undefined;
  node: ClusterNodeFact | undefined;
  ipsec: IpsecFact | undefined;
  backoff: Backoff;
}

const PREFIX = 'ipsec-peer/';
const nameOf = (key: string): string => key.slice(PREFIX.length);

// --- events

type Event = Hears<'agent.started' | 'fact' | 'unwanted' | 'wanted' | 'settled' | 'failed' | 'timer.fired'>;

// --- machine

const isKeyed = ({ agent, node, ipsec }: Context): boolean =>
  agent !== undefined && ipsec !== undefined && ipsec.keys.length > 0 && node !== undefined && node.keyId > 0;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type !== 'fact') return;
        if (event.topic === ipsecKey) draft.ipsec = event.value as IpsecFact | undefined;
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
  id: 'ipsec-peer',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, agent: undefined, node: undefined, ipsec: undefined, backoff: calm }),
  initial: 'keyless',
  on: {
    'agent.started': { actions: 'learn' },
    fact: { actions: 'learn' },
    unwanted: '.gone',
  },
  states: {
    /** The node has told of no key, or this node has none. */
    keyless: { always: { target: 'associating', guard: 'keyed' } },
    associating: {
      always: { target: 'keyless', guard: 'keyless' },
      on: { settled: 'associated', failed: { target: 'failing', actions: 'backOff' } },
    },
    associated: {
      entry: 'calm',
      always: { target: 'keyless', guard: 'keyless' },
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'keyless', guard: 'keyless' },
      on: { settled: 'associated', 'timer.fired': { target: 'associating', actions: { type: 'retry' } } },
    },
    gone: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

/** reference/datapath.md, section 5: bits 8 to 11 say what it is, 12 to 15 the key, 16 to 31 the node. */
const ENCRYPT = 0x0e00;
const DECRYPT = 0x0d00;
const WHAT_BITS = 0x0f00;
const KEY_SHIFT = 2 ** 12;
const NODE_SHIFT = 2 ** 16;
const NODE_BITS = 0xffff_0000;
const KEY_BITS = 0xf000;

/** Number of the key to send with; 0: none. */
function sendKey({ node, ipsec }: Context): number {
  if (!node || node.keyId === 0 || !ipsec) return 0;
  const isHere = ipsec.keys.some(({ id }) => id === node.keyId);
  return isHere ? node.keyId : (ipsec.keys.at(-1)?.id ?? 0);
}

function associations({ id: nodeId, local, remote }: ClusterNodeFact, { id, fingerprint }: IpsecKey): XfrmStateRow[] {
  const common = { spi: id, reqid: IPSEC_REQID, mode: 'tunnel', fingerprint } as const;
  return [
    {
      ...common,
      direction: 'out',
      src: local,
      dst: remote,
      mark: ENCRYPT + id * KEY_SHIFT + nodeId * NODE_SHIFT,
      markMask: NODE_BITS + KEY_BITS + WHAT_BITS,
      outputMark: ENCRYPT,
      outputMarkMask: WHAT_BITS,
    },
    {
      ...common,
      direction: 'in',
      src: remote,
      dst: local,
      mark: DECRYPT + nodeId * NODE_SHIFT,
      markMask: NODE_BITS + WHAT_BITS,
      outputMark: DECRYPT,
      outputMarkMask: NODE_BITS + WHAT_BITS,
    },
  ];
}

/** What bears the mark is encrypted, whatever it is. */
function policies({ ipv4, ipv6 }: AgentFacts, node: ClusterNodeFact, { id }: IpsecKey): XfrmPolicyRow[] {
  const anywhere = [...(ipv4 ? ['0.0.0.0/0'] : []), ...(ipv6 ? ['::/0'] : [])];
  return anywhere.map((all) => ({
    direction: 'out',
    src: all,
    dst: all,
    mark: ENCRYPT + id * KEY_SHIFT + node.id * NODE_SHIFT,
    markMask: NODE_BITS + KEY_BITS + WHAT_BITS,
    action: 'allow',
    templateSrc: node.local,
    templateDst: node.remote,
    spi: id,
    reqid: IPSEC_REQID,
    optional: false,
  }));
}

function rows({ context, value }: Snapshot): Row[] {
  const { key, agent, node, ipsec, backoff } = context;
  if (value === 'gone' || !agent || !node || !ipsec || !isKeyed(context)) return [];
  const encryptKey = sendKey(context);
  const wanted: Row[] = [
    ...ipsec.keys.flatMap((one) =>
      associations(node, one).map((row): Row => ({ table: 'xfrm.states', key: xfrmStateKey(row), value: row })),
    ),
    ...ipsec.keys.flatMap((one) =>
      policies(agent, node, one).map((row): Row => ({ table: 'xfrm.policies', key: xfrmPolicyKey(row), value: row })),
    ),
    ...node.addresses.map(
      (address): Row => ({ table: 'bpf.nodes', key: address, value: { nodeId: node.id, encryptKey } }),
    ),
  ];
  return value === 'failing' ? [...wanted, timerRow(key, 'retry', backoff.dueMs)] : wanted;
}

export const ipsecPeer: Kind = {
  name: 'ipsec-peer',
  logic: machine,
  serves: PREFIX,
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key } = context as Context;
    return ['agent', clusterNodeTopic(nameOf(key)), ipsecKey, timerTopic(key, 'retry')];
  },
  facts: (snapshot) => {
    const context = snapshot.context as Context;
    const fact: PeerFact = {
      ready: (context.ipsec?.keys.length ?? 0) > 0,
      encryptKey: isKeyed(context) ? sendKey(context) : 0,
    };
    return [{ topic: context.key, value: fact }];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
};
