/**
 * What goes into policy resolution and what comes out of it.
 *
 * The resolver (`resolver.ts`) has these functions, all pure:
 * - `emptyPolicyState(config) → PolicyState`
 * - `apply(state, changes) → { state, touched }`: many changes at once cost less than one by one.
 * - `enforcement(state, endpointId) → Enforcement`
 * - `entries(state, endpointId, identity) → PolicyEntry[]`: one group of map entries; identity 0 holds those for any peer.
 * - `identitiesOf(state, endpointId) → number[]`: groups that may have entries, 0 among them.
 * - `prefixes(state) → string[]`: CIDRs that need a local identity; `cidrIdentityLabels` says which labels it has.
 * - `verdictOf(state, flow) → Verdict` in `verdict.ts`.
 * - `toJSON(state) → PolicyInputs`, `revive(inputs) → PolicyState`.
 *
 * A PolicyState is a value: no later `apply` changes it. It is a class instance, so immer neither drafts nor freezes it.
 */
import type { Direction, Policy, ProtocolName } from './rule.ts';

/** `k8s:app` → `web`, `reserved:host` → ``, `cidr:10.0.0.0/8` → ``. */
export type IdentityLabels = Readonly<Record<string, string>>;

export interface NamedPort {
  name: string;
  protocol: 'TCP' | 'UDP' | 'SCTP';
  port: number;
}

export interface ResolverConfig {
  enforcement: 'default' | 'always' | 'never';
  /** The node reaches its pods unless a policy denies it explicitly. */
  allowLocalhost: boolean;
  /** Denials are only logged. Does not change entries. */
  audit: boolean;
  clusterName: string;
}

/** Whom policies are about: a pod, or the node itself. */
export interface Subject {
  endpointId: number;
  identity: number;
  labels: IdentityLabels;
  namedPorts: readonly NamedPort[];
  /** The host endpoint: only rules with nodeSelector are about it, by the node's labels (`k8s:…`). */
  host: boolean;
}

export interface Identity {
  identity: number;
  labels: IdentityLabels;
  /** Of the pods with this identity; egress rules that name a port need them. */
  namedPorts?: readonly NamedPort[];
}

/** What toServices needs to know of a Service. */
export interface ServiceFact {
  namespace: string;
  name: string;
  /** Of the Service object, without source. */
  labels: Readonly<Record<string, string>>;
  /** spec.selector; undefined: its endpoints were made by hand, and `addresses` are they. */
  selector: Readonly<Record<string, string>> | undefined;
  addresses: readonly string[];
}

export interface CidrGroup {
  name: string;
  labels: Readonly<Record<string, string>>;
  cidrs: readonly string[];
}

export type Change =
  | { type: 'policy.upserted'; policy: Policy }
  | { type: 'policy.removed'; key: string }
  | { type: 'identity.upserted'; identity: Identity }
  | { type: 'identity.removed'; identity: number }
  | { type: 'subject.upserted'; subject: Subject }
  | { type: 'subject.removed'; endpointId: number }
  | { type: 'cidr-group.upserted'; group: CidrGroup }
  | { type: 'cidr-group.removed'; name: string }
  | { type: 'service.upserted'; service: ServiceFact }
  | { type: 'service.removed'; namespace: string; name: string }
  | { type: 'config.changed'; config: ResolverConfig };

/** What an apply may have changed; it may name a little too much, never too little. */
export interface Touched {
  /** Endpoints whose `enforcement` may have changed, those that came and went included. */
  enforcement: readonly number[];
  /** Groups whose entries may have changed: endpoint id → identities. */
  groups: ReadonlyMap<number, ReadonlySet<number>>;
  /** CIDRs that need a local identity from now on, and that need none any more. */
  prefixesAdded: readonly string[];
  prefixesRemoved: readonly string[];
}

export interface Enforcement {
  ingress: boolean;
  egress: boolean;
}

/** One entry of a policy map; what a `PolicyEntryRow` is made of. */
export interface PolicyEntry {
  direction: Direction;
  /** Of the peer; 0: any. */
  identity: number;
  /** `ANY` here is every protocol, ICMP included; its port is `*`. */
  protocol: ProtocolName | 'ANY';
  /** `*`, `80`, an ICMP type, or `8000/13`: the ports that share their first 13 bits with 8000. */
  port: string;
  deny: boolean;
  precedence: number;
  cookie: number;
  /** Keys of policies, sorted; empty: the allowance for all of endpoints that no rule denies by default. */
  origins: readonly string[];
}

/** Everything that was put in, as plain JSON. */
export interface PolicyInputs {
  config: ResolverConfig;
  policies: readonly Policy[];
  identities: readonly Identity[];
  subjects: readonly Subject[];
  groups: readonly CidrGroup[];
  services: readonly ServiceFact[];
}

/** One direction at one subject. */
export interface VerdictQuestion {
  endpointId: number;
  direction: Direction;
  /** Of the peer. If the resolver does not know it, only rules for anybody match. */
  identity: number;
  protocol: ProtocolName;
  /** Destination port, behind services; the type for ICMP. */
  port: number;
}

export interface MatchedRule {
  policy: string;
  /** Path of the element in the policy. */
  at: string;
  deny: boolean;
  /** Not empty: it would be for a proxy to decide; for now it allows nothing. */
  needsL7: readonly string[];
  /** Why it matched, e.g. `peer has k8s:app=web; port 8080/TCP`. */
  why: string;
}

export interface Verdict {
  verdict: 'allowed' | 'denied';
  /** The direction is not enforced at all. */
  enforced: boolean;
  /** Allowed only because denials are merely logged. */
  audited: boolean;
  /** Rules that match, denials first. */
  matched: readonly MatchedRule[];
  /** Policies that select the endpoint in this direction. */
  selecting: readonly string[];
  /** The outcome in one sentence. */
  reason: string;
}
