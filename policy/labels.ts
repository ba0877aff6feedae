/**
 * Which labels of a pod form its identity (reference/identities-and-labels.md, section 4).
 *
 * - Keys of the result carry their source: `k8s:app`.
 * - Every label is identity-relevant unless an ignore pattern matches more of it than an include pattern.
 */
import type { KubeObject } from '../cluster/events.ts';

const SPOOFABLE = 'io.cilium.k8s';

/** Each matches at the start of a key. */
const included = [
  'reserved:.*',
  'io\\.kubernetes\\.pod\\.namespace',
  'io\\.cilium\\.k8s\\.namespace\\.labels',
  'app\\.kubernetes\\.io',
  'io\\.cilium\\.k8s\\.policy\\.cluster',
  'io\\.cilium\\.k8s\\.policy\\.serviceaccount',
].map((pattern) => new RegExp(`^${pattern}`));

const ignored = [
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

const lengths = (patterns: readonly RegExp[], key: string): number[] =>
  patterns.map((pattern) => pattern.exec(key)?.[0].length ?? -1).filter((length) => length >= 0);

/** Patterns of one node beside the built-in ones; with an include of its own only what is included counts. */
export interface LabelFilter {
  include: readonly RegExp[];
  ignore: readonly RegExp[];
}

const builtIn: LabelFilter = { include: [], ignore: [] };

/** `app` includes, `!version` ignores; each is a regular expression that matches at the start of a key, with or without `k8s:`. */
export function labelFilter(patterns: readonly string[]): LabelFilter {
  if (patterns.length === 0) return builtIn;
  const compile = (pattern: string): RegExp => new RegExp(`^(?:${pattern.replace(/^!?(?:k8s:)?/, '')})`);
  return {
    include: patterns.filter((pattern) => !pattern.startsWith('!')).map(compile),
    ignore: patterns.filter((pattern) => pattern.startsWith('!')).map(compile),
  };
}

/** Longest include against shortest ignore. */
export function isIdentityLabel(key: string, filter: LabelFilter = builtIn): boolean {
  const ignore = [...lengths(ignored, key), ...lengths(filter.ignore, key)];
  const include = Math.max(-1, ...lengths(included, key), ...lengths(filter.include, key));
  if (ignore.length === 0) return filter.include.length === 0 || include >= 0;
  return include > Math.min(...ignore);
}

/** All labels of a pod with their derived ones, before filtering. */
function allLabels(pod: KubeObject, namespace: KubeObject, clusterName: string): Record<string, string> {
  const spec = (pod.spec ?? {}) as { serviceAccountName?: string };
  const own = Object.entries(pod.metadata.labels ?? {}).filter(([key]) => !key.startsWith(SPOOFABLE));
  const inherited = Object.entries(namespace.metadata.labels ?? {}).map(
    ([key, value]) => [`io.cilium.k8s.namespace.labels.${key}`, value] as const,
  );
  return {
    ...Object.fromEntries(own),
    ...Object.fromEntries(inherited),
    'io.kubernetes.pod.namespace': pod.metadata.namespace ?? '',
    ...(spec.serviceAccountName && { 'io.cilium.k8s.policy.serviceaccount': spec.serviceAccountName }),
    'io.cilium.k8s.policy.cluster': clusterName,
  };
}

export function podIdentityLabels(
  pod: KubeObject,
  namespace: KubeObject,
  clusterName: string,
  filter: LabelFilter = builtIn,
): Record<string, string> {
  const relevant = Object.entries(allLabels(pod, namespace, clusterName)).filter(([key]) =>
    isIdentityLabel(key, filter),
  );
  return Object.fromEntries(relevant.map(([key, value]) => [`k8s:${key}`, value]));
}
