/** Pods of other clusters as endpoints of ours: with their addresses, and identities by their labels. */
import type { KubeObject } from '../cluster/events.ts';
import { linkName, macFor } from '../machines/naming.ts';
import { podIdentityLabels } from '../policy/labels.ts';
import type { LocalEndpointRow } from '../state/tables.ts';
import type { ClosedLoop, Origin } from './replay/closed-loop.ts';

export class ImportedPods {
  readonly #clusterName: string;
  readonly #loop: ClosedLoop;
  readonly #mtu: number;
  readonly #namespaces = new Map<string, KubeObject>();
  /** Container ids of endpoints by pod. */
  readonly #endpoints = new Map<string, string>();
  /** Pods of other nodes that were told of. */
  readonly #remote = new Set<string>();
  /** The recording has CiliumEndpoints or slices of them. */
  #told = false;
  #lastId = 0;

  constructor(clusterName: string, loop: ClosedLoop, mtu: number) {
    this.#clusterName = clusterName;
    this.#loop = loop;
    this.#mtu = mtu;
  }

  /** Namespaces give pods labels, and identities numbers. */
  learn(object: KubeObject): void {
    if (object.kind === 'Namespace') this.#namespaces.set(object.metadata.name, object);
    if (object.kind === 'CiliumIdentity') this.#loop.learnIdentity(object);
    if (object.kind === 'CiliumEndpoint' || object.kind === 'CiliumEndpointSlice') this.#told = true;
  }

  /** A pod with addresses is an endpoint, until it is deleted or over. */
  hear(type: 'upserted' | 'deleted', pod: KubeObject, at: number, origin: Origin): void {
    const { namespace = 'default', name, uid } = pod.metadata;
    const key = `${namespace}/${name}`;
    const ips = addressesOfPod(pod);
    const { phase } = (pod.status ?? {}) as { phase?: string };
    const { hostNetwork } = (pod.spec ?? {}) as { hostNetwork?: boolean };
    const isAlive =
      type === 'upserted' && phase !== 'Succeeded' && phase !== 'Failed' && ips.length > 0 && !hostNetwork;
    const containerId = uid ?? key;
    const known = this.#endpoints.get(key);
    if (known !== undefined && (!isAlive || known !== containerId)) {
      this.#endpoints.delete(key);
      const event = { type: 'cni.del', requestId: `del ${known}`, containerId: known, ifname: 'eth0' } as const;
      this.#loop.push('cni', event, at, origin);
    }
    if (!isAlive || known === containerId) return;
    this.#endpoints.set(key, containerId);
    const endpoints = [this.#row(pod, containerId, ips, at, origin)];
    this.#loop.push('local', { type: 'local.restored', endpoints }, at, origin);
  }

  /** Another node's pod, as that node's agent would tell of it; where there are real CiliumEndpoints, they tell. */
  hearRemote(type: 'upserted' | 'deleted', pod: KubeObject, at: number, origin: Origin): void {
    const { namespace = 'default', name, uid = '' } = pod.metadata;
    const { phase, hostIP = '' } = (pod.status ?? {}) as { phase?: string; hostIP?: string };
    const { hostNetwork } = (pod.spec ?? {}) as { hostNetwork?: boolean };
    const ips = addressesOfPod(pod);
    const key = `${namespace}/${name}`;
    const isAlive =
      type === 'upserted' && phase !== 'Succeeded' && phase !== 'Failed' && ips.length > 0 && !hostNetwork;
    if (this.#told || (!isAlive && !this.#remote.delete(key))) return;
    if (isAlive) this.#remote.add(key);
    const metadata = { name, namespace, uid, creationTimestamp: pod.metadata.creationTimestamp ?? '' };
    const pair = { ipv4: ips.find((ip) => !ip.includes(':')), ipv6: ips.find((ip) => ip.includes(':')) };
    const status = isAlive && {
      identity: { id: this.#identityOf(this.#labelsOf(pod), at, origin) },
      networking: { addressing: [pair], node: hostIP },
    };
    const object = { apiVersion: 'cilium.io/v2', kind: 'CiliumEndpoint', metadata, ...(status && { status }) };
    this.#loop.push('kube', { type: `kube.${type}`, resource: 'ciliumendpoints', object }, at, origin);
  }

  #labelsOf(pod: KubeObject): Record<string, string> {
    const { namespace = 'default' } = pod.metadata;
    const anonymous = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } };
    return podIdentityLabels(pod, this.#namespaces.get(namespace) ?? anonymous, this.#clusterName);
  }

  #row(pod: KubeObject, containerId: string, ips: readonly string[], at: number, origin: Origin): LocalEndpointRow {
    const { namespace = 'default', name, uid = '' } = pod.metadata;
    const labels = this.#labelsOf(pod);
    return {
      ...{ endpointId: ++this.#lastId, containerId, netns: `/run/netns/${containerId}`, ifname: 'eth0' },
      ...{ link: linkName(containerId, 'eth0'), mac: macFor(containerId) },
      ...{ podNamespace: namespace, podName: name, podUid: uid },
      ipv4: ips.find((ip) => !ip.includes(':')) ?? '',
      ipv6: ips.find((ip) => ip.includes(':')) ?? '',
      identity: this.#identityOf(labels, at, origin),
      labels: Object.entries(labels)
        .map(([label, value]) => `${label}=${value}`)
        .sort(),
      ...{ gateway4: '', gateway6: '', mtu: this.#mtu },
    };
  }

  #identityOf(labels: Readonly<Record<string, string>>, at: number, origin: Origin): number {
    const known = this.#loop.numberOf(labels);
    if (known !== undefined) return known;
    const object = this.#loop.identityObject(labels);
    this.#loop.push('kube', { type: 'kube.upserted', resource: 'ciliumidentities', object }, at, origin);
    return Number(object.metadata.name);
  }
}

function addressesOfPod({ status }: KubeObject): string[] {
  const { podIPs = [], podIP } = (status ?? {}) as { podIPs?: { ip: string }[]; podIP?: string };
  return podIPs.length > 0 ? podIPs.map(({ ip }) => ip) : podIP ? [podIP] : [];
}

export function addressesOf(node: KubeObject | undefined): string[] {
  const { addresses = [] } = (node?.status ?? {}) as { addresses?: { type: string; address: string }[] };
  return addresses
    .filter(({ type }) => type === 'InternalIP' || type === 'ExternalIP')
    .map(({ address }) => `${address}/${address.includes(':') ? 64 : 24}`)
    .sort();
}
