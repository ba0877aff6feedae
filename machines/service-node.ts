/**
 * What services need to know of their node, gathered in one place: ten thousand of them hear of a change that matters to
 * them, and of none that does not.
 *
 * - Nothing is said before the lists of services, slices, nodes and links are complete: until then what a service knows of
 *   its backends may be less than is already in the kernel.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { AgentFacts, KubeObject, ServiceFacts } from '../cluster/events.ts';
import { canonicalAddress, contains, familyOf } from './cidr.ts';
import type { DeviceFact } from './device.ts';
import { type Hears, type Kind, recipe } from './machine.ts';

// --- context

interface Context {
  agent: AgentFacts;
  object: KubeObject | undefined;
  devices: Record<string, DeviceFact>;
  /** Sources whose first list is complete. */
  synced: string[];
}

export const serviceNodeKey = 'service-node/local';

/** Published on the machine's own topic. */
export interface ServiceNodeFact
  extends Pick<
    ServiceFacts,
    'mode' | 'nodePort' | 'externalIPs' | 'hostPort' | 'healthPorts' | 'forwarding' | 'loadBalancerClasses'
  > {
  nodeName: string;
  /** Label `topology.kubernetes.io/zone`, or empty. */
  zone: string;
  ipv4: boolean;
  ipv6: boolean;
  /** 0: random choice everywhere. */
  maglevSize: number;
  /** Where node ports are, loopback included, sorted. */
  addresses: string[];
}

const SOURCES = ['kube/services', 'kube/endpointslices', 'kube/nodes', 'links'] as const;
const ZONE = 'topology.kubernetes.io/zone';
const LOOPBACK = ['127.0.0.1', '::1'];

// --- events

type Event = Hears<'agent.started' | 'source.synced' | 'kube.upserted' | 'kube.deleted' | 'fact'>;

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { agent: AgentFacts } },
  actions: {
    learn: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'agent.started') draft.agent = event.config;
        else if (event.type === 'source.synced') {
          if (!draft.synced.includes(event.source)) draft.synced.push(event.source);
        } else if (event.type === 'kube.upserted') draft.object = event.object;
        else if (event.type === 'kube.deleted') draft.object = undefined;
        else if (event.value === undefined) delete draft.devices[event.from];
        else draft.devices[event.from] = event.value as DeviceFact;
      }),
    ),
  },
  guards: {
    complete: ({ context }) => SOURCES.every((source) => context.synced.includes(source)),
  },
}).createMachine({
  id: 'service-node',
  options: { maxIterations: 100 },
  context: ({ input }) => ({ ...input, object: undefined, devices: {}, synced: [] }),
  initial: 'listing',
  on: {
    'agent.started': { actions: 'learn' },
    'source.synced': { actions: 'learn' },
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
    fact: { actions: 'learn' },
  },
  states: {
    listing: { always: { target: 'known', guard: 'complete' } },
    known: {},
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

function addressesOf({ agent, devices, object }: Context): string[] {
  const chosen = agent.services?.nodePortAddresses ?? [];
  const status = (object?.status ?? {}) as { addresses?: { type: string; address: string }[] };
  const primary = (status.addresses ?? []).filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
  const isChosen = (address: string): boolean =>
    chosen.length === 0 ||
    chosen.some((wish) => (wish === 'primary' ? primary.includes(address) : contains(wish, address)));
  const all = Object.values(devices).flatMap((device) => device.addresses);
  const wanted = [...all.filter(isChosen), ...LOOPBACK]
    .map(canonicalAddress)
    .filter((address) => address !== undefined)
    .filter((address) => (familyOf(address) === 4 ? agent.ipv4 : agent.ipv6));
  return [...new Set(wanted)].sort();
}

function fact(context: Context): ServiceNodeFact {
  const { agent, object } = context;
  const { services } = agent;
  return {
    nodeName: agent.nodeName,
    zone: object?.metadata.labels?.[ZONE] ?? '',
    ipv4: agent.ipv4,
    ipv6: agent.ipv6,
    mode: services?.mode ?? 'off',
    nodePort: services?.nodePort ?? false,
    externalIPs: services?.externalIPs ?? false,
    hostPort: services?.hostPort ?? false,
    healthPorts: services?.healthPorts ?? false,
    forwarding: services?.forwarding ?? 'snat',
    loadBalancerClasses: services?.loadBalancerClasses ?? [],
    maglevSize: services?.algorithm === 'maglev' ? services.maglevTableSize : 0,
    addresses: addressesOf(context),
  };
}

export const serviceNode: Kind = {
  name: 'service-node',
  logic: machine,
  births: { 'agent.started': ({ config }) => [{ key: serviceNodeKey, input: { agent: config } }] },
  topics: ({ context }: AnyMachineSnapshot) => [
    'agent',
    'devices',
    `nodes/${(context as Context).agent.nodeName}`,
    ...SOURCES.map((source) => `source/${source}`),
  ],
  facts: (snapshot) => {
    const { context, value } = snapshot as Snapshot;
    return value === 'known' ? [{ topic: serviceNodeKey, value: fact(context) }] : [];
  },
  rows: () => [],
};
