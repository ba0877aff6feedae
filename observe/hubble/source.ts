/** What the Hubble API answers from: the ring of flows, and what is known of this node. */
import type { FlowRing } from './flow-ring.ts';

export interface HubbleSource {
  ring: FlowRing;
  /** `cluster/node`, or the bare node in the cluster `default`. */
  nodeName: string;
  version: string;
  status(): ServerStatus;
  /** Namespaces with flows in the last hour, sorted. */
  namespaces(): { cluster: string; namespace: string }[];
  peers(): { name: string; address: string; type: 'PEER_ADDED' }[];
}

export interface ServerStatus {
  num_flows: number;
  max_flows: number;
  seen_flows: number;
  uptime_ns: number;
  version: string;
  flows_rate: number;
}
