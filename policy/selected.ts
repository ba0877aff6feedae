/** Whom a rule is about, one by one; the resolver has an index for it (`selector-index.ts`). */
import type { Subject } from './change.ts';
import type { Rule } from './rule.ts';
import { matchesLabels, NAMESPACE_LABEL, prepare } from './selectors.ts';

export function isSelected(
  { subject, namespace }: Rule,
  { labels, host }: Pick<Subject, 'labels' | 'host'>,
  clusterName: string,
  prepared = prepare({ labels }),
): boolean {
  if (host !== (subject.kind === 'nodes')) return false;
  if (namespace && labels[`k8s:${NAMESPACE_LABEL}`] !== namespace) return false;
  return matchesLabels(subject, prepared, clusterName);
}
