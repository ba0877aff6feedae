/**
 * Host ports of one pod of this node: waiting → exposed → gone.
 *
 * - `hostIP` names the only address; without one the port is on all addresses where node ports are, loopback included.
 * - Two pods that want one port (one is going, the other coming) settle it by claims, as services do.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import type { KubeObject, KubeUpserted } from '../cluster/events.ts';
import { type BackendRow, backendKey, frontendKey, type Row } from '../state/tables.ts';
import { type Backoff, calm, failedAgain, timerRow, timerTopic } from './backoff.ts';
import { canonicalAddress } from './cidr.ts';
import { type Birth, type Hears, type Kind, recipe, speech } from './machine.ts';
import { type Claim, claimedKey, claimTopic, type Rivals, rivalsOf, winnerOver, withRival } from './service-claims.ts';
import { type ServiceNodeFact, serviceNodeKey } from './service-node.ts';
import { familyName, isPort, isProtocol, objectOf, objectsIn, textOf } from './service-slices.ts';
import type { Frontend } from './service-spec.ts';

// --- context

interface Context {
  key: string;
  /** `namespace/name`. */
  pod: string;
  object: KubeObject | undefined;
  isHeard: boolean;
  node: ServiceNodeFact | undefined;
  frontends: HostFrontend[];
  rivals: Rivals;
  backoff: Backoff;
}
interface HostFrontend extends Frontend {
  backend: BackendRow;
}

interface RawPort {
  containerPort?: unknown;
  hostPort?: unknown;
  hostIP?: unknown;
  protocol?: unknown;
}

// --- events

type Event = Hears<'kube.upserted' | 'kube.deleted' | 'fact' | 'settled' | 'failed' | 'timer.fired'>;

function learn(context: Context, event: Event): Context {
  switch (event.type) {
    case 'kube.upserted':
      return asked({ ...context, isHeard: true, object: event.object });
    case 'kube.deleted':
      return asked({ ...context, isHeard: true, object: undefined });
    case 'fact': {
      if (event.topic === serviceNodeKey)
        return asked({ ...context, node: event.value as ServiceNodeFact | undefined });
      const key = claimedKey(event.topic);
      if (key === undefined || event.from === context.key) return context;
      const rivals = withRival(context.rivals, key, event.from, event.value as Claim | undefined);
      return rivals === context.rivals ? context : { ...context, rivals };
    }
    default:
      return context;
  }
}

function asked(context: Context): Context {
  const frontends = frontendsOf(context);
  return { ...context, frontends, rivals: rivalsOf(context.rivals, new Set(frontends.map(({ key }) => key))) };
}

/** Ports of containers that run; init containers end, sidecars do not. */
function portsOf(pod: KubeObject | undefined): RawPort[] {
  const { containers, initContainers } = objectOf<{ containers: unknown; initContainers: unknown }>(pod?.spec);
  const sidecars = objectsIn<{ ports?: unknown; restartPolicy?: unknown }>(initContainers).filter(
    ({ restartPolicy }) => restartPolicy === 'Always',
  );
  const all = [...objectsIn<{ ports?: unknown }>(containers), ...sidecars];
  return all.flatMap(({ ports }) => objectsIn<RawPort>(ports));
}

const isHostNetwork = (pod: KubeObject | undefined): boolean =>
  objectOf<{ hostNetwork: unknown }>(pod?.spec).hostNetwork === true;

/** Host ports, with where they are and where they lead. */
function frontendsOf({ object, node }: Context): HostFrontend[] {
  const { podIPs, phase } = objectOf<{ podIPs: unknown; phase: unknown }>(object?.status);
  if (!node?.hostPort || isHostNetwork(object) || phase === 'Succeeded' || phase === 'Failed') return [];
  const addresses = objectsIn<{ ip?: unknown }>(podIPs).map(({ ip }) => canonicalAddress(textOf(ip)));
  const found = new Map<string, HostFrontend>();
  for (const { containerPort, hostPort, hostIP, protocol = 'TCP' } of portsOf(object)) {
    if (!isPort(containerPort) || !isPort(hostPort) || !isProtocol(protocol)) continue;
    const port = { name: `hostPort-${hostPort}-${protocol}`, port: hostPort, protocol, nodePort: 0 };
    for (const address of placesOf(textOf(hostIP), node)) {
      const family = familyName(address);
      const podIP = addresses.find((ip) => ip && familyName(ip) === family);
      if (!podIP || !(family === 'IPv4' ? node.ipv4 : node.ipv6)) continue;
      const key = frontendKey({ address, port: hostPort, protocol });
      const backend = { address: podIP, port: containerPort, protocol };
      if (!found.has(key)) found.set(key, { key, family, type: 'HostPort', port, backend });
    }
  }
  return [...found.values()];
}

function placesOf(hostIP: string, { addresses }: ServiceNodeFact): string[] {
  if (!hostIP) return addresses;
  const address = canonicalAddress(hostIP);
  if (address === '0.0.0.0' || address === '::')
    return addresses.filter((place) => familyName(place) === familyName(address));
  return address ? [address] : [];
}

const claimOf = ({ pod, object }: Context): Claim => ({
  type: 'HostPort',
  owner: pod,
  created: object?.metadata.creationTimestamp ?? '',
  leaving: object?.metadata.deletionTimestamp !== undefined,
});

// --- machine

const machine = setup({
  types: {} as { context: Context; events: Event; input: { key: string } },
  actions: {
    ...speech,
    learn: assign(({ context, event }) => learn(context, event)),
    backOff: assign(
      recipe<Context, Event>((draft, event) => {
        if (event.type === 'failed') draft.backoff = failedAgain(draft.backoff, event.at, event.error.message);
      }),
    ),
    calm: assign({ backoff: calm }),
  },
  guards: {
    gone: ({ context }) => context.isHeard && context.object === undefined,
    exposed: ({ context }) => context.frontends.length > 0,
    unexposed: ({ context }) => context.frontends.length === 0,
    counted: ({ context, event }) => event.type === 'failed' && event.at < context.backoff.dueMs,
    shaken: ({ context }) => context.backoff.attempt > 0,
  },
}).createMachine({
  id: 'host-port',
  options: { maxIterations: 100 },
  context: ({ input }) => ({
    key: input.key,
    pod: input.key.slice(input.key.indexOf('/') + 1),
    object: undefined,
    isHeard: false,
    node: undefined,
    frontends: [],
    rivals: {},
    backoff: calm,
  }),
  initial: 'waiting',
  on: {
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
    fact: { actions: 'learn' },
    settled: { guard: 'shaken', actions: 'calm' },
  },
  states: {
    /** The pod has no address, has ended, or this node does not serve host ports. */
    waiting: {
      always: [
        { target: 'gone', guard: 'gone' },
        { target: 'exposed', guard: 'exposed' },
      ],
    },
    exposed: {
      always: [
        { target: 'gone', guard: 'gone' },
        { target: 'waiting', guard: 'unexposed' },
      ],
      on: { failed: { target: 'failing', actions: 'backOff' } },
    },
    failing: {
      always: [
        { target: 'gone', guard: 'gone' },
        { target: 'waiting', guard: 'unexposed' },
      ],
      on: {
        failed: [{ guard: 'counted' }, { target: 'failing', actions: 'backOff' }],
        settled: 'exposed',
        'timer.fired': { target: 'exposed', actions: { type: 'retry' } },
      },
    },
    gone: { type: 'final' },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

// --- rows

/** No port of a Service has capitals in its name. */
const setKey = (pod: string, { backend, family }: HostFrontend): string =>
  `${pod}:containerPort-${backend.port}-${backend.protocol}/${family}`;

function rows({ context, value }: Snapshot): Row[] {
  const { pod, node, rivals, key, backoff } = context;
  if (!node || value === 'gone') return [];
  const wanted = new Map<string, Row>();
  const put = (row: Row): unknown => wanted.set(`${row.table} ${row.key}`, row);
  for (const frontend of context.frontends) {
    if (winnerOver(claimOf(context), rivals, frontend.key)) continue;
    const backend = backendKey(frontend.backend);
    const set = setKey(pod, frontend);
    put({ table: 'bpf.backends', key: backend, value: frontend.backend });
    put({ table: 'bpf.backend-sets', key: set, value: { backends: [backend], maglevSize: 0, affinityTimeout: 0 } });
    put({
      table: 'bpf.frontends',
      key: frontend.key,
      value: {
        type: 'HostPort',
        service: pod,
        portName: frontend.port.name,
        internalSet: set,
        externalSet: set,
        externalLocal: false,
        sourceRanges: false,
        forwarding: node.forwarding,
      },
    });
  }
  return value === 'failing' ? [...wanted.values(), timerRow(key, 'retry', backoff.dueMs)] : [...wanted.values()];
}

function bornOf({ resource, object }: KubeUpserted): Birth[] {
  if (resource !== 'pods') return [];
  if (isHostNetwork(object) || !portsOf(object).some(({ hostPort }) => isPort(hostPort))) return [];
  const { namespace = '', name } = object.metadata;
  const key = `host-port/${namespace}/${name}`;
  return [{ key, input: { key } }];
}

export const hostPort: Kind = {
  name: 'host-port',
  logic: machine,
  births: { 'kube.upserted': bornOf },
  topics: ({ context }: AnyMachineSnapshot) => {
    const { key, pod, frontends } = context as Context;
    return [
      `pods/${pod}`,
      serviceNodeKey,
      timerTopic(key, 'retry'),
      ...frontends.map((frontend) => claimTopic(frontend.key)),
    ];
  },
  facts: ({ context }: AnyMachineSnapshot) =>
    (context as Context).frontends.map((frontend) => ({
      topic: claimTopic(frontend.key),
      value: claimOf(context as Context),
    })),
  rows: (snapshot) => rows(snapshot as Snapshot),
};
