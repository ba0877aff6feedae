/** What a request to delete means for an object: gone at once, or marked and left for finalizers or the kubelet. */
import { specFinalizers } from './strategies/namespaces.ts';
import type { ApiObject, ResourceType } from './types.ts';

export interface DeleteOptions {
  gracePeriodSeconds?: number;
  propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  preconditions?: { uid?: string; resourceVersion?: string };
  dryRun?: boolean;
}

export const foregroundFinalizer = 'foregroundDeletion';
export const orphanFinalizer = 'orphan';

/** The marked object, or undefined if it can go now. */
export function deletionOf(
  type: ResourceType,
  object: ApiObject,
  options: DeleteOptions,
  now: string,
): ApiObject | undefined {
  const grace = type.strategy.gracePeriodSeconds?.(object, options.gracePeriodSeconds) ?? 0;
  const finalizers = new Set(object.metadata.finalizers ?? []);
  if (options.propagationPolicy === 'Foreground') finalizers.add(foregroundFinalizer);
  if (options.propagationPolicy === 'Orphan') finalizers.add(orphanFinalizer);
  const held = finalizers.size > 0 || specFinalizers(object).length > 0;
  if (!held && grace === 0) return undefined;
  const before = object.metadata.deletionTimestamp;
  // A later request can only shorten the wait.
  const shorter = before === undefined || grace < (object.metadata.deletionGracePeriodSeconds ?? 0);
  const marked: ApiObject = { ...object, metadata: { ...object.metadata } };
  if (shorter) {
    marked.metadata.deletionTimestamp = new Date(Date.parse(now) + grace * 1000).toISOString().replace(/\.\d+Z$/, 'Z');
    marked.metadata.deletionGracePeriodSeconds = grace;
    if (type.generations) marked.metadata.generation = (object.metadata.generation ?? 0) + 1;
  }
  if (finalizers.size > 0) marked.metadata.finalizers = [...finalizers];
  if (type.kind === 'Namespace') marked.status = { ...(object.status as object | undefined), phase: 'Terminating' };
  return marked;
}

/** Marked, and nothing holds it any more. */
export function endsNow(object: ApiObject): boolean {
  const { deletionTimestamp, deletionGracePeriodSeconds, finalizers } = object.metadata;
  return (
    deletionTimestamp !== undefined &&
    (deletionGracePeriodSeconds ?? 0) === 0 &&
    (finalizers ?? []).length === 0 &&
    specFinalizers(object).length === 0
  );
}
