/**
 * On which nodes a policy is in force, as a pure function of what the nodes say of their endpoints.
 *
 * - A policy is in force on a node when an endpoint there that it selects enforces what the policy speaks of, and all that it selects do.
 * - A policy for nodes is in force on those that it selects and that say that they enforce such policies.
 */
import type { KubeObject } from '../../cluster/events.ts';
import { HOST_FIREWALL } from '../../machines/node-announcement.ts';
import type { Policy } from '../../policy/rule.ts';
import { isSelected } from '../../policy/selected.ts';
import { CLUSTER_LABEL, NAMESPACE_LABEL, type Prepared, prepare } from '../../policy/selectors.ts';

const directions = ['ingress', 'egress'] as const;
type Direction = (typeof directions)[number];

/** Endpoints of one node with the same labels. */
interface Kin {
  node: string;
  /** What one of them says that does not enforce the direction; absent: all do. */
  open: Partial<Record<Direction, string>>;
}
interface Labelled {
  labels: Record<string, string>;
  prepared: Prepared;
  kin: Kin[];
}

/** Endpoints by namespace and labels: few have labels that no other has. */
export type Endpoints = ReadonlyMap<string, readonly Labelled[]>;

export interface OfNode {
  ok: boolean;
  enforcing: boolean;
  error?: string;
}
/** The status of a policy does not grow with the cluster for ever. */
export const NODES_MAX = 200;

interface Told {
  identity?: { labels?: unknown };
  networking?: { node?: unknown };
  policy?: Partial<Record<Direction, { enforcing?: unknown; state?: unknown }>>;
  state?: unknown;
}

/** `nodes`: names by address. */
export function endpointsOf(objects: readonly KubeObject[], nodes: ReadonlyMap<string, string>): Endpoints {
  const found = new Map<string, Map<string, { labels: Record<string, string>; kin: Map<string, Kin> }>>();
  for (const { metadata, status } of objects) {
    const { identity, networking, policy, state } = (status ?? {}) as Told;
    const node = nodes.get(String(networking?.node));
    if (node === undefined || !Array.isArray(identity?.labels)) continue;
    const texts = identity.labels.map(String).sort();
    const labels = Object.fromEntries(texts.map(pairOf));
    const namespace = labels[`k8s:${NAMESPACE_LABEL}`] ?? '';
    const inNamespace = found.get(namespace) ?? new Map();
    found.set(namespace, inNamespace);
    const labelled = inNamespace.get(texts.join(';')) ?? { labels, kin: new Map<string, Kin>() };
    inNamespace.set(texts.join(';'), labelled);
    const kin = labelled.kin.get(node) ?? { node, open: {} };
    labelled.kin.set(node, kin);
    const name = `${metadata.namespace}/${metadata.name}`;
    for (const one of directions) {
      if (state !== 'ready') kin.open[one] ??= `${name} is ${state}`;
      else if (policy?.[one]?.enforcing !== true) kin.open[one] ??= `${name} does not enforce ${one}`;
      else if (policy[one].state === 'audit') kin.open[one] ??= `${name} only logs what is denied (audit)`;
    }
  }
  return new Map(
    [...found].map(([namespace, all]) => [
      namespace,
      [...all.values()].map(({ labels, kin }) => ({ labels, prepared: prepare({ labels }), kin: [...kin.values()] })),
    ]),
  );
}

const pairOf = (label: string): [string, string] => {
  const at = label.indexOf('=');
  return at < 0 ? [label, ''] : [label.slice(0, at), label.slice(at + 1)];
};

/** Nodes that enforce policies for nodes, and their labels as such policies see them. */
export type Hosts = ReadonlyMap<string, Record<string, string>>;

/** `announced`: their CiliumNodes. */
export function hostsOf(nodes: readonly KubeObject[], announced: ReadonlyMap<string, KubeObject>): Hosts {
  const enforcing = nodes.filter(
    ({ metadata }) => announced.get(metadata.name)?.metadata.annotations?.[HOST_FIREWALL] === 'true',
  );
  return new Map(
    enforcing.map(({ metadata: { name, labels = {} } }) => [
      name,
      {
        ...Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value])),
        'reserved:host': '',
      },
    ]),
  );
}

/** By name of node; no more than NODES_MAX, the first by name. */
export function nodesOf({ rules }: Policy, endpoints: Endpoints, hosts: Hosts): Record<string, OfNode> {
  const open = new Map<string, Set<string>>();
  for (const rule of rules) {
    for (const [node, labels] of hosts)
      if (isSelected(rule, { labels, host: true }, '')) open.set(node, open.get(node) ?? new Set());
    const spoken = directions.filter((one) => rule[one] !== undefined);
    const some = rule.namespace ? (endpoints.get(rule.namespace) ?? []) : [...endpoints.values()].flat();
    for (const { labels, prepared, kin } of some) {
      const cluster = labels[`k8s:${CLUSTER_LABEL}`] ?? 'default';
      if (!isSelected(rule, { labels, host: false }, cluster, prepared)) continue;
      for (const one of kin) {
        const here = open.get(one.node) ?? new Set();
        open.set(one.node, here);
        for (const direction of spoken) {
          const problem = one.open[direction];
          if (problem !== undefined) here.add(problem);
        }
      }
    }
  }
  const nodes = [...open].sort(([a], [b]) => (a < b ? -1 : 1)).slice(0, NODES_MAX);
  return Object.fromEntries(
    nodes.map(([node, [first]]) => [
      node,
      { ok: first === undefined, enforcing: first === undefined, ...(first !== undefined && { error: first }) },
    ]),
  );
}
