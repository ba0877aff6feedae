/** What endpoints and the policy machine tell each other, and what of it programs see. */
import type { NamedPort } from '../policy/change.ts';

/** `enum endpoint_flags` of bpf/lib/structs.h. */
export const endpointFlags = { enforceIngress: 1, enforceEgress: 2, audit: 4 } as const;

/** Published by every endpoint that has an identity. */
export const subjectsTopic = 'policy/subjects';
export interface SubjectFact {
  endpointId: number;
  identity: number;
  /** `k8s:app` → `web`. */
  labels: Record<string, string>;
  namedPorts: NamedPort[];
  /** Its denials are only logged. */
  audit: boolean;
}

/** Published by the policy machine, once policy is known. */
export const policyKnownTopic = 'policy/known';
export const endpointPolicyTopic = (endpointId: number): string => `policy/endpoint/${endpointId}`;
export interface EndpointPolicyFact {
  /** That its addresses may have now: its own as subject, when what changes with it is safe. */
  identity: number;
  ingress: boolean;
  egress: boolean;
  audit: boolean;
  /** Why what is in force is not what policies say; else empty. */
  problem: string;
}

export const flagsOf = ({ ingress, egress, audit }: EndpointPolicyFact): number =>
  (ingress ? endpointFlags.enforceIngress : 0) |
  (egress ? endpointFlags.enforceEgress : 0) |
  (audit && (ingress || egress) ? endpointFlags.audit : 0);

/** What conntrack remembers of a check under audit is worth nothing without it: sums of the two never meet. */
const AUDIT_REVISION = 2 ** 31;
export const policyRevisionOf = (flags: number): number => (flags & endpointFlags.audit ? AUDIT_REVISION : 1);
