/**
 * What all policy objects come to: rules with one subject each, made of elements that allow or deny.
 *
 * - A rule is plain JSON. Nothing in it depends on the cluster: groups, services and named ports stay names until they are resolved.
 * - Absent and empty differ: `peers` undefined is anybody, `peers: []` is nobody; `ports` undefined is everything, `ports: []` nothing
 *   (reference/policy-semantics.md, section 2).
 * - All members of an element are ANDed, all elements of all rules are united, and a denial beats every allowance.
 */

import { type ProtocolName, protocolNumbers } from '../state/tables.ts';

export { type ProtocolName, protocolNumbers };

/** Where a label of a selector may come from; `any` is every source. */
export interface Requirement {
  /** `any`, `k8s`, `reserved`, `cidr`, … */
  source: string;
  key: string;
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist';
  /** Empty for Exists and DoesNotExist. */
  values: readonly string[];
}

/** All requirements hold. `[]` selects everything. */
export interface LabelMatch {
  requirements: readonly Requirement[];
  /** Also the cluster label must be there and be our own cluster's. */
  localCluster: boolean;
}

export const entities = [
  'all',
  'world',
  'world-ipv4',
  'world-ipv6',
  'cluster',
  'cluster-mesh',
  'host',
  'init',
  'ingress',
  'unmanaged',
  'remote-node',
  'health',
  'none',
  'kube-apiserver',
] as const;
export type Entity = (typeof entities)[number];

/** Who is at the other end. CIDRs are canonical, without host bits. */
export type Peer =
  | ({ kind: 'labels' } & LabelMatch)
  | { kind: 'entity'; entity: Entity }
  | { kind: 'cidr'; cidr: string; except: readonly string[] }
  /** By name, or by labels of the group. */
  | { kind: 'cidr-group'; name: string; except: readonly string[] }
  | { kind: 'cidr-groups'; requirements: readonly Requirement[]; except: readonly string[] }
  /** `namespace` empty: any. */
  | { kind: 'service'; name: string; namespace: string }
  | { kind: 'services'; requirements: readonly Requirement[]; namespace: string }
  /** Waits for the next stage, and selects nobody until then. */
  | { kind: 'fqdn'; matchName: string; matchPattern: string };

/** `ANY` in a rule is TCP, UDP and SCTP, not ICMP. */
export type RuleProtocol = ProtocolName | 'ANY';

export type PortMatch =
  /** Inclusive; 0..65535 is every port. Protocols without ports have 0..65535 too. */
  | { kind: 'range'; protocol: RuleProtocol; first: number; last: number }
  /** Of the subject for ingress, of the peer for egress. */
  | { kind: 'named'; protocol: RuleProtocol; name: string }
  | { kind: 'icmp'; protocol: 'ICMP' | 'ICMPv6'; type: number };

export interface Element {
  /** Path in the object: `spec.ingress[0]` or `spec.egress[1].toPorts[0]`. */
  at: string;
  deny: boolean;
  /** Undefined: anybody, the world and hosts included. */
  peers: readonly Peer[] | undefined;
  /** Undefined: everything, ICMP included. */
  ports: readonly PortMatch[] | undefined;
  /** What of it only a proxy can judge (`http`, `dns`, …). If not empty, the element allows nothing for now. */
  needsL7: readonly string[];
}

export interface Section {
  /** What is not allowed is denied. */
  defaultDeny: boolean;
  elements: readonly Element[];
}

export interface Rule {
  /** `spec` or `specs[2]`. */
  at: string;
  subject: { kind: 'endpoints' | 'nodes' } & LabelMatch;
  /** Subjects are in this namespace; empty: in any, and hosts. */
  namespace: string;
  /** Absent: the rule says nothing about that direction. */
  ingress?: Section;
  egress?: Section;
  /** Appears in flows that the rule decides. */
  log: string;
}

export type PolicyKind = 'NetworkPolicy' | 'CiliumNetworkPolicy' | 'CiliumClusterwideNetworkPolicy';

export interface Policy {
  /** `kind/namespace/name`; the namespace of a clusterwide one is empty. See `policyKey`. */
  key: string;
  rules: readonly Rule[];
}

/** Why an object, or a part of it, is not accepted. */
export interface Problem {
  /** `spec.ingress[0].toPorts[1].ports[0].port` */
  path: string;
  value: unknown;
  /** What is wrong and what was expected, in words. */
  expected: string;
}

export type Direction = 'ingress' | 'egress';
export const directions: readonly Direction[] = ['ingress', 'egress'];

export const policyKey = (kind: string, namespace: string | undefined, name: string): string =>
  `${kind}/${namespace ?? ''}/${name}`;

export const problemText = ({ path, value, expected }: Problem): string =>
  `${path}: ${value === undefined ? 'missing' : (JSON.stringify(value) ?? String(value)).slice(0, 200)}: ${expected}`;
