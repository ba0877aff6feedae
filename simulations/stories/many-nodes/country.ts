/**
 * Three nodes in three zones, with a pod `demo/a`, `demo/b`, `demo/c` on each and a host process `demo/host-1` … beside it, and
 * somebody outside of the cluster, all of them asking each other; and services in front of the pods.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { EmbeddedCluster } from '../embedded.ts';
import { Peer } from './peer.ts';

export const pods = ['a', 'b', 'c'] as const;
export const hosts = ['host-1', 'host-2', 'host-3'] as const;
/** Beside those, somebody outside asks, and is not asked. */
export const OUTSIDE_END = 'outside';
export type End = (typeof pods)[number] | (typeof hosts)[number];
export type Asker = End | typeof OUTSIDE_END;
export const ends: readonly End[] = [...pods, ...hosts];
export const isPod = (end: End): boolean => (pods as readonly string[]).includes(end);
export const nodeOf = (end: End): string => `node-${isPod(end) ? pods.indexOf(end as 'a') + 1 : end.slice(-1)}`;

/** Ranges that all nodes' pod ranges are pieces of. */
export const POD_RANGES = ['10.0.0.0/16', 'fd00:10::/48'] as const;
/** Of the network between the nodes. */
export const fabricOf = (cluster: string): string => `/run/netns/axo-${cluster}.fabric`;

/** Pods and host processes answer on it. */
export const PORT = 8080;
export const SERVICE_PORT = 80;
export const nodePorts = { all: 30_081, local: 30_082 } as const;
/** The backends of the service whose node port leads outside clients to pods of the same node only: none is on node-3. */
export const localBackends = ['a', 'b'] as const;
const PEER = new URL('peer.mjs', import.meta.url).pathname;

export interface ServiceAddresses {
  /** Of all pods. */
  all: readonly string[];
  /** `internalTrafficPolicy: Local`. */
  inside: readonly string[];
  /** `trafficDistribution: PreferClose`: of the client's zone. */
  close: readonly string[];
}

export interface Addresses {
  of: Readonly<Record<End, readonly string[]>>;
  services: ServiceAddresses;
}

const PROTOCOLS = ['TCP', 'UDP'] as const;

function manifests(socketDir: string): string {
  const endOf = (end: End): string => {
    const command = [process.execPath, PEER, join(socketDir, `${end}.sock`), end, String(PORT)];
    const label = isPod(end) ? 'pod' : 'host';
    return `
apiVersion: v1
kind: Pod
metadata: {namespace: demo, name: ${end}, labels: {app: "${end}", kind: ${label}${(localBackends as readonly string[]).includes(end) ? ', near: "yes"' : ''}}}
spec:
  nodeName: ${nodeOf(end)}
  ${isPod(end) ? '' : 'hostNetwork: true'}
  containers:
  - {name: peer, image: built-in, command: ${JSON.stringify(command)}, ports: [${PROTOCOLS.map((protocol) => `{containerPort: ${PORT}, protocol: ${protocol}}`).join(', ')}]}`;
  };
  const service = (name: string, type: string, more: string, nodePort?: number, selector = 'kind: pod'): string => `
apiVersion: v1
kind: Service
metadata: {namespace: demo, name: ${name}}
spec:
  type: ${type}
  selector: {${selector}}
  ipFamilyPolicy: RequireDualStack
  ${more}
  ports: [${PROTOCOLS.map((protocol) => `{name: ${protocol.toLowerCase()}, protocol: ${protocol}, port: ${SERVICE_PORT}, targetPort: ${PORT}${nodePort ? `, nodePort: ${nodePort}` : ''}}`).join(', ')}]`;
  return [
    '\napiVersion: v1\nkind: Namespace\nmetadata: {name: demo}',
    ...ends.map(endOf),
    service('all', 'NodePort', '', nodePorts.all),
    service('local', 'NodePort', 'externalTrafficPolicy: Local', nodePorts.local, 'near: "yes"'),
    service('inside', 'ClusterIP', 'internalTrafficPolicy: Local'),
    service('close', 'ClusterIP', 'trafficDistribution: PreferClose'),
  ].join('\n---');
}

export class Country {
  readonly cluster: EmbeddedCluster;
  readonly addresses: Addresses;
  readonly #peers: ReadonlyMap<Asker, Peer>;
  readonly #outside: ChildProcess;

  private constructor(
    cluster: EmbeddedCluster,
    addresses: Addresses,
    peers: ReadonlyMap<Asker, Peer>,
    outside: ChildProcess,
  ) {
    this.cluster = cluster;
    this.addresses = addresses;
    this.#peers = peers;
    this.#outside = outside;
  }

  /** `flags` are of `axoneme up`, such as `--routing vxlan`; `socketDir` holds the peers' sockets. */
  static async build(name: string, socketDir: string, flags: string[], readyTimeoutMs?: number): Promise<Country> {
    const all = ['--nodes', '3', ...flags];
    const cluster = await EmbeddedCluster.up(name, manifests(socketDir), all, readyTimeoutMs);
    const outside = inFabric(name, [
      process.execPath,
      PEER,
      join(socketDir, 'outside.sock'),
      OUTSIDE_END,
      String(PORT),
    ]);
    try {
      const peers = await Promise.all(
        [...ends, OUTSIDE_END].map(
          async (end): Promise<[Asker, Peer]> => [end as Asker, await Peer.open(join(socketDir, `${end}.sock`))],
        ),
      );
      return new Country(cluster, await addressesOf(cluster), new Map(peers), outside);
    } catch (error) {
      outside.kill('SIGKILL');
      await cluster.down();
      throw error;
    }
  }

  peer(end: Asker): Peer {
    const peer = this.#peers.get(end);
    if (!peer) throw new Error(`there is no peer ${end}`);
    return peer;
  }

  async down(): Promise<void> {
    for (const peer of this.#peers.values()) peer.close();
    this.#outside.kill('SIGKILL');
    await this.cluster.down();
  }
}

function inFabric(cluster: string, argv: string[]): ChildProcess {
  return spawn('setpriv', ['--pdeathsig', 'KILL', 'nsenter', `--net=${fabricOf(cluster)}`, '--', ...argv], {
    stdio: 'ignore',
  });
}

async function addressesOf({ core }: EmbeddedCluster): Promise<Addresses> {
  const { items } = await core.listNamespacedPod({ namespace: 'demo' });
  const byEnd = Object.fromEntries(
    items.map(({ metadata, status }) => [metadata?.name, (status?.podIPs ?? []).map(({ ip = '' }) => ip)]),
  );
  const clusterIps = async (name: string): Promise<string[]> =>
    (await core.readNamespacedService({ namespace: 'demo', name })).spec?.clusterIPs ?? [];
  return {
    of: byEnd as Addresses['of'],
    services: { all: await clusterIps('all'), inside: await clusterIps('inside'), close: await clusterIps('close') },
  };
}
