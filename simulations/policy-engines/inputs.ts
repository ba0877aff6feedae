/**
 * What a node's agent would tell the resolver of a cluster that is given as objects: identities, subjects, groups, services.
 *
 * - Numbers are given in order of names, so that two views of one cluster agree on pods' identities.
 */
import type { KubeObject } from '../../cluster/events.ts';
import { HOST_ENDPOINT } from '../../machines/policy-context.ts';
import type { CidrGroup, Identity, IdentityLabels, NamedPort, ServiceFact, Subject } from '../../policy/change.ts';
import { podIdentityLabels } from '../../policy/labels.ts';
import { parseCidrGroup } from '../../policy/parse.ts';
import { nodeIdentityLabels } from '../../policy/resolver.ts';
import type { Policy } from '../../policy/rule.ts';
import { selectorsOf } from '../../policy/selectors.ts';
import { addressesOfNode, addressesOfPod, type Cluster, namespaceOf, ofKind } from '../policy-oracle/cluster.ts';

const POD_IDENTITY_MIN = 1_000;
/** Scope of identities of remote nodes that have labels. */
const NODE_SCOPE = 0x0200_0000;
export const reserved = { host: 1, world: 2, remoteNode: 6, apiServer: 7, worldV4: 9, worldV6: 10 } as const;

export interface PodFacts {
  object: KubeObject;
  endpointId: number;
  identity: number;
  labels: IdentityLabels;
  namedPorts: NamedPort[];
  node: string;
  addresses: string[];
}

export interface NodeFacts {
  object: KubeObject;
  /** As seen from other nodes. */
  identity: number;
  addresses: string[];
}

interface PodSpec {
  nodeName?: string;
  hostNetwork?: boolean;
  containers?: { ports?: { name?: string; containerPort: number; protocol?: string }[] | null }[] | null;
}

export const namedPortsOf = ({ containers }: PodSpec): NamedPort[] =>
  (containers ?? []).flatMap(({ ports }) =>
    (ports ?? []).flatMap(({ name, containerPort: port, protocol = 'TCP' }): NamedPort[] =>
      name && (protocol === 'TCP' || protocol === 'UDP' || protocol === 'SCTP') ? [{ name, protocol, port }] : [],
    ),
  );

/** Pods with equal labels but other named ports have identities of their own, as since Cilium 1.20. */
export function podsOf(cluster: Cluster): PodFacts[] {
  const numbers = new Map<string, number>();
  const namespaces = new Map(ofKind(cluster, 'Namespace').map((one) => [one.metadata.name, one]));
  return ofKind(cluster, 'Pod')
    .filter(({ spec }) => (spec as PodSpec | undefined)?.hostNetwork !== true)
    .map((object, i) => {
      const spec = (object.spec ?? {}) as PodSpec;
      const labels = podIdentityLabels(object, namespaceObject(namespaces, namespaceOf(object)), cluster.clusterName);
      const namedPorts = namedPortsOf(spec);
      const text = JSON.stringify([Object.entries(labels).sort(), namedPorts]);
      const identity = numbers.get(text) ?? POD_IDENTITY_MIN + numbers.size;
      numbers.set(text, identity);
      const addresses = addressesOfPod(object);
      return { object, endpointId: i + 1, identity, labels, namedPorts, node: spec.nodeName ?? '', addresses };
    });
}

function namespaceObject(known: ReadonlyMap<string, KubeObject>, name: string): KubeObject {
  const found = known.get(name);
  const labels = { 'kubernetes.io/metadata.name': name, ...found?.metadata.labels };
  return { apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } };
}

export const nodesOf = (cluster: Cluster): NodeFacts[] =>
  ofKind(cluster, 'Node').map((object, i) => ({
    object,
    identity: NODE_SCOPE + i + 1,
    addresses: addressesOfNode(object),
  }));

export const subjectOf = ({ endpointId, identity, labels, namedPorts }: PodFacts): Subject => ({
  endpointId,
  identity,
  labels,
  namedPorts,
  host: false,
});

export function hostSubject(node: KubeObject | undefined): Subject {
  const own = Object.entries(node?.metadata.labels ?? {}).map(([key, value]) => [`k8s:${key}`, value]);
  return {
    endpointId: HOST_ENDPOINT,
    identity: reserved.host,
    labels: { 'reserved:host': '', ...Object.fromEntries(own) },
    namedPorts: [],
    host: true,
  };
}

export function nodeIdentity({ object, identity }: NodeFacts, isApiServer: boolean): Identity {
  return { identity, labels: nodeIdentityLabels(object.metadata.labels ?? {}, isApiServer) };
}

/** Identities with fixed numbers. */
export function reservedIdentities(isApiServer: boolean): Identity[] {
  const named = (identity: number, ...names: string[]): Identity => ({
    identity,
    labels: Object.fromEntries(names.map((name) => [`reserved:${name}`, ''])),
  });
  return [
    named(reserved.host, 'host', ...(isApiServer ? ['kube-apiserver'] : [])),
    named(reserved.world, 'world'),
    named(reserved.remoteNode, 'remote-node'),
    named(reserved.apiServer, 'kube-apiserver', 'remote-node'),
    named(reserved.worldV4, 'world-ipv4'),
    named(reserved.worldV6, 'world-ipv6'),
  ];
}

/** Those that are valid. */
export const groupsOf = (cluster: Cluster): CidrGroup[] =>
  ofKind(cluster, 'CiliumCIDRGroup').flatMap((object) => parseCidrGroup(object).group ?? []);

export function servicesOf(cluster: Cluster): ServiceFact[] {
  const slices = ofKind(cluster, 'EndpointSlice');
  return ofKind(cluster, 'Service').map((service): ServiceFact => {
    const namespace = namespaceOf(service);
    const { name, labels = {} } = service.metadata;
    const { selector } = (service.spec ?? {}) as { selector?: Record<string, string> };
    const addresses = slices
      .filter((slice) => namespaceOf(slice) === namespace)
      .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === name)
      .flatMap((slice) => (slice.endpoints ?? []) as { addresses?: string[] }[])
      .flatMap((endpoint) => endpoint.addresses ?? []);
    const hasSelector = selector !== undefined && Object.keys(selector).length > 0;
    return { namespace, name, labels, selector: hasSelector ? selector : undefined, addresses };
  });
}

/** Of elements that wait for a proxy: they allow nothing yet, and so need no identities, but are to be named as what might have allowed. */
export function cidrsThatWait(
  policies: readonly Policy[],
  groups: readonly CidrGroup[],
  services: readonly ServiceFact[],
): string[] {
  const elements = policies.flatMap(({ rules }) =>
    rules.flatMap(({ ingress, egress }) => [...(ingress?.elements ?? []), ...(egress?.elements ?? [])]),
  );
  const peers = elements.filter(({ needsL7 }) => needsL7.length > 0).flatMap((element) => element.peers ?? []);
  const selectors = peers.flatMap((peer) => {
    const found = selectorsOf(peer, { groups, services });
    return found === 'any' ? [] : found;
  });
  return selectors
    .flatMap((selector) => (selector.kind === 'cidr' ? [selector.cidr, ...selector.except] : []))
    .filter((cidr) => !cidr.endsWith('/0'));
}
