/** Policy objects as lists of elements: who is subject to them, which way, allow or deny; Kubernetes' own are matched by their own rules. */
import type { KubeObject } from '../../cluster/events.ts';
import { type Cluster, namespaceOf, ofKind, type Party } from './cluster.ts';
import { isInside } from './ip.ts';
import { labelKeys, type Selector, selects, withSource } from './labels.ts';
import { type Direction, type Element, isNode, type Match, matchElement, namedPorts, type Question } from './rules.ts';
import { isValid } from './valid.ts';

/** Of one object, what it says in one direction to its subjects. */
export interface Section {
  /** `kind/namespace/name`. */
  name: string;
  direction: Direction;
  isSubject(party: Party): boolean;
  hasDefaultDeny: boolean;
  allow: ((question: Question) => Match)[];
  deny: ((question: Question) => Match)[];
}

export interface CiliumSpec {
  endpointSelector?: Selector;
  nodeSelector?: Selector;
  ingress?: Element[];
  egress?: Element[];
  ingressDeny?: Element[];
  egressDeny?: Element[];
  enableDefaultDeny?: { ingress?: boolean; egress?: boolean };
}

export function sectionsOf(cluster: Cluster): Section[] {
  return [
    ...ofKind(cluster, 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy').flatMap(ciliumSections),
    ...ofKind(cluster, 'NetworkPolicy').flatMap(kubernetesSections),
  ];
}

const directions = ['ingress', 'egress'] as const;

export const ciliumSpecs = (policy: KubeObject): CiliumSpec[] => [
  ...(policy.spec ? [policy.spec as CiliumSpec] : []),
  ...((policy.specs ?? []) as CiliumSpec[]),
];

function ciliumSections(policy: KubeObject): Section[] {
  const isClusterwide = policy.kind === 'CiliumClusterwideNetworkPolicy';
  const specs = ciliumSpecs(policy);
  if (!specs.every((spec) => isValid(spec, isClusterwide)) || specs.length === 0) return [];
  const namespace = isClusterwide ? undefined : namespaceOf(policy);
  const name = [policy.kind, namespace ?? '', policy.metadata.name].join('/');
  return specs.flatMap((spec) =>
    directions.flatMap((direction): Section[] => {
      const [allow, deny] = [spec[direction] ?? [], spec[`${direction}Deny`] ?? []];
      if (allow.length + deny.length === 0) return [];
      const matcher = (element: Element) => (question: Question) => matchElement(element, namespace, question);
      return [
        {
          name,
          direction,
          isSubject: (party) => isSubject(spec, namespace, party),
          hasDefaultDeny: spec.enableDefaultDeny?.[direction] ?? true,
          allow: allow.map(matcher),
          deny: deny.map(matcher),
        },
      ];
    }),
  );
}

function isSubject(
  { endpointSelector, nodeSelector }: CiliumSpec,
  namespace: string | undefined,
  party: Party,
): boolean {
  if (nodeSelector) return party.kind === 'node' && isNode(nodeSelector, party);
  if (!endpointSelector || party.kind !== 'pod') return false;
  if (namespace === undefined) return selects(endpointSelector, party.labels);
  // The policy's own namespace takes the place of any other that is asked for.
  const others = Object.entries(endpointSelector.matchLabels ?? {}).filter(
    ([key]) => key.replace(/^(k8s|any):/, '') !== labelKeys.NAMESPACE,
  );
  return (
    party.labels.get(`k8s:${labelKeys.NAMESPACE}`) === namespace &&
    selects({ ...endpointSelector, matchLabels: Object.fromEntries(others) }, party.labels)
  );
}

interface KubernetesPeer {
  podSelector?: Selector;
  namespaceSelector?: Selector;
  ipBlock?: { cidr: string; except?: string[] };
}
interface KubernetesPort {
  protocol?: string;
  port?: number | string;
  endPort?: number;
}
interface KubernetesRule {
  from?: KubernetesPeer[];
  to?: KubernetesPeer[];
  ports?: KubernetesPort[];
}
interface KubernetesSpec {
  podSelector?: Selector;
  policyTypes?: string[];
  ingress?: KubernetesRule[];
  egress?: KubernetesRule[];
}

function kubernetesSections(policy: KubeObject): Section[] {
  const spec = (policy.spec ?? {}) as KubernetesSpec;
  const namespace = namespaceOf(policy);
  const types = spec.policyTypes?.map((type) => type.toLowerCase()) ?? ['ingress', ...(spec.egress ? ['egress'] : [])];
  const podSelector = withSource('k8s', spec.podSelector ?? {});
  return directions
    .filter((direction) => types.includes(direction))
    .map((direction) => ({
      name: `NetworkPolicy/${namespace}/${policy.metadata.name}`,
      direction,
      isSubject: (party) =>
        party.kind === 'pod' && namespaceOf(party.pod) === namespace && selects(podSelector, party.labels),
      hasDefaultDeny: true,
      allow: (spec[direction] ?? []).map((rule) => (question) => matchKubernetes(rule, namespace, question)),
      deny: [],
    }));
}

function matchKubernetes({ from, to, ports = [] }: KubernetesRule, namespace: string, question: Question): Match {
  const peers = (question.direction === 'ingress' ? from : to) ?? [];
  const isPeer = peers.length === 0 || peers.some((peer) => isKubernetesPeer(peer, namespace, question.peer));
  const isPort = ports.length === 0 || ports.some((port) => isKubernetesPort(port, question));
  return isPeer && isPort ? 'yes' : 'no';
}

function isKubernetesPeer({ podSelector, namespaceSelector, ipBlock }: KubernetesPeer, namespace: string, peer: Party) {
  if (ipBlock) {
    if (peer.kind !== 'outside') return false;
    const address = peer.address || (peer.family === 4 ? '0.0.0.0/0' : '::/0');
    return isInside(address, ipBlock.cidr) && !(ipBlock.except ?? []).some((cidr) => isInside(address, cidr));
  }
  if (peer.kind !== 'pod' || !(podSelector || namespaceSelector)) return false;
  const isNamespace = namespaceSelector
    ? selects(withSource(`k8s:${labelKeys.NAMESPACE_LABELS}`.slice(0, -1), namespaceSelector), namespaceLabels(peer))
    : namespaceOf(peer.pod) === namespace;
  return isNamespace && selects(withSource('k8s', podSelector ?? {}), peer.labels);
}

/** Labels of the namespace alone, with their prefix as a source. */
function namespaceLabels({ labels }: Extract<Party, { kind: 'pod' }>): Map<string, string> {
  const prefix = `k8s:${labelKeys.NAMESPACE_LABELS}`;
  return new Map(
    [...labels]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, value]) => [`${prefix.slice(0, -1)}:${key.slice(prefix.length)}`, value]),
  );
}

function isKubernetesPort({ protocol = 'TCP', port, endPort }: KubernetesPort, question: Question): boolean {
  if (protocol !== question.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === 'string' && !/^\d+$/.test(port)) return namedPorts(port, question).includes(question.port);
  return question.port >= Number(port) && question.port <= (endPort ?? Number(port));
}
