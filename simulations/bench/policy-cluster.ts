/** The cluster that policy is measured on: labels of identities, policies of five sorts, and who of all that is on the node. */
import type { KubeObject } from '../../cluster/events.ts';
import { parsePolicy } from '../../policy/parse.ts';
import type { Policy } from '../../policy/rule.ts';

export const NAMESPACES = 100;
export const APPS = 50;
export const ENDPOINTS = 110;
export const ROUNDS = 1_000;

export const teamOf = (namespace: number): string => `team-${namespace % 10}`;
const namespaceOf = (i: number): number => Math.floor(i / APPS) % NAMESPACES;

export const podLabelsOf = (i: number): Record<string, string> => ({
  app: `app-${i % APPS}`,
  version: `v${Math.floor(i / (APPS * NAMESPACES))}`,
});
export const podNamespaceOf = (i: number): string => `ns-${namespaceOf(i)}`;

/** Of identity `1000 + i`. */
export const labelsOf = (i: number): Record<string, string> => ({
  'k8s:app': `app-${i % APPS}`,
  'k8s:version': `v${Math.floor(i / (APPS * NAMESPACES))}`,
  'k8s:io.kubernetes.pod.namespace': podNamespaceOf(i),
  'k8s:io.cilium.k8s.namespace.labels.team': teamOf(namespaceOf(i)),
  'k8s:io.cilium.k8s.policy.cluster': 'default',
});

/** Mostly of one app in one namespace; some open a namespace, some a team's, some name networks, some deny. */
export function objectOf(i: number, name = `p-${i}`): KubeObject {
  const namespace = `ns-${i % NAMESPACES}`;
  const app = Math.floor(i / NAMESPACES) % APPS;
  const port = String(1_024 + (i % 500));
  const ports = [{ ports: [{ port, protocol: 'TCP' }] }];
  const peer = { matchLabels: { app: `app-${(app + 1 + (i % 7)) % APPS}` } };
  const rules = [
    { ingress: [{ fromEndpoints: [peer], toPorts: ports }] },
    { ingress: [{ fromEndpoints: [{}] }], egress: [{ toEndpoints: [peer] }] },
    {
      ingress: [
        {
          fromEndpoints: [
            { matchLabels: { 'k8s:io.cilium.k8s.namespace.labels.team': `team-${i % 10}`, app: `app-${app}` } },
          ],
          toPorts: ports,
        },
      ],
    },
    { egress: [{ toCIDR: [`10.${i % 250}.0.0/16`], toPorts: ports }, { toEntities: ['kube-apiserver'] }] },
    {
      ingress: [
        {
          fromEntities: ['world', 'host'],
          toPorts: [{ ports: [{ port, endPort: Number(port) + 77, protocol: 'TCP' }] }],
        },
      ],
      ingressDeny: [{ fromEndpoints: [peer] }],
    },
  ];
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumNetworkPolicy',
    metadata: { namespace, name },
    spec: { endpointSelector: { matchLabels: { app: `app-${app}` } }, ...rules[i % rules.length] },
  };
}

export function policyOf(i: number): Policy {
  const { policy, problems } = parsePolicy(objectOf(i));
  if (!policy) throw new Error(JSON.stringify(problems));
  return policy;
}

/** Which of the identities the endpoint has. */
export const subjectOf = (endpointId: number, identities: number): number => (endpointId * 181) % identities;
const placeOf = (i: number): string => `${podNamespaceOf(i)}/app-${i % APPS}`;
const placeOfPolicy = (i: number): string => `ns-${i % NAMESPACES}/app-${Math.floor(i / NAMESPACES) % APPS}`;

export const endpointIds = Array.from({ length: ENDPOINTS }, (_, i) => i + 1);

/** Policies that select somebody here. */
export function concerned(policies: number, identities: number): number[] {
  const selected = new Set(endpointIds.map((id) => placeOf(subjectOf(id, identities))));
  return Array.from({ length: policies }, (_, i) => i).filter((i) => selected.has(placeOfPolicy(i)));
}

/** Labels of the round's new identity: in the namespace of somebody here. */
export function newLabels(round: number, identities: number): Record<string, string> {
  const start = Math.floor(subjectOf(endpointIds[round % ENDPOINTS] as number, identities) / APPS) * APPS;
  return { ...labelsOf(start + (round % APPS)), 'k8s:version': `new-${round}` };
}

/** What the round's policy is replaced by. */
export const otherVersion = (one: number, round: number): number => one + NAMESPACES * APPS * (1 + (round % 3));

export const at = (values: readonly number[], share: number): number =>
  Math.round((values.toSorted((x, y) => x - y)[Math.floor(values.length * share)] ?? Number.NaN) * 1_000) / 1_000;
