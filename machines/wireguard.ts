/**
 * This node's WireGuard device and the public half of its key.
 *
 * - The key is told to others once the device has it: what they encrypt for it can then be read here.
 * - With a new key, packets wait in the device until the others have made a new session: it needs no two keys at a time.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { ANY_SOURCE, encryptionOf, type UnderlayFact, underlayKey, WIREGUARD_BYTES } from './underlay.ts';

// --- context

interface Context {
  agent: AgentFacts;
  underlay: UnderlayFact | undefined;
  /** '' until the key pair is there. */
  publicKey: string;
  /** What the device has, and others may know. */
  announced: string;
  backoff: Backoff;
}

export const wireguardKey = 'wireguard/local';
export const WIREGUARD_LINK = 'cilium_wg0';

/** Published on the machine's topic. */
export interface WireguardFact {
  publicKey: string;
}

// --- events

type Event = Hears<'agent.started' | 'wireguard.keyed' | 'fact' | 'settled' | 'failed' | 'timer.fired'>;

// --- machine

const isReady = ({ publicKey, underlay }: Context): boolean => publicKey !== '' && underlay !== undefined;

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type === 'wireguard.keyed') draft.publicKey = event.publicKey;
        if (event.type === 'fact') draft.underlay = event.value as UnderlayFact | undefined;
      }),
    ),
    announce: assign(({ context }) => ({ announced: context.publicKey, backoff: calm })),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'failed') draft.backoff = failedAgain(draft.backoff, event.at, event.error.message);
      }),
    ),
  },
  guards: {
    ready: ({ context }) => isReady(context),
    unready: ({ context }) => !isReady(context),
    rekeyed: ({ context }) => context.announced !== context.publicKey,
  },
}).createMachine({
  id: 'wireguard',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, underlay: undefined, publicKey: '', announced: '', backoff: calm }),
  initial: 'keyless',
  on: {
    'agent.started': { actions: 'learn' },
    'wireguard.keyed': { actions: 'learn' },
    fact: { actions: 'learn' },
  },
  states: {
    /** Without a key pair, or the node without a pod CIDR. */
    keyless: { always: { target: 'keying', guard: 'ready' } },
    /** The device gets its key. */
    keying: {
      always: { target: 'keyless', guard: 'unready' },
      on: { settled: { target: 'up', actions: 'announce' }, failed: { target: 'failing', actions: 'backOff' } },
    },
    up: {
      always: [
        { target: 'keyless', guard: 'unready' },
        { target: 'keying', guard: 'rekeyed' },
      ],
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'keyless', guard: 'unready' },
      on: {
        settled: { target: 'up', actions: 'announce' },
        'timer.fired': { target: 'keying', actions: { type: 'retry' } },
      },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

/** Of encrypted packets, so that they are not encrypted again; reference/datapath.md, section 5. */
const ENCRYPTED_MARK = 0x1e00;
/** The device has no link layer. */
const NO_MAC = '00:00:00:00:00:00';

function rows({ context, value }: Snapshot): Row[] {
  const { agent, underlay, publicKey, backoff } = context;
  if (!underlay || publicKey === '') return [];
  const build = agent.datapathBuild;
  const wanted: Row[] = [
    ...(agent.ipv4 ? [ANY_SOURCE] : []),
    {
      table: 'wireguard.devices',
      key: WIREGUARD_LINK,
      value: {
        publicKey,
        listenPort: encryptionOf(agent).wireguardPort,
        mtu: underlay.mtu - WIREGUARD_BYTES,
        fwmark: ENCRYPTED_MARK,
      },
    },
    {
      table: 'attachments',
      key: `${WIREGUARD_LINK}/ingress`,
      value: { dev: WIREGUARD_LINK, direction: 'ingress', program: 'from_wireguard', build },
    },
    {
      table: 'bpf.netdevs',
      key: WIREGUARD_LINK,
      value: { ipv4: underlay.ipv4, ipv6: underlay.ipv6, mac: NO_MAC, flags: 0 },
    },
    { table: 'bpf.devices', key: 'wireguard', value: { link: WIREGUARD_LINK, mtu: underlay.mtu - WIREGUARD_BYTES } },
  ];
  return value === 'failing' ? [...wanted, timerRow(wireguardKey, 'retry', backoff.dueMs)] : wanted;
}

export const wireguard: Kind = {
  name: 'wireguard',
  logic: machine,
  births: {
    'agent.started': ({ config }) =>
      encryptionOf(config).type === 'wireguard' ? [{ key: wireguardKey, input: { agent: config } }] : [],
  },
  topics: (_: AnyMachineSnapshot) => ['agent', 'wireguard-key', underlayKey, timerTopic(wireguardKey, 'retry')],
  facts: (snapshot) => {
    const { announced } = snapshot.context as Context;
    return announced ? [{ topic: wireguardKey, value: { publicKey: announced } satisfies WireguardFact }] : [];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
};
