/**
 * Who is selected: labels of identities against what rules say of peers and subjects (reference/policy-semantics.md, sections 2-4).
 *
 * - A `Selector` is a peer made concrete: groups and services are replaced by the CIDRs and labels behind them.
 * - `anchorsOf` and `anchorsOfIdentity` are two sides of an index: a selector can only match an identity that has one of its anchors.
 */
import type { CidrGroup, Identity, IdentityLabels, ServiceFact } from './change.ts';
import { containsPrefix, type Prefix, parsePrefix, prefixOfLabel } from './prefix.ts';
import type { Entity, LabelMatch, Peer, Requirement } from './rule.ts';

export const NAMESPACE_LABEL = 'io.kubernetes.pod.namespace';
export const CLUSTER_LABEL = 'io.cilium.k8s.policy.cluster';
export const NAMESPACE_LABELS_PREFIX = 'io.cilium.k8s.namespace.labels.';

export type Selector =
  | ({ kind: 'labels' } & LabelMatch)
  | { kind: 'entity'; entity: Exclude<Entity, 'all' | 'none'> }
  | { kind: 'cidr'; cidr: string; except: readonly string[] }
  /** Peers with a port of that name. */
  | { kind: 'named-port'; name: string };

/** An identity, made ready to be matched. */
export interface Prepared {
  labels: IdentityLabels;
  /** Sources that its labels have. */
  sources: readonly string[];
  /** Of its `cidr:` label. */
  prefix: Prefix | undefined;
  portNames: readonly string[];
}

export function prepare({ labels, namedPorts = [] }: Pick<Identity, 'labels' | 'namedPorts'>): Prepared {
  const keys = Object.keys(labels);
  const cidr = keys.find((key) => key.startsWith('cidr:'));
  return {
    labels,
    sources: [...new Set(keys.map((key) => key.slice(0, Math.max(key.indexOf(':'), 0))))],
    prefix: cidr === undefined ? undefined : prefixOfLabel(cidr),
    portNames: namedPorts.map(({ name }) => name),
  };
}

/** NotIn and DoesNotExist also match when the label is absent. */
function meets({ source, key, operator, values }: Requirement, peer: Prepared): boolean {
  let exists = false;
  let isIn = false;
  for (const known of source === 'any' ? peer.sources : [source]) {
    const value = peer.labels[`${known}:${key}`];
    if (value === undefined) continue;
    exists = true;
    isIn ||= values.includes(value);
  }
  if (source === 'cidr' && !exists) {
    const outer = prefixOfLabel(`cidr:${key}`);
    exists = outer !== undefined && peer.prefix !== undefined && containsPrefix(outer, peer.prefix);
    isIn = exists && values.includes('');
  }
  switch (operator) {
    case 'In':
      return isIn;
    case 'NotIn':
      return !isIn;
    case 'Exists':
      return exists;
    case 'DoesNotExist':
      return !exists;
  }
}

export function matchesLabels(match: LabelMatch, peer: Prepared, clusterName: string): boolean {
  if (match.localCluster && peer.labels[`k8s:${CLUSTER_LABEL}`] !== clusterName) return false;
  return match.requirements.every((requirement) => meets(requirement, peer));
}

/** Labels of an object, such as a Service or a CIDR group, that have no source. */
export const matchesPlain = (requirements: readonly Requirement[], labels: Readonly<Record<string, string>>): boolean =>
  matchesLabels({ requirements, localCluster: false }, prepare({ labels: withSource(labels) }), '');

const withSource = (labels: Readonly<Record<string, string>>): IdentityLabels =>
  Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value]));

const WORLD = ['world', 'world-ipv4', 'world-ipv6'] as const;
const CLUSTER = ['host', 'remote-node', 'init', 'ingress', 'health', 'unmanaged', 'kube-apiserver'] as const;

const reservedOf = (entity: Exclude<Entity, 'all' | 'none'>): readonly string[] =>
  entity === 'world' ? WORLD : entity === 'cluster' || entity === 'cluster-mesh' ? CLUSTER : [entity];

function isOfEntity(entity: Exclude<Entity, 'all' | 'none'>, peer: Prepared, clusterName: string): boolean {
  if (reservedOf(entity).some((name) => peer.labels[`reserved:${name}`] !== undefined)) return true;
  const cluster = peer.labels[`k8s:${CLUSTER_LABEL}`];
  if (entity === 'cluster') return cluster === clusterName;
  return entity === 'cluster-mesh' && cluster !== undefined;
}

/** CIDRs of selectors come up again and again. */
const parsed = new WeakMap<object, { outer: Prefix | undefined; except: readonly Prefix[] }>();

function isInCidr(selector: Extract<Selector, { kind: 'cidr' }>, peer: Prepared): boolean {
  let known = parsed.get(selector);
  if (!known) {
    const except = selector.except.flatMap((text) => parsePrefix(text) ?? []);
    known = { outer: parsePrefix(selector.cidr), except };
    parsed.set(selector, known);
  }
  const { outer, except } = known;
  if (!outer) return false;
  if (peer.prefix === undefined) {
    if (outer.length > 0) return false;
    const world = outer.words.length === 1 ? 'reserved:world-ipv4' : 'reserved:world-ipv6';
    return peer.labels[world] !== undefined || peer.labels['reserved:world'] !== undefined;
  }
  const { prefix } = peer;
  return containsPrefix(outer, prefix) && !except.some((hole) => containsPrefix(hole, prefix));
}

export function matches(selector: Selector, peer: Prepared, clusterName: string): boolean {
  switch (selector.kind) {
    case 'labels':
      return matchesLabels(selector, peer, clusterName);
    case 'entity':
      return isOfEntity(selector.entity, peer, clusterName);
    case 'cidr':
      return isInCidr(selector, peer);
    case 'named-port':
      return peer.portNames.includes(selector.name);
  }
}

/** What stands behind the names in rules. */
export interface Names {
  groups: Iterable<CidrGroup>;
  services: Iterable<ServiceFact>;
}

/** `any` is every peer, unknown ones included. No selector: nobody. */
export function selectorsOf(peer: Peer, names: Names): readonly Selector[] | 'any' {
  switch (peer.kind) {
    case 'labels':
    case 'cidr':
      return [peer];
    case 'entity':
      if (peer.entity === 'all') return 'any';
      return peer.entity === 'none' ? [] : [{ kind: 'entity', entity: peer.entity }];
    case 'cidr-group':
    case 'cidr-groups':
      return [...names.groups]
        .filter((group) => namesGroup(peer, group))
        .flatMap(({ cidrs }) => cidrs.map((cidr): Selector => ({ kind: 'cidr', cidr, except: peer.except })));
    case 'service':
    case 'services':
      return [...names.services].filter((service) => namesService(peer, service)).flatMap(ofService);
    case 'fqdn':
      return [];
  }
}

export const namesGroup = (peer: Peer, { name, labels }: CidrGroup): boolean =>
  (peer.kind === 'cidr-group' && peer.name === name) ||
  (peer.kind === 'cidr-groups' && matchesPlain(peer.requirements, labels));

export function namesService(peer: Peer, service: ServiceFact): boolean {
  if (peer.kind !== 'service' && peer.kind !== 'services') return false;
  if (peer.namespace !== '' && peer.namespace !== service.namespace) return false;
  return peer.kind === 'service' ? peer.name === service.name : matchesPlain(peer.requirements, service.labels);
}

function ofService({ namespace, selector, addresses }: ServiceFact): Selector[] {
  if (selector === undefined)
    return addresses.flatMap((address): Selector[] =>
      parsePrefix(address)
        ? [{ kind: 'cidr', cidr: `${address}/${address.includes(':') ? 128 : 32}`, except: [] }]
        : [],
    );
  const equal = [[NAMESPACE_LABEL, namespace] as const, ...Object.entries(selector)];
  const requirements = equal.map(
    ([key, value]): Requirement => ({ source: 'k8s', key, operator: 'In', values: [value] }),
  );
  return [{ kind: 'labels', requirements, localCluster: true }];
}

const valueAnchor = (key: string, value: string): string => `=${key}=${value}`;
const keyAnchor = (key: string): string => `?${key}`;
const scopedAnchor = (namespace: string, key: string, value: string): string => `${namespace}/${key}=${value}`;
const portAnchor = (name: string): string => `:${name}`;
/** Everybody. */
const NO_ANCHOR = '*';
/** All CIDR identities. Selectors of CIDRs are found by their prefixes instead; see `selector-index.ts`. */
export const CIDR_ANCHOR = '/';

/** An identity that the selector matches has at least one of these. */
export function anchorsOf(selector: Selector, clusterName: string): readonly string[] {
  switch (selector.kind) {
    case 'labels':
      return labelAnchors(selector, clusterName);
    case 'entity': {
      const reserved = reservedOf(selector.entity).map(keyAnchor);
      if (selector.entity === 'cluster') return [...reserved, valueAnchor(CLUSTER_LABEL, clusterName)];
      return selector.entity === 'cluster-mesh' ? [...reserved, keyAnchor(CLUSTER_LABEL)] : reserved;
    }
    case 'cidr':
      return selector.cidr.endsWith('/0') ? [CIDR_ANCHOR, ...WORLD.map(keyAnchor)] : [CIDR_ANCHOR];
    case 'named-port':
      return [portAnchor(selector.name)];
  }
}

/** The requirement that fewest identities are likely to meet. */
function labelAnchors({ requirements, localCluster }: LabelMatch, clusterName: string): readonly string[] {
  const one = requirements.filter(({ operator, values }) => operator === 'In' && values.length === 1);
  const namespace = one.find(({ source, key }) => key === NAMESPACE_LABEL && source === 'k8s')?.values[0];
  const [own] = one.filter(({ key, source }) => key !== NAMESPACE_LABEL && source !== 'cidr');
  if (own) {
    const value = own.values[0] as string;
    return [namespace === undefined ? valueAnchor(own.key, value) : scopedAnchor(namespace, own.key, value)];
  }
  const several = requirements.find(
    ({ operator, source, key }) => operator === 'In' && source !== 'cidr' && !(namespace && key === NAMESPACE_LABEL),
  );
  if (several) return several.values.map((value) => valueAnchor(several.key, value));
  if (namespace !== undefined) return [valueAnchor(NAMESPACE_LABEL, namespace)];
  const present = requirements.find(({ operator, source }) => operator === 'Exists' && source !== 'cidr');
  if (present) return [keyAnchor(present.key)];
  return [localCluster ? valueAnchor(CLUSTER_LABEL, clusterName) : NO_ANCHOR];
}

export function anchorsOfIdentity({ labels, prefix, portNames }: Prepared): string[] {
  const anchors = [NO_ANCHOR, ...portNames.map(portAnchor)];
  const namespace = labels[`k8s:${NAMESPACE_LABEL}`];
  for (const label of Object.keys(labels)) {
    const key = label.slice(label.indexOf(':') + 1);
    const value = labels[label] as string;
    anchors.push(keyAnchor(key), valueAnchor(key, value));
    if (namespace !== undefined && key !== NAMESPACE_LABEL) anchors.push(scopedAnchor(namespace, key, value));
  }
  if (prefix !== undefined) anchors.push(CIDR_ANCHOR);
  return [...new Set(anchors)];
}
