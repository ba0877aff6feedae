/** What happens to three nodes while connections are held: agents are killed, the network is cut and heals, a node leaves. */
import type { NodesView } from '../../../observe/remote-nodes.ts';
import { run, until } from '../embedded.ts';
import { type Country, type End, nodeOf, PORT, pods, SERVICE_PORT } from './country.ts';
import type { Held } from './peer.ts';

const AXONEME = new URL('../../../cli/axoneme', import.meta.url).pathname;
const HELD_BEFORE_BEATS = 5;
const PATIENCE_MS = 30_000;

/** Connections between nodes, of both families, to pods and through the service; each has been echoing for a moment. */
export async function holdConnections({ addresses, peer, peers }: Holding): Promise<void> {
  for (const from of peers) {
    const targets = [
      ...pods
        .filter((pod) => nodeOf(pod) !== nodeOf(from))
        .flatMap((pod) => addresses.of[pod].map((address) => ({ address, port: PORT }))),
      ...addresses.services.all.map((address) => ({ address, port: SERVICE_PORT })),
    ];
    await peer(from).hold(targets);
  }
  await settledBeats({ addresses, peer, peers });
}

export interface Holding extends Pick<Country, 'addresses' | 'peer'> {
  peers: readonly End[];
}

export const holding = (country: Country, peers: readonly End[]): Holding => ({
  addresses: country.addresses,
  peer: (end) => country.peer(end),
  peers,
});

async function settledBeats({ peer, peers }: Holding): Promise<void> {
  await until('held connections echo', PATIENCE_MS, async () => {
    const all = (await Promise.all(peers.map((from) => peer(from).held()))).flat();
    return all.every(({ beats, error }) => beats >= HELD_BEFORE_BEATS || error !== '') || undefined;
  });
}

/** Those that broke, or were silent at the end; in words. */
export async function brokenConnections({ peer, peers }: Holding): Promise<string[]> {
  const before = await Promise.all(peers.map((from) => peer(from).held()));
  // What echoes again has more beats than before.
  await until('held connections go on', PATIENCE_MS, async () => {
    const now = await Promise.all(peers.map((from) => peer(from).held()));
    const isAlive = (one: Held, was: Held | undefined): boolean => one.beats > (was?.beats ?? 0) || one.error !== '';
    return now.every((list, i) => list.every((one, j) => isAlive(one, before[i]?.[j]))) || undefined;
  }).catch(() => {});
  const after = await Promise.all(peers.map((from) => peer(from).release()));
  return after.flatMap((list, i) =>
    list.flatMap((one, j) => {
      const isSilent = one.beats === before[i]?.[j]?.beats;
      return one.error || isSilent ? [`${peers[i]} → ${one.address}: ${one.error || 'silent'}`] : [];
    }),
  );
}

/** With SIGKILL; resolves when all of them are back. */
export async function killAgents({ cluster }: Country): Promise<void> {
  const before = cluster.agentPids();
  for (const pid of before) process.kill(pid, 'SIGKILL');
  await until('agents are back', PATIENCE_MS, async () => {
    const now = cluster.agentPids();
    if (now.length !== before.length || now.some((pid) => before.includes(pid))) return undefined;
    const states = cluster.ready.nodes.map(({ name }) => stateOf(cluster, 'node/local', name));
    return (await Promise.all(states)).every((state) => state === 'ready') || undefined;
  });
}

interface MachineView {
  state: string;
}

/** Of a machine on a node; '' when there is none, or no agent answers. */
export async function stateOf(cluster: Country['cluster'], machine: string, node: string): Promise<string> {
  try {
    return (await cluster.debug<MachineView>(`/v1/machines/${machine}`, node)).state;
  } catch {
    return '';
  }
}

/** What a node thinks of another, once it thinks so. */
export const thinks = (country: Country, node: string, other: string, state: string): Promise<true> =>
  until(`${node} finds ${other} ${state}`, PATIENCE_MS, async () =>
    (await stateOf(country.cluster, `remote-node/${other}`, node)) === state ? true : undefined,
  );

export async function underlay({ cluster }: Country, ...words: string[]): Promise<void> {
  const { code, stderr } = await run(AXONEME, ['underlay', ...words, '--name', cluster.name]);
  if (code !== 0) throw new Error(stderr);
}

/** Keys of rows of a table on a node. */
export async function keysOf({ cluster }: Country, table: string, node: string): Promise<string[]> {
  const { rows } = await cluster.debug<{ rows: { key: string }[] }>(`/v1/tables/${table}?view=actual`, node);
  return rows.map(({ key }) => key);
}

export interface Asked {
  status: string;
  /** Of the address, on the node that asks. */
  identity: number;
}

/** What each node found of the health endpoints of the others, by the question. */
export async function healthEndpoints({ cluster }: Country): Promise<Record<string, Asked>> {
  const found: Record<string, Asked> = {};
  for (const { name: node } of cluster.ready.nodes) {
    const { nodes } = await cluster.debug<NodesView>('/v1/health/nodes', node);
    const { rows } = await cluster.debug<{ rows: { key: string; actual: { identity: number } }[] }>(
      '/v1/tables/bpf.ipcache?view=actual',
      node,
    );
    const identities = new Map(rows.map(({ key, actual }) => [key.slice(0, key.indexOf('/')), actual.identity]));
    for (const { name, probes } of nodes)
      for (const { target, protocol, address, status } of probes)
        if (target === 'endpoint')
          found[`${node} asks ${name} ${address} ${protocol}`] = { status, identity: identities.get(address) ?? 0 };
  }
  return found;
}

/** As people ask for it: exit code, and the nodes that do not answer. */
export async function healthOf({ cluster }: Country, node: string): Promise<{ code: number; unreachable: string[] }> {
  const place = ['--name', cluster.name, '--node', node];
  const { code, stdout } = await run(AXONEME, ['health', 'status', '-o', 'json', ...place]);
  const { nodes } = JSON.parse(stdout) as { nodes: { name: string; state: string }[] };
  return { code, unreachable: nodes.filter(({ state }) => state === 'unreachable').map(({ name }) => name) };
}
