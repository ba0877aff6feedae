/** Label selectors of policy objects as requirements, with what namespaces and clusters add to them (policy-semantics.md, section 2). */
import type { Reader } from './fields.ts';
import type { LabelMatch, Requirement } from './rule.ts';
import { CLUSTER_LABEL, NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX } from './selectors.ts';

/** Sources that a key may begin with; any other text before a colon is no key. */
const sources = ['any', 'k8s', 'reserved', 'cidr', 'cidrgroup', 'fqdn', 'node', 'unspec', 'cni', 'container', 'gen'];

const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/;
const KEY_PREFIX_MAX = 253;

/** `fixed`: keys have no source of their own and are all from this one, as in Kubernetes' own objects. */
function splitKey(key: string, fixed: string | undefined): { source: string; key: string } {
  if (fixed !== undefined) return { source: fixed, key };
  const colon = key.indexOf(':');
  if (colon < 0) return { source: 'any', key };
  return { source: key.slice(0, colon), key: key.slice(colon + 1) };
}

function isLabelKey(key: string): boolean {
  const slash = key.lastIndexOf('/');
  const prefix = key.slice(0, Math.max(slash, 0));
  if (slash >= 0 && (prefix.length > KEY_PREFIX_MAX || !SUBDOMAIN.test(prefix))) {
    // A namespace's label with a prefix of its own: two slashes never, but a long prefix.
    return false;
  }
  return NAME.test(key.slice(slash + 1));
}

function checkedKey(reader: Reader, text: string, path: string, fixed: string | undefined) {
  const { source, key } = splitKey(text, fixed);
  if (!sources.includes(source))
    return reader.bad(path, text, `the part before ":" must be a label source: ${sources.join(', ')}`);
  // Keys of these sources are addresses, names and patterns.
  const isFree = source === 'cidr' || source === 'fqdn' || source === 'cidrgroup';
  const bare = key.startsWith(NAMESPACE_LABELS_PREFIX) ? key.slice(NAMESPACE_LABELS_PREFIX.length) : key;
  if (isFree ? key === '' : !isLabelKey(bare))
    return reader.bad(
      path,
      text,
      'must be a label key: [prefix/]name, at most 63 letters, digits, "-", "_" or "." in the name',
    );
  return { source, key };
}

function checkedValue(reader: Reader, value: unknown, path: string): string | undefined {
  if (typeof value === 'string' && (value === '' || NAME.test(value))) return value;
  return reader.bad(path, value, 'must be a label value: empty, or at most 63 letters, digits, "-", "_" or "."');
}

const operators = ['In', 'NotIn', 'Exists', 'DoesNotExist'] as const;

/** A LabelSelector's own requirements. Undefined: it is no selector at all. */
export function readSelector(reader: Reader, value: unknown, path: string, source?: string): Requirement[] | undefined {
  const selector = reader.fields(value, path, ['matchLabels', 'matchExpressions']);
  if (!selector) return undefined;
  const labels = selector.matchLabels ?? {};
  const equal = Object.entries(reader.fields(labels, `${path}.matchLabels`) ?? {}).map(([text, of]) => {
    const at = `${path}.matchLabels.${text}`;
    const key = checkedKey(reader, text, at, source);
    const text2 = checkedValue(reader, of, at);
    return key && text2 !== undefined ? { ...key, operator: 'In' as const, values: [text2] } : undefined;
  });
  const expressions = reader.each(selector.matchExpressions, `${path}.matchExpressions`, (member, at) =>
    readExpression(reader, member, at, source),
  );
  return [...equal, ...(expressions ?? [])].filter((requirement) => requirement !== undefined);
}

function readExpression(reader: Reader, value: unknown, path: string, source?: string): Requirement | undefined {
  const fields = reader.fields(value, path, ['key', 'operator', 'values']);
  if (!fields) return undefined;
  const operator = operators.find((known) => known === fields.operator);
  if (!operator) return reader.bad(`${path}.operator`, fields.operator, `must be one of ${operators.join(', ')}`);
  if (typeof fields.key !== 'string') return reader.bad(`${path}.key`, fields.key, 'must be a label key');
  const key = checkedKey(reader, fields.key, `${path}.key`, source);
  const values = reader.each(fields.values, `${path}.values`, (member, at) => checkedValue(reader, member, at)) ?? [];
  const isSet = operator === 'In' || operator === 'NotIn';
  if (isSet && values.length === 0) return reader.bad(`${path}.values`, fields.values, `${operator} needs a value`);
  if (!isSet && values.length > 0) return reader.bad(`${path}.values`, values, `${operator} takes no values`);
  return key && { ...key, operator, values: [...new Set(values)].sort() };
}

export const equals = (key: string, value: string): Requirement => ({
  source: 'k8s',
  key,
  operator: 'In',
  values: [value],
});
export const hasNamespace: Requirement = { source: 'k8s', key: NAMESPACE_LABEL, operator: 'Exists', values: [] };

export const isNamespaceKey = ({ source, key }: Requirement): boolean =>
  key === NAMESPACE_LABEL && (source === 'k8s' || source === 'any');

/** A peer selector of a Cilium policy: `namespace` is the policy's, empty for a clusterwide one. */
export function scoped(requirements: readonly Requirement[], namespace: string, subjectIsInit: boolean): LabelMatch {
  if (requirements.some(({ source }) => source === 'reserved')) return { requirements, localCluster: false };
  const localCluster = !requirements.some(({ key }) => key === CLUSTER_LABEL);
  const ofNamespaceLabels = requirements.some(({ key }) => key.startsWith(NAMESPACE_LABELS_PREFIX));
  const added: Requirement[] = [];
  if (!requirements.some(isNamespaceKey)) {
    if (namespace !== '' && !ofNamespaceLabels) added.push(equals(NAMESPACE_LABEL, namespace));
    else if (!subjectIsInit) added.push(hasNamespace);
  }
  return { requirements: [...added, ...requirements], localCluster };
}
