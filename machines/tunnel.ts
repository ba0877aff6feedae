/**
 * The tunnel device: one for all other nodes, since each packet says itself where it goes.
 *
 * - It is there, with its programs, before any address is behind it.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { macFor } from './naming.ts';
import { ANY_SOURCE, endsOf, overheadOf, routingOf, type UnderlayFact, underlayKey } from './underlay.ts';

// --- context

interface Context {
  agent: AgentFacts;
  underlay: UnderlayFact | undefined;
  backoff: Backoff;
}

export const tunnelKey = 'tunnel/local';

// --- events

type Event = Hears<'agent.started' | 'fact' | 'settled' | 'failed' | 'timer.fired'>;

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type === 'fact') draft.underlay = event.value as UnderlayFact | undefined;
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
    known: ({ context }) => context.underlay !== undefined,
    unknown: ({ context }) => context.underlay === undefined,
  },
}).createMachine({
  id: 'tunnel',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, underlay: undefined, backoff: calm }),
  initial: 'waiting',
  on: {
    'agent.started': { actions: 'learn' },
    fact: { actions: 'learn' },
  },
  states: {
    /** The node has no pod CIDR yet. */
    waiting: { always: { target: 'opening', guard: 'known' } },
    opening: {
      always: { target: 'waiting', guard: 'unknown' },
      on: { settled: 'open', failed: { target: 'failing', actions: 'backOff' } },
    },
    open: {
      entry: 'calm',
      always: { target: 'waiting', guard: 'unknown' },
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'waiting', guard: 'unknown' },
      on: { settled: 'open', 'timer.fired': { target: 'opening', actions: { type: 'retry' } } },
    },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

const HOST_LINK = 'cilium_host';

function rows({ context, value }: Snapshot): Row[] {
  const { agent, underlay, backoff } = context;
  const { mode, tunnelPort: port } = routingOf(agent);
  if (mode === 'native' || !underlay) return [];
  const name = `cilium_${mode}`;
  const build = agent.datapathBuild;
  const mac = macFor(`${agent.nodeName}/${name}`);
  const wanted: Row[] = [
    ...(agent.ipv4 ? [ANY_SOURCE] : []),
    {
      table: 'tunnels',
      key: name,
      value: { kind: mode, mac, mtu: underlay.mtu, port },
    },
    {
      table: 'attachments',
      key: `${name}/ingress`,
      value: { dev: name, direction: 'ingress', program: 'from_overlay', build },
    },
    {
      table: 'attachments',
      key: `${HOST_LINK}/egress`,
      value: { dev: HOST_LINK, direction: 'egress', program: 'from_host', build },
    },
    {
      table: 'bpf.netdevs',
      key: name,
      // What services send to backends behind the tunnel comes from addresses that other nodes reach by tunnel.
      value: { ipv4: underlay.gateway4, ipv6: underlay.gateway6, mac, flags: 0 },
    },
    {
      table: 'bpf.devices',
      key: 'overlay',
      value: {
        link: name,
        mtu: underlay.mtu - overheadOf(agent, endsOf(routingOf(agent), underlay, underlay)?.remote ?? ''),
      },
    },
  ];
  return value === 'failing' ? [...wanted, timerRow(tunnelKey, 'retry', backoff.dueMs)] : wanted;
}

export const tunnel: Kind = {
  name: 'tunnel',
  logic: machine,
  births: {
    'agent.started': ({ config }) =>
      routingOf(config).mode !== 'native' ? [{ key: tunnelKey, input: { agent: config } }] : [],
  },
  topics: (_: AnyMachineSnapshot) => ['agent', underlayKey, timerTopic(tunnelKey, 'retry')],
  rows: (snapshot) => rows(snapshot as Snapshot),
};
