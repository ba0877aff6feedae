/**
 * The local node: its forwarding settings, the gateway that its pods see, and what it says of itself to the cluster.
 *
 * - The gateway is the first address of each pod CIDR and lives on `cilium_host`.
 * - Addresses of the pod CIDRs that no endpoint has are unreachable, never sent to the network.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts, KubeObject } from '../cluster/events.ts';
import { addrKey, type RouteRow, type Row, routeKey } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { hostCidr } from './cidr.ts';
import type { DeviceFact } from './device.ts';
import { reservedIdentities } from './identity.ts';
import { type PoolFact, poolKey } from './ip-pool.ts';
import { type IpsecFact, ipsecKey } from './ipsec.ts';
import { type Fact, type Hears, type Kind, recipe, speech } from './machine.ts';
import { macFor } from './naming.ts';
import {
  announcementOf,
  conflictEvent,
  type HealthEndpointFact,
  healthEndpointTopic,
  keyIdOf,
  type OwnKeys,
} from './node-announcement.ts';
import { claimsTopic, type NodeClaim, type Standing, standingTopic } from './node-claim.ts';
import { endsOf, overheadOf, routingOf, type UnderlayFact, underlayKey, underlayOf } from './underlay.ts';
import { type WireguardFact, wireguardKey } from './wireguard.ts';

// --- context

export interface NodeContext {
  agent: AgentFacts;
  object: KubeObject | undefined;
  pool: PoolFact | undefined;
  devices: Record<string, DeviceFact>;
  wireguard: WireguardFact | undefined;
  ipsec: IpsecFact | undefined;
  healthEndpoint: HealthEndpointFact | undefined;
  /** CIDRs of this node that an older node has too, and that node. */
  lost: Record<string, string>;
  lostAtMs: number;
  backoff: Backoff;
}

type Context = NodeContext;

export const nodeKey = 'node/local';

/** Published on the node's own topic. */
export interface NodeFact {
  gateway4: string;
  gateway6: string;
  mtu: number;
  /** Of packets that may go to other nodes: what these are wrapped in is taken off. */
  routeMtu: number;
  /** By which other nodes know it. */
  address: string;
  /** Number of the key that packets to this node are encrypted with; 0: none. */
  encryptKey: number;
}

const DEFAULT_MTU = 1500;

// --- events

type Event = Hears<'agent.started' | 'kube.upserted' | 'kube.deleted' | 'fact' | 'settled' | 'failed' | 'timer.fired'>;

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    ...speech,
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        if (event.type === 'kube.upserted') draft.object = event.object;
        if (event.type !== 'fact') return;
        if (event.topic === poolKey) draft.pool = event.value as PoolFact | undefined;
        else if (event.topic === wireguardKey) draft.wireguard = event.value as WireguardFact | undefined;
        else if (event.topic === ipsecKey) draft.ipsec = event.value as IpsecFact | undefined;
        else if (event.topic === healthEndpointTopic)
          draft.healthEndpoint = event.value as HealthEndpointFact | undefined;
        else if (event.topic === standingTopic) {
          draft.lost = { ...(event.value as Standing).refused };
          draft.lostAtMs = event.at;
        } else if (event.value === undefined) delete draft.devices[event.from];
        else draft.devices[event.from] = event.value as DeviceFact;
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
    addressed: ({ context }) => context.pool !== undefined,
  },
}).createMachine({
  id: 'node',
  options: { maxIterations: 100 },
  context: ({ input }) => ({
    ...input,
    object: undefined,
    pool: undefined,
    devices: {},
    wireguard: undefined,
    ipsec: undefined,
    healthEndpoint: undefined,
    lost: {},
    lostAtMs: 0,
    backoff: calm,
  }),
  initial: 'discovering',
  on: {
    'agent.started': { actions: 'learn' },
    'kube.upserted': { actions: 'learn' },
    fact: { actions: 'learn' },
  },
  states: {
    /** The Node object has no pod CIDR yet, or has not been seen. */
    discovering: { always: { target: 'addressed', guard: 'addressed' } },
    addressed: { on: { settled: 'ready', failed: { target: 'failing', actions: 'backOff' } } },
    ready: { entry: 'calm', on: { failed: { target: 'failing', actions: 'backOff' } } },
    failing: { on: { 'timer.fired': { target: 'addressed', actions: { type: 'retry' } } } },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

const HOST_LINK = 'cilium_host';
const NET_LINK = 'cilium_net';

function mtuOf({ agent, devices }: Context): number {
  const native = Object.values(devices).filter((device) => device.native);
  return agent.mtu || (native.length > 0 ? Math.min(...native.map((device) => device.mtu)) : DEFAULT_MTU);
}

function forwarding({ ipv4, ipv6 }: AgentFacts): Row[] {
  const on = (key: string): Row => ({ table: 'sysctls', key, value: { value: '1' } });
  return [...(ipv4 ? [on('net.ipv4.ip_forward')] : []), ...(ipv6 ? [on('net.ipv6.conf.all.forwarding')] : [])];
}

/** Programs at the node's cgroup, which translate services in the sockets of its pods and its own processes. */
function socketRows({ services, datapathBuild: build }: AgentFacts): Row[] {
  if (!services?.socketLB) return [];
  const { cgroupRoot: cgroup, sockHooks } = services;
  return sockHooks.map((hook) => ({
    table: 'cgroup.attachments',
    key: hook,
    value: { cgroup, program: `sock_${hook}`, build },
  }));
}

function gatewayRows(gateway: string, cidr: string): Row[] {
  if (!gateway) return [];
  const addr = { netns: '', dev: HOST_LINK, address: hostCidr(gateway) };
  const route: RouteRow = { netns: '', type: 'unreachable', dst: cidr, dev: '', via: '', src: '', mtu: 0 };
  return [
    { table: 'addrs', key: addrKey(addr), value: addr },
    { table: 'routes', key: routeKey(route), value: route },
    {
      table: 'bpf.ipcache',
      key: hostCidr(gateway),
      value: { identity: reservedIdentities.host ?? 0, tunnelEndpoint: '', encryptKey: 0, flags: 0 },
    },
  ];
}

export const keysOf = ({ wireguard, ipsec }: Context): OwnKeys => ({
  wireguard: wireguard?.publicKey ?? '',
  ipsec: ipsec?.announced ?? 0,
});

const underlay = ({ object, devices }: Context, pool: PoolFact, mtu: number): UnderlayFact =>
  underlayOf(object, pool, Object.values(devices), mtu);

function facts(context: Context): Fact[] {
  const { agent, object, pool } = context;
  if (!pool) return [];
  const mtu = mtuOf(context);
  const own = underlay(context, pool, mtu);
  const { gateway4, gateway6 } = pool;
  const fact: NodeFact = {
    gateway4,
    gateway6,
    mtu,
    routeMtu: mtu - overheadOf(agent, endsOf(routingOf(agent), own, own)?.remote ?? own.ipv4),
    address: own.ipv4 || own.ipv6 || agent.nodeName,
    encryptKey: keyIdOf(keysOf(context)),
  };
  const claim: NodeClaim = {
    name: agent.nodeName,
    own: true,
    created: object?.metadata.creationTimestamp ?? '',
    cidrs: [
      ...new Set([pool.cidr4, pool.cidr6, ...[own.ipv4, own.ipv6].filter(Boolean).map(hostCidr)].filter(Boolean)),
    ].sort(),
  };
  return [
    { topic: nodeKey, value: fact },
    { topic: underlayKey, value: own },
    { topic: claimsTopic, value: claim },
  ];
}

function rows({ context, value }: Snapshot): Row[] {
  const { agent, pool, object, backoff } = context;
  const always = [...forwarding(agent), ...socketRows(agent)];
  if (!pool) return always;
  const wanted: Row[] = [
    ...always,
    {
      table: 'links',
      key: HOST_LINK,
      value: {
        kind: 'veth',
        mac: macFor(`${agent.nodeName}/${HOST_LINK}`),
        mtu: mtuOf(context),
        peer: { name: NET_LINK, mac: macFor(`${agent.nodeName}/${NET_LINK}`), netns: '' },
      },
    },
    ...gatewayRows(pool.gateway4, pool.cidr4),
    ...gatewayRows(pool.gateway6, pool.cidr6),
    ...(object ? [announcementOf(agent, object, pool, keysOf(context), context.healthEndpoint)] : []),
    ...conflictEvent(agent, object?.metadata.uid ?? '', context.lost, context.lostAtMs),
  ];
  return value === 'failing' ? [...wanted, timerRow(nodeKey, 'retry', backoff.dueMs)] : wanted;
}

export const node: Kind = {
  name: 'node',
  logic: machine,
  births: { 'agent.started': ({ config }) => [{ key: nodeKey, input: { agent: config } }] },
  topics: ({ context }: AnyMachineSnapshot) => [
    'agent',
    'devices',
    poolKey,
    wireguardKey,
    ipsecKey,
    healthEndpointTopic,
    `nodes/${(context as Context).agent.nodeName}`,
    timerTopic(nodeKey, 'retry'),
  ],
  facts: (snapshot) => facts((snapshot as Snapshot).context),
  rows: (snapshot) => rows(snapshot as Snapshot),
};
