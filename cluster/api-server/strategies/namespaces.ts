/** Namespaces carry their own name as a label, and end only once they are empty. */
import type { ApiObject, Strategy } from '../types.ts';
import { isRecord } from '../types.ts';

export const contentFinalizer = 'kubernetes';

export const namespaceStrategy: Strategy = {
  defaults(draft) {
    if (draft.metadata.name)
      draft.metadata.labels = { ...draft.metadata.labels, 'kubernetes.io/metadata.name': draft.metadata.name };
  },
  prepareCreate(draft) {
    draft.spec = { finalizers: [contentFinalizer] };
    draft.status = { phase: 'Active' };
    return [];
  },
  prepareUpdate(draft, old) {
    draft.spec = old.spec;
    return [];
  },
};

export function specFinalizers(namespace: ApiObject): string[] {
  const spec = namespace.kind === 'Namespace' ? namespace.spec : undefined;
  return isRecord(spec) && Array.isArray(spec.finalizers) ? spec.finalizers.map(String) : [];
}
