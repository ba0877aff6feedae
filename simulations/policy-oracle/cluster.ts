/** The objects that a verdict depends on, as they are written, and who stands behind an end of a flow. */
import { isIP } from 'node:net';
import type { KubeObject } from '../../cluster/events.ts';
import type { Flow, FlowEnd } from './flow.ts';
import { familyOf, isSameAddress } from './ip.ts';
import { type Labels, labelsOfPod } from './labels.ts';

export interface Cluster {
  /** Of any kind, in any order. */
  objects: readonly KubeObject[];
  clusterName: string;
  enforcement: 'default' | 'always' | 'never';
  hostFirewall: boolean;
}

/** Who is at one end of a flow. */
export type Party =
  | { kind: 'pod'; pod: KubeObject; node: string; labels: Labels }
  | { kind: 'node'; node: string; labels: Labels; isApiServer: boolean }
  /** Neither pod nor node. An entity without an address has ''. */
  | { kind: 'outside'; address: string; family: 4 | 6; isApiServer: boolean };

export const ofKind = (cluster: Cluster, ...kinds: string[]): KubeObject[] =>
  cluster.objects.filter(({ kind }) => kinds.includes(kind));

export const namespaceOf = (object: KubeObject): string => object.metadata.namespace ?? 'default';

const specOf = <T>(object: KubeObject): Partial<T> => (object.spec ?? {}) as Partial<T>;

interface PodStatus {
  podIP?: string;
  podIPs?: { ip: string }[] | null;
}

/** What is written there may be anything. */
const isAddress = (text: unknown): text is string => typeof text === 'string' && isIP(text) !== 0;

export function addressesOfPod(pod: KubeObject): string[] {
  const { podIP, podIPs } = (pod.status ?? {}) as PodStatus;
  return [...(podIPs ?? []).map(({ ip }) => ip), podIP].filter(isAddress);
}

export function addressesOfNode(node: KubeObject): string[] {
  const { addresses } = (node.status ?? {}) as { addresses?: { type: string; address: string }[] };
  return (addresses ?? [])
    .filter(({ type }) => type.endsWith('IP'))
    .map(({ address }) => address)
    .filter(isAddress);
}

/** Endpoints of default/kubernetes are where the API server listens. */
export function apiServerAddresses(cluster: Cluster): string[] {
  return ofKind(cluster, 'EndpointSlice')
    .filter((slice) => namespaceOf(slice) === 'default')
    .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === 'kubernetes')
    .flatMap((slice) => (slice.endpoints ?? []) as { addresses?: string[] }[])
    .flatMap(({ addresses }) => (addresses ?? []).filter(isAddress));
}

const isListed = (address: string, list: readonly string[]): boolean =>
  list.some((other) => isSameAddress(address, other));

function partyOfNode(cluster: Cluster, name: string, isApiServer = false): Party {
  const node = ofKind(cluster, 'Node').find(({ metadata }) => metadata.name === name);
  const listed = node !== undefined && addressesOfNode(node).some((one) => isListed(one, apiServerAddresses(cluster)));
  const labels = new Map(Object.entries(node?.metadata.labels ?? {}));
  return { kind: 'node', node: name, labels, isApiServer: isApiServer || listed };
}

function partyOfPod(cluster: Cluster, pod: KubeObject): Party {
  const { nodeName = '', hostNetwork = false } = specOf<{ nodeName: string; hostNetwork: boolean }>(pod);
  if (hostNetwork) return partyOfNode(cluster, nodeName);
  const namespace = ofKind(cluster, 'Namespace').find(({ metadata }) => metadata.name === namespaceOf(pod));
  return { kind: 'pod', pod, node: nodeName, labels: labelsOfPod(pod, namespace, cluster.clusterName) };
}

/** A pod that has ended has left its address to others. */
const hasEnded = ({ status }: KubeObject): boolean =>
  ['Succeeded', 'Failed'].includes((status as { phase?: string } | undefined)?.phase ?? '');

function hostAddresses(pod: KubeObject): string[] {
  const { hostIP, hostIPs } = (pod.status ?? {}) as { hostIP?: string; hostIPs?: { ip: string }[] };
  return [...(hostIPs ?? []).map(({ ip }) => ip), hostIP].filter(isAddress);
}

function partyOfAddress(cluster: Cluster, address: string): Party {
  const pods = ofKind(cluster, 'Pod').filter((pod) => !hasEnded(pod));
  const usesHostNetwork = (pod: KubeObject) => specOf<{ hostNetwork: boolean }>(pod).hostNetwork === true;
  const pod = pods.find((one) => !usesHostNetwork(one) && isListed(address, addressesOfPod(one)));
  if (pod) return partyOfPod(cluster, pod);
  const node = ofKind(cluster, 'Node').find((one) => isListed(address, addressesOfNode(one)));
  if (node) return partyOfNode(cluster, node.metadata.name);
  // A node that is known only by the pods on it.
  const guest = pods.find((one) =>
    isListed(address, [...hostAddresses(one), ...(usesHostNetwork(one) ? addressesOfPod(one) : [])]),
  );
  if (guest) return partyOfNode(cluster, specOf<{ nodeName: string }>(guest).nodeName ?? '');
  const isApiServer = isListed(address, apiServerAddresses(cluster));
  return { kind: 'outside', address, family: familyOf(address), isApiServer };
}

/** Names nobody: that is the asker's mistake. */
export class NoSuchEnd extends Error {}

export function partyOf(cluster: Cluster, end: FlowEnd, other: FlowEnd): Party {
  if ('pod' in end) {
    const [namespace, name] = end.pod.includes('/') ? end.pod.split('/') : ['default', end.pod];
    const pods = ofKind(cluster, 'Pod');
    const pod = pods.find((one) => namespaceOf(one) === namespace && one.metadata.name === name);
    if (!pod) throw new NoSuchEnd(`no pod ${end.pod}`);
    return partyOfPod(cluster, pod);
  }
  if ('ip' in end) return partyOfAddress(cluster, end.ip);
  const peer = 'entity' in other ? undefined : partyOf(cluster, other, end);
  const here = peer && peer.kind !== 'outside' ? peer.node : '';
  const elsewhere = ofKind(cluster, 'Node').filter(({ metadata }) => metadata.name !== here);
  switch (end.entity) {
    case 'host':
      return partyOfNode(cluster, here);
    case 'remote-node':
      // Which of them is not said; where there is only one, its labels count.
      return partyOfNode(cluster, elsewhere.length === 1 ? (elsewhere[0]?.metadata.name ?? '?') : '?');
    case 'world':
      return { kind: 'outside', address: '', family: familyOfPeer(peer), isApiServer: false };
    case 'kube-apiserver': {
      const [first] = apiServerAddresses(cluster);
      return first === undefined ? partyOfNode(cluster, '?', true) : partyOfAddress(cluster, first);
    }
  }
}

/** IPv4, unless the peer has no address of that family. */
function familyOfPeer(peer: Party | undefined): 4 | 6 {
  if (peer?.kind === 'outside') return peer.family;
  const addresses = peer?.kind === 'pod' ? addressesOfPod(peer.pod) : [];
  return addresses.length > 0 && addresses.every((address) => familyOf(address) === 6) ? 6 : 4;
}

/** 1 and 58 both mean ICMP; which of the two is a matter of the addresses. */
export function protocolOf(flow: Flow, from: Party, to: Party): string {
  const protocol = flow.protocol.toUpperCase();
  if (protocol !== 'ICMP') return protocol;
  const isSix = [from, to].some((party) => party.kind === 'outside' && party.family === 6);
  const isWritten = [flow.from, flow.to].some((end) => 'ip' in end && familyOf(end.ip) === 6);
  return isSix || isWritten ? 'ICMPV6' : 'ICMP';
}
