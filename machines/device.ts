/**
 * A link of the node's own namespace that is not ours: native if pod traffic leaves through it, ignored otherwise.
 *
 * - Every address of the node is in ipcache as identity host, whatever link it is on.
 * - A native device has both netdev programs and its row in `netdevs`, from which masquerading takes its addresses.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts, LinkFacts } from '../cluster/events.ts';
import type { Row, XdpAttachmentRow } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { familyOf, hostCidr } from './cidr.ts';
import { reservedIdentities } from './identity.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';

// --- context

interface Context {
  key: string;
  link: LinkFacts;
  agent: AgentFacts | undefined;
  backoff: Backoff;
}

/** Published on topic `devices`. */
export interface DeviceFact {
  name: string;
  native: boolean;
  mtu: number;
  /** First global addresses, '' where there is none. */
  ipv4: string;
  ipv6: string;
  /** All global addresses. */
  addresses: string[];
  /** The same with prefix length. */
  networks: string[];
}

// --- events

type Event = Hears<'agent.started' | 'link.upserted' | 'link.deleted' | 'settled' | 'failed' | 'timer.fired'>;

/** Links made by us or without a say in forwarding. */
const OURS = /^(lo|lxc.*|cilium_.*)$/;

// --- guards

const isNative = ({ link, agent }: Context): boolean =>
  agent !== undefined && (agent.devices.length > 0 ? agent.devices.includes(link.name) : link.defaultRoute);

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string; link: LinkFacts } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'link.upserted') draft.link = event.link;
        if (event.type === 'agent.started') draft.agent = event.config;
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
    native: ({ context }) => isNative(context),
    foreign: ({ context }) => !isNative(context),
  },
}).createMachine({
  id: 'device',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, agent: undefined, backoff: calm }),
  initial: 'ignored',
  on: {
    'link.upserted': { actions: 'learn' },
    'agent.started': { actions: 'learn' },
    'link.deleted': '.gone',
  },
  states: {
    ignored: { always: { target: 'attaching', guard: 'native' } },
    attaching: {
      always: { target: 'ignored', guard: 'foreign' },
      on: { settled: 'attached', failed: { target: 'failing', actions: 'backOff' } },
    },
    attached: {
      entry: 'calm',
      always: { target: 'ignored', guard: 'foreign' },
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: { target: 'ignored', guard: 'foreign' },
      on: { 'timer.fired': { target: 'attaching', actions: { type: 'retry' } } },
    },
    gone: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

/** enum netdev_flags of bpf/lib/structs.h. */
const NETDEV_XDP = 1;
const bare = (address: string): string => address.slice(0, address.indexOf('/'));

function firstOf(link: LinkFacts, family: 4 | 6): string {
  return link.addresses.map(bare).find((address) => familyOf(address) === family) ?? '';
}

/** A veth takes XDP, but loses what is sent back where its other end has no NAPI, which nobody here can know. */
const xdpMode = (mode: XdpAttachmentRow['mode'], { kind }: LinkFacts): XdpAttachmentRow['mode'] =>
  mode === 'best-effort' && kind === 'veth' ? 'generic' : mode;

function rows({ context, value }: Snapshot): Row[] {
  const { link, agent, key, backoff } = context;
  if (value === 'gone') return [];
  const host: Row[] = link.addresses.map((address) => ({
    table: 'bpf.ipcache',
    key: hostCidr(bare(address)),
    value: { identity: reservedIdentities.host ?? 0, tunnelEndpoint: '', encryptKey: 0, flags: 0 },
  }));
  if (value === 'ignored' || !agent) return host;
  const dev = link.name;
  const build = agent.datapathBuild;
  const xdp = agent.services?.xdp ?? 'off';
  const native: Row[] = [
    ...host,
    {
      table: 'bpf.netdevs',
      key: dev,
      value: { ipv4: firstOf(link, 4), ipv6: firstOf(link, 6), mac: link.mac, flags: xdp === 'off' ? 0 : NETDEV_XDP },
    },
    {
      table: 'attachments',
      key: `${dev}/ingress`,
      value: { dev, direction: 'ingress', program: 'from_netdev', build },
    },
    { table: 'attachments', key: `${dev}/egress`, value: { dev, direction: 'egress', program: 'to_netdev', build } },
  ];
  if (xdp !== 'off')
    native.push({
      table: 'xdp.attachments',
      key: dev,
      value: { dev, program: 'xdp_netdev', mode: xdpMode(xdp, link), build },
    });
  return value === 'failing' ? [...native, timerRow(key, 'retry', backoff.dueMs)] : native;
}

export const device: Kind = {
  name: 'device',
  logic: machine,
  births: {
    'link.upserted': ({ link }) =>
      OURS.test(link.name) ? [] : [{ key: `device/${link.name}`, input: { key: `device/${link.name}`, link } }],
  },
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key, link } = context as Context;
    return ['agent', `link/${link.name}`, timerTopic(key, 'retry')];
  },
  facts: (snapshot) => {
    const { context, value } = snapshot as Snapshot;
    const { link } = context;
    const fact: DeviceFact = {
      name: link.name,
      native: value !== 'ignored',
      mtu: link.mtu,
      ipv4: firstOf(link, 4),
      ipv6: firstOf(link, 6),
      addresses: link.addresses.map(bare),
      networks: link.addresses,
    };
    return value === 'gone' ? [] : [{ topic: 'devices', value: fact }];
  },
  rows: (snapshot) => rows(snapshot as Snapshot),
};
