/** Policies about pods of one node and peers on others, and what people say they mean. */
import { type End, nodeOf } from './country.ts';
import type { Probe } from './peer.ts';

export interface PolicyCase {
  name: string;
  yaml: string;
  allowed(from: End, to: End, protocol: Probe['protocol']): boolean;
}

/** All select pod a, which is on node-1; that node's own processes always reach it, and it does not always reach them. */
const policy = (spec: string): string => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: about-a}
spec:
  endpointSelector: {matchLabels: {app: a}}
${spec}
`;

const isOwnHost = (end: End): boolean => end.startsWith('host') && nodeOf(end) === 'node-1';
const isFarHost = (end: End): boolean => end.startsWith('host') && nodeOf(end) !== 'node-1';

export const policyCases: readonly PolicyCase[] = [
  {
    name: 'a pod is asked by a pod of another node with the right label, on the right port only',
    yaml: policy(`  ingress:
  - fromEndpoints: [{matchLabels: {app: b}}]
    toPorts: [{ports: [{port: "8080", protocol: ANY}]}]`),
    allowed: (from, to, protocol) => to !== 'a' || isOwnHost(from) || (from === 'b' && protocol !== 'ICMP'),
  },
  {
    name: 'a pod is asked by other nodes and not by their pods',
    yaml: policy('  ingress:\n  - fromEntities: [remote-node]'),
    allowed: (from, to) => to !== 'a' || isOwnHost(from) || isFarHost(from),
  },
  {
    name: 'a pod on another node is denied although all of the cluster is allowed',
    yaml: policy(`  ingress:
  - fromEntities: [cluster]
  ingressDeny:
  - fromEndpoints: [{matchLabels: {app: c}}]`),
    allowed: (from, to) => to !== 'a' || from !== 'c',
  },
  {
    name: 'a pod asks a pod of another node, and neither other pods nor nodes',
    yaml: policy('  egress:\n  - toEndpoints: [{matchLabels: {app: b}}]'),
    allowed: (from, to) => from !== 'a' || to === 'b',
  },
];
