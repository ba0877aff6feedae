/**
 * Where the API server is: identity 7 when it runs on a node, else a local identity of its own that policies find by
 * `kube-apiserver`, `world` and CIDRs alike.
 *
 * - Its addresses are those of the slices of `default/kubernetes`.
 * - Local identities of API servers are from the end of the local scope, which CIDRs of policies leave free; an address keeps its
 *   number over restarts, since it follows from the address.
 */
import { type AnyMachineSnapshot, assign, type SnapshotFrom, setup } from 'xstate';
import { API_SERVER_NUMBERS, localIdentity } from '../policy/local-scope.ts';
import type { Row } from '../state/tables.ts';
import { familyOf, hostCidr } from './cidr.ts';
import { type Hears, type Kind, recipe, speech } from './machine.ts';
import { fnv1a } from './naming.ts';
import { sliceFacts } from './service-slices.ts';

// --- context

interface Context {
  /** Addresses by slice. */
  slices: Record<string, string[]>;
  /** Addresses by node. */
  nodes: Record<string, string[]>;
  local: string;
}

export const apiServerKey = 'api-server/default';

/** Published on the machine's own topic. */
export interface ApiServerFact {
  /** On no node. */
  outside: { address: string; identity: number }[];
  /** Addresses of other nodes that it is on. */
  nodes: string[];
  /** It is on this node. */
  isHere: boolean;
}

// --- events

type Event = Hears<'agent.started' | 'kube.upserted' | 'kube.deleted'>;

const SLICES = 'slices/default/kubernetes';
/** As many as a number holds exactly. */
const HASH_DIGITS = 8;

interface NodeStatus {
  addresses?: { type?: string; address?: string }[];
}

// --- machine

function learn(draft: Context, event: Event): void {
  if (event.type === 'agent.started') {
    draft.local = event.config.nodeName;
    return;
  }
  const { object, resource } = event;
  const { name } = object.metadata;
  const book = resource === 'nodes' ? draft.nodes : draft.slices;
  if (event.type === 'kube.deleted') delete book[name];
  else if (resource === 'nodes') {
    const { addresses = [] } = (object.status ?? {}) as NodeStatus;
    const own = addresses.flatMap(({ address = '' }) => (familyOf(address) ? [address] : []));
    // A heartbeat changes nothing.
    if (own.join() !== draft.nodes[name]?.join()) draft.nodes[name] = own;
  } else draft.slices[name] = (sliceFacts(object)?.endpoints ?? []).map(({ address }) => address);
}

const machine = setup({
  types: {} as { context: Context; events: Event; input: { nodeName: string } },
  actions: { ...speech, learn: assign(recipe<Context, Event>(learn)) },
  guards: { found: ({ context }) => addressesOf(context).length > 0 },
}).createMachine({
  id: 'api-server',
  context: ({ input }) => ({ slices: {}, nodes: {}, local: input.nodeName }),
  initial: 'unknown',
  on: {
    'agent.started': { actions: 'learn' },
    'kube.upserted': { actions: 'learn' },
    'kube.deleted': { actions: 'learn' },
  },
  states: {
    /** No slice of `default/kubernetes` names an address. */
    unknown: { always: { target: 'found', guard: 'found' } },
    found: { always: { target: 'unknown', guard: ({ context }) => addressesOf(context).length === 0 } },
  },
});

type Snapshot = SnapshotFrom<typeof machine>;

const addressesOf = ({ slices }: Context): string[] => [...new Set(Object.values(slices).flat())].sort();

function factOf(context: Context): ApiServerFact {
  const { nodes, local } = context;
  const holders = new Map(
    Object.entries(nodes).flatMap(([name, own]) => own.map((address) => [address, name] as const)),
  );
  const addresses = addressesOf(context);
  const outside = numbered(addresses.filter((address) => !holders.has(address)));
  const on = addresses.filter((address) => holders.has(address));
  return {
    outside,
    nodes: on.filter((address) => holders.get(address) !== local),
    isHere: on.some((address) => holders.get(address) === local),
  };
}

/** Each address has the number that follows from it, or the next one that is free. */
function numbered(addresses: readonly string[]): ApiServerFact['outside'] {
  const taken = new Set<number>();
  return addresses.slice(0, API_SERVER_NUMBERS).map((address) => {
    let number = Number.parseInt(fnv1a(address).slice(0, HASH_DIGITS), 16) % API_SERVER_NUMBERS;
    while (taken.has(number)) number = (number + 1) % API_SERVER_NUMBERS;
    taken.add(number);
    return { address, identity: localIdentity.ofApiServer(number) };
  });
}

// --- rows

const rows = ({ context }: Snapshot): Row[] =>
  factOf(context).outside.map(({ address, identity }) => ({
    table: 'bpf.ipcache',
    key: hostCidr(address),
    value: { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 },
  }));

export const apiServer: Kind = {
  name: 'api-server',
  logic: machine,
  births: {
    'agent.started': ({ config }) =>
      config.policy ? [{ key: apiServerKey, input: { nodeName: config.nodeName } }] : [],
  },
  topics: (_: AnyMachineSnapshot) => ['agent', SLICES, 'every/nodes'],
  facts: (snapshot) => [{ topic: apiServerKey, value: factOf((snapshot as Snapshot).context) }],
  rows: (snapshot) => rows(snapshot as Snapshot),
};
