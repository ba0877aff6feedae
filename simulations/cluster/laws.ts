/**
 * The laws that a cluster keeps when all faults are over; each violation is a sentence.
 *
 * - Each node: desired = actual = kernel, running pods have all their rows, and nothing else is there (convergent, lost, leaked).
 * - Between nodes: everybody knows where each pod is and who it is, by the same identity; nobody knows of pods and nodes that are gone.
 * - Connections whose ends still run are known as they were, whichever releases came and went.
 * - Packets of pods to pods of the same node, and to the world, do what the rules say (leakless).
 */
import type { IpcacheRow } from '../../state/tables.ts';
import { nodeAddressesOf, podCidrsOf } from '../cluster-nodes.ts';
import { checkKernel } from '../node/laws.ts';
import { checkPolicies } from '../node/policies.ts';
import { checkConnections } from '../upgrade/connections.ts';
import type { Cluster } from './cluster.ts';
import type { ClusterNode } from './node.ts';

/** Reserved, and of CIDRs: nobody's pods. */
const POD_IDENTITY_MIN = 256;
const POD_IDENTITY_MAX = 65_535;

interface Place {
  node: ClusterNode;
  pod: string;
  identity: number;
}

export function checkCluster(cluster: Cluster): string[] {
  const found: string[] = [];
  const places = placesOf(cluster, found);
  for (const node of cluster.nodes.values()) {
    const { agent, kernel, runtime } = node;
    if (!agent) {
      found.push(`convergent: ${node.name} has no agent`);
      continue;
    }
    const own = [
      ...checkKernel(agent.engine, kernel, runtime.sandboxes),
      ...checkKnown(cluster, node, places),
      ...checkPolicies(cluster.api, kernel, runtime.sandboxes, node.facts),
    ];
    found.push(...own.map((one) => `${node.name}: ${one}`));
  }
  return [...found, ...checkIdentities(cluster, places), ...checkConnections(cluster.connections)];
}

/** Running pods by address with length, and by which identity their own node has them. */
function placesOf(cluster: Cluster, found: string[]): Map<string, Place> {
  const places = new Map<string, Place>();
  for (const { node, sandboxes } of cluster.sandboxes) {
    const ipcache = node.kernel.dump('bpf.ipcache');
    for (const { pod, state, result } of sandboxes) {
      if (state !== 'running') continue;
      for (const { address } of result?.ips ?? []) {
        const other = places.get(address);
        if (other)
          found.push(`lost: ${address} is that of ${pod} on ${node.name} and of ${other.pod} on ${other.node.name}`);
        places.set(address, { node, pod, identity: (ipcache.get(address) as IpcacheRow | undefined)?.identity ?? 0 });
      }
    }
  }
  return places;
}

function checkKnown({ facts, nodes }: Cluster, node: ClusterNode, places: ReadonlyMap<string, Place>): string[] {
  const found: string[] = [];
  const ipcache = node.kernel.dump('bpf.ipcache') as ReadonlyMap<string, IpcacheRow>;
  // IPsec asks by the node, tunnel or not.
  const isTunnelled = (facts.routing?.mode ?? 'native') !== 'native' || facts.encryption?.type === 'ipsec';
  for (const [address, { node: home, pod, identity }] of places) {
    const row = ipcache.get(address);
    if (row?.identity !== identity)
      found.push(
        `convergent: ${address} of ${pod} on ${home.name} has identity ${row?.identity ?? 'none'}, there ${identity}`,
      );
    const endpoint = home !== node && isTunnelled ? nodeAddressesOf(home.number) : [''];
    if (row && !endpoint.includes(row.tunnelEndpoint))
      found.push(
        `convergent: ${address} of ${pod} on ${home.name} is behind ${row.tunnelEndpoint || 'no node'}, expected ${endpoint[0]}`,
      );
  }
  const there = new Set([...nodes.values()].flatMap(({ number }) => podCidrsOf(number)));
  for (const [key, row] of ipcache) {
    const isOfPod = row.identity >= POD_IDENTITY_MIN && row.identity <= POD_IDENTITY_MAX;
    if (isOfPod && !places.has(key)) found.push(`leaked: ${key} has identity ${row.identity}, and no pod has it`);
    const isOfNode = row.tunnelEndpoint !== '' && !places.has(key);
    if (isOfNode && !there.has(key) && !nodesAt(nodes, row.tunnelEndpoint))
      found.push(`leaked: ${key} is behind ${row.tunnelEndpoint}, which is no node`);
  }
  return found;
}

const nodesAt = (nodes: ReadonlyMap<number, ClusterNode>, address: string): boolean =>
  [...nodes.keys()].some((number) => nodeAddressesOf(number).includes(address));

/** The same labels are the same identity everywhere. */
function checkIdentities({ api }: Cluster, places: ReadonlyMap<string, Place>): string[] {
  const byLabels = new Map<string, Place>();
  return [...places.values()].flatMap((place) => {
    const labels = JSON.stringify(api.of('pods').get(place.pod)?.metadata.labels ?? {});
    const other = byLabels.get(labels);
    if (!other) byLabels.set(labels, place);
    if (!other || other.identity === place.identity) return [];
    return [
      `convergent: ${place.pod} on ${place.node.name} has identity ${place.identity}, ${other.pod} on ${other.node.name} with the same labels ${other.identity}`,
    ];
  });
}
