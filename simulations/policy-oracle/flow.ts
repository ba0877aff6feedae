/** A question to policy: may this end open a connection to that one? */

export type Entity = 'host' | 'remote-node' | 'world' | 'kube-apiserver';
export type FlowEnd = { pod: string } | { ip: string } | { entity: Entity };

export interface Flow {
  id: string | number;
  from: FlowEnd;
  to: FlowEnd;
  /** TCP, UDP, SCTP, ICMP or ICMPv6. ICMP between addresses of IPv6 is ICMPv6. */
  protocol: string;
  /** Of the destination, after service translation; for ICMP the type. */
  port: number;
  http?: { method?: string; path?: string; host?: string; headers?: Record<string, string> };
  dns?: unknown;
  fqdnCache?: unknown;
}

export type Side = 'allowed' | 'denied' | 'not-enforced';

export interface Verdict {
  id: string | number;
  verdict: 'allowed' | 'denied' | 'redirected-denied';
  ingress: Side;
  egress: Side;
  /** Policies that decided: `kind/namespace/name`. */
  matchedBy: string[];
}
