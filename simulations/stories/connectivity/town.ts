/**
 * The town of the connectivity matrix: nine pods in three namespaces on a node, the node itself, and the world outside, all of them
 * answering on three ports and all of them asking each other.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Flow, FlowEnd } from '../../policy-oracle/oracle.ts';
import { EmbeddedCluster } from '../embedded.ts';
import { type Probe, Prober } from './prober.ts';

export const namespaces = ['red', 'blue', 'green'] as const;
export const roles = ['web', 'api', 'db'] as const;
export const ports = [8080, 8443, 5300] as const;
export const portNames: Readonly<Record<number, string>> = { 8080: 'http', 8443: 'tls', 5300: 'names' };
export const pods: readonly string[] = namespaces.flatMap((namespace) => roles.map((role) => `${namespace}/${role}`));
/** Beside pods: the node, and 203.0.113.10 with 2001:db8:113::10 outside. */
export const others = ['host', 'outside'] as const;
export const outside = { v4: '203.0.113.10', v6: '2001:db8:113::10' } as const;

const PROBER = new URL('prober.mjs', import.meta.url).pathname;

const socketOf = (dir: string, end: string): string => join(dir, `${end.replace('/', '_')}.sock`);

const teams: Readonly<Record<string, string>> = { red: 'one', blue: 'two', green: 'two' };

export const townManifests = (command: (pod: string) => string[]): string =>
  [
    ...namespaces.map(
      (name) => `
apiVersion: v1
kind: Namespace
metadata: {name: ${name}, labels: {colour: ${name}, team: "${teams[name]}"}}`,
    ),
    ...pods.map((pod) => {
      const [namespace, role] = pod.split('/');
      const listed = ports.flatMap((port) =>
        ['TCP', 'UDP'].map(
          (protocol) =>
            `{name: ${portNames[port]}${protocol === 'UDP' ? '-udp' : ''}, containerPort: ${port}, protocol: ${protocol}}`,
        ),
      );
      return `
apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${role}, labels: {app: ${role}, colour: ${namespace}, tier: ${role === 'db' ? 'back' : 'front'}}}
spec:
  containers:
  - {name: prober, image: built-in, command: ${JSON.stringify(command(pod))}, ports: [${listed.join(', ')}]}`;
    }),
  ].join('\n---');

/** From whom to whom, over what. */
export interface Pair {
  from: string;
  to: string;
  probe: Probe;
}

export class Town {
  readonly cluster: EmbeddedCluster;
  readonly pairs: readonly Pair[];
  readonly #probers: ReadonlyMap<string, Prober>;
  readonly #children: readonly ChildProcess[];

  private constructor(
    cluster: EmbeddedCluster,
    pairs: readonly Pair[],
    probers: ReadonlyMap<string, Prober>,
    children: readonly ChildProcess[],
  ) {
    this.cluster = cluster;
    this.pairs = pairs;
    this.#probers = probers;
    this.#children = children;
  }

  /** `socketDir` holds the probers' sockets. */
  static async build(name: string, socketDir: string): Promise<Town> {
    const command = (end: string, addresses = '::'): string[] => [
      process.execPath,
      PROBER,
      socketOf(socketDir, end),
      addresses,
      ...ports.map(String),
    ];
    const cluster = await EmbeddedCluster.up(
      name,
      townManifests((pod) => command(pod)),
    );
    const children: ChildProcess[] = [];
    try {
      const [node] = cluster.ready.nodes;
      if (!node) throw new Error('no node');
      const addresses = await addressesOf(cluster);
      const places = { host: node.netns, outside: `axo-${name}.fabric` };
      for (const end of others) {
        const netns = places[end].startsWith('/') ? places[end] : `/run/netns/${places[end]}`;
        // Bound to the addresses that are asked: a datagram's answer may come from another one otherwise.
        const argv = command(end, addresses.get(end)?.join());
        children.push(
          spawn('setpriv', ['--pdeathsig', 'KILL', 'nsenter', `--net=${netns}`, '--', ...argv], { stdio: 'ignore' }),
        );
      }
      const ends = [...pods, ...others];
      const probers = new Map(
        await Promise.all(ends.map(async (end) => [end, await Prober.open(socketOf(socketDir, end))] as const)),
      );
      return new Town(cluster, pairsOf(addresses), probers, children);
    } catch (error) {
      for (const child of children) child.kill('SIGKILL');
      await cluster.down();
      throw error;
    }
  }

  /** Whether each pair can talk. Silence is asked again, longer, where `expected` says otherwise: the machine may just be busy. */
  async probe(expected: readonly boolean[], timeoutMs: number): Promise<boolean[]> {
    const answers = await this.#probe(
      this.pairs.map((_, i) => i),
      timeoutMs,
    );
    const result = this.pairs.map((_, i) => answers.get(i) === true);
    for (const patience of [4, 10]) {
      const doubtful = result.flatMap((is, i) => (is === expected[i] ? [] : [i]));
      if (doubtful.length === 0) break;
      for (const [i, is] of await this.#probe(doubtful, timeoutMs * patience)) result[i] = is;
    }
    return result;
  }

  async #probe(indices: readonly number[], timeoutMs: number): Promise<Map<number, boolean>> {
    const byAsker = Map.groupBy(indices, (i) => this.pairs[i]?.from ?? '');
    const answers = new Map<number, boolean>();
    await Promise.all(
      [...byAsker].map(async ([from, asked]) => {
        const probes = asked.map((i) => (this.pairs[i] as Pair).probe);
        const result = (await this.#probers.get(from)?.ask(probes, timeoutMs)) ?? [];
        asked.forEach((i, at) => answers.set(i, result[at] === true));
      }),
    );
    return answers;
  }

  async down(): Promise<void> {
    for (const prober of this.#probers.values()) prober.close();
    for (const child of this.#children) child.kill('SIGKILL');
    await this.cluster.down();
  }
}

async function addressesOf(cluster: EmbeddedCluster): Promise<Map<string, string[]>> {
  const [{ items: podItems }, { items: nodeItems }] = await Promise.all([
    cluster.core.listPodForAllNamespaces(),
    cluster.core.listNode(),
  ]);
  const addresses = new Map<string, string[]>([['outside', [outside.v4, outside.v6]]]);
  for (const { metadata, status } of podItems)
    addresses.set(
      `${metadata?.namespace}/${metadata?.name}`,
      (status?.podIPs ?? []).map(({ ip = '' }) => ip),
    );
  const internal = (nodeItems[0]?.status?.addresses ?? []).filter(({ type }) => type === 'InternalIP');
  addresses.set(
    'host',
    internal.map(({ address }) => address),
  );
  return addresses;
}

/** Everybody to everybody else; the node and the outside among themselves do not count. */
export function pairsOf(addresses: ReadonlyMap<string, readonly string[]>): Pair[] {
  const ends = [...pods, ...others];
  const isPod = (end: string): boolean => end.includes('/');
  return ends.flatMap((from) =>
    ends
      .filter((to) => to !== from && (isPod(from) || isPod(to)))
      .flatMap((to) =>
        (isPod(from) && isPod(to) ? ports : ports.slice(0, 2)).flatMap((port) =>
          (addresses.get(to) ?? []).flatMap((address): Pair[] => [
            { from, to, probe: ['TCP', address, port] },
            { from, to, probe: ['UDP', address, port] },
          ]),
        ),
      ),
  );
}

export const pairText = ({ from, to, probe: [protocol, address, port] }: Pair): string =>
  `${from} → ${to} ${port}/${protocol} (${address.includes(':') ? 'IPv6' : 'IPv4'})`;

/** The same, as a question to the oracle. */
export function flowOf({ from, to, probe: [protocol, address, port] }: Pair, id: number): Flow {
  const isSix = address.includes(':');
  const end = (name: string): FlowEnd => {
    if (name === 'host') return { entity: 'host' };
    if (name === 'outside') return { ip: isSix ? outside.v6 : outside.v4 };
    return { pod: name };
  };
  return { id, from: end(from), to: end(to), protocol, port };
}
