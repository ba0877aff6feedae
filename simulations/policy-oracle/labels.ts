/**
 * Labels and selectors, read from reference/identities-and-labels.md anew: what policy sees of a pod, and whether a selector selects it.
 *
 * - A label is `source:key` with a value; a selector's key without a source means any source.
 */
import type { KubeObject } from '../../cluster/events.ts';

export type Labels = ReadonlyMap<string, string>;

export interface Selector {
  matchLabels?: Record<string, string>;
  matchExpressions?: { key: string; operator: string; values?: string[] }[];
}

const NAMESPACE = 'io.kubernetes.pod.namespace';
const NAMESPACE_LABELS = 'io.cilium.k8s.namespace.labels.';
const CLUSTER = 'io.cilium.k8s.policy.cluster';
const SERVICE_ACCOUNT = 'io.cilium.k8s.policy.serviceaccount';
export const labelKeys = { NAMESPACE, NAMESPACE_LABELS, CLUSTER, SERVICE_ACCOUNT } as const;

const INCLUDE =
  /^(?:io\.kubernetes\.pod\.namespace|io\.cilium\.k8s\.namespace\.labels|app\.kubernetes\.io|io\.cilium\.k8s\.policy\.cluster|io\.cilium\.k8s\.policy\.serviceaccount)/;
const IGNORE = [
  'io\\.kubernetes',
  'kubernetes\\.io',
  'statefulset\\.kubernetes\\.io/pod-name',
  'apps\\.kubernetes\\.io/pod-index',
  'batch\\.kubernetes\\.io/job-completion-index',
  'batch\\.kubernetes\\.io/controller-uid',
  '.*beta\\.kubernetes\\.io',
  'k8s\\.io',
  'pod-template-generation',
  'pod-template-hash',
  'controller-revision-hash',
  'controller-uid',
  'annotation.*',
  'etcd_node',
  'topology\\.kubernetes\\.io',
].map((pattern) => new RegExp(`^${pattern}`));

function counts(key: string): boolean {
  const ignored = IGNORE.flatMap((pattern) => pattern.exec(key)?.[0].length ?? []);
  if (ignored.length === 0) return true;
  return (INCLUDE.exec(key)?.[0].length ?? -1) > Math.min(...ignored);
}

export function labelsOfPod(pod: KubeObject, namespace: KubeObject | undefined, cluster: string): Labels {
  const own = Object.entries(pod.metadata.labels ?? {}).filter(([key]) => !key.startsWith('io.cilium.k8s'));
  const name = pod.metadata.namespace ?? 'default';
  const inherited = { 'kubernetes.io/metadata.name': name, ...namespace?.metadata.labels };
  const account = (pod.spec as { serviceAccountName?: string } | undefined)?.serviceAccountName;
  const all: [string, string][] = [
    ...own,
    ...Object.entries(inherited).map(([key, value]): [string, string] => [`${NAMESPACE_LABELS}${key}`, value]),
    [NAMESPACE, name],
    [CLUSTER, cluster],
    ...(account ? [[SERVICE_ACCOUNT, account] as [string, string]] : []),
  ];
  return new Map(all.filter(([key]) => counts(key)).map(([key, value]) => [`k8s:${key}`, value]));
}

/** Source and key of a selector's key. */
export function parseKey(text: string): { source: string; key: string } {
  const colon = text.indexOf(':');
  return colon < 0 ? { source: 'any', key: text } : { source: text.slice(0, colon), key: text.slice(colon + 1) };
}

/** Values under a key: with any source there may be several. */
function valuesOf(labels: Labels, text: string): string[] {
  const { source, key } = parseKey(text);
  return [...labels].flatMap(([name, value]) => {
    const label = parseKey(name);
    return label.key === key && (source === 'any' || source === label.source) ? [value] : [];
  });
}

export const keysOf = ({ matchLabels = {}, matchExpressions }: Selector): string[] => [
  ...Object.keys(matchLabels),
  ...(matchExpressions ?? []).map(({ key }) => key),
];

export function selects(selector: Selector, labels: Labels): boolean {
  const isLabelled = Object.entries(selector.matchLabels ?? {}).every(([key, value]) =>
    valuesOf(labels, key).includes(value ?? ''),
  );
  const meetsAll = (selector.matchExpressions ?? []).every(({ key, operator, values = [] }) => {
    const found = valuesOf(labels, key);
    switch (operator) {
      case 'In':
        return found.some((value) => values.includes(value));
      case 'NotIn':
        return !found.some((value) => values.includes(value));
      case 'Exists':
        return found.length > 0;
      case 'DoesNotExist':
        return found.length === 0;
      default:
        return false;
    }
  });
  return isLabelled && meetsAll;
}

/** The same selector with keys of this source only: selectors of Kubernetes objects know no sources. */
export function withSource(source: string, { matchLabels = {}, matchExpressions }: Selector): Selector {
  return {
    matchLabels: Object.fromEntries(Object.entries(matchLabels).map(([key, value]) => [`${source}:${key}`, value])),
    matchExpressions: (matchExpressions ?? []).map((one) => ({ ...one, key: `${source}:${one.key}` })),
  };
}
