/** Which columns `kubectl get` shows for each kind. */
import { clusterColumns } from './columns-cluster.ts';
import { podColumns } from './columns-pods.ts';
import { serviceColumns } from './columns-services.ts';
import { ageColumn, nameColumn } from './columns-shared.ts';
import type { Column } from './types.ts';

const byKind: Record<string, readonly Column[]> = { ...podColumns, ...serviceColumns, ...clusterColumns };

/** `kind` as the model names it, where two groups share a kind. */
export function columnsOf(kind: string): readonly Column[] {
  return byKind[kind] ?? [nameColumn, ageColumn];
}
