/** Creates the objects of manifests on the API server, and says of each refused one where it stands and what is wrong. */
import { ApiError } from '../../cluster/api-server/errors.ts';
import type { Store } from '../../cluster/api-server/store.ts';
import { apiVersionOf } from '../../cluster/api-server/types.ts';
import { inOrderOfNeed, type Manifest, ManifestInvalid } from './manifests.ts';

const LAST_APPLIED = 'kubectl.kubernetes.io/last-applied-configuration';

/** Throws one `ManifestInvalid` that names every refused object. */
export function applyManifests(store: Store, manifests: readonly Manifest[]): void {
  const refused = inOrderOfNeed(manifests).flatMap((manifest) => create(store, manifest));
  if (refused.length > 0) throw new ManifestInvalid(refused.join('\n'));
}

function create(store: Store, { origin, object }: Manifest): string[] {
  const { apiVersion, kind, metadata } = object;
  const type = store.registry.all().find((known) => known.kind === kind && apiVersionOf(known) === apiVersion);
  if (!type) {
    const near = store.registry.all().filter((known) => known.kind === kind);
    const versions = near.map(apiVersionOf).join(' or ');
    const expected = versions ? `expected apiVersion ${versions}` : `known kinds are ${kinds(store).join(', ')}`;
    return [`${origin} (${kind} ${metadata.name}): there is no kind ${kind} in ${apiVersion}; ${expected}`];
  }
  const namespace = type.namespaced ? (metadata.namespace ?? 'default') : '';
  const name = `${kind} ${namespace ? `${namespace}/` : ''}${metadata.name}`;
  try {
    store.create(type, namespace, applied(object), { fieldValidation: 'Strict', fieldManager: 'axoneme-up' });
    return [];
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    const causes = error.status.details?.causes ?? [];
    const reasons = causes.map(({ field, message }) => (field ? `${field}: ${message}` : message));
    return (reasons.length > 0 ? reasons : [error.message]).map((reason) => `${origin} (${name}): ${reason}`);
  }
}

/** With kubectl's own note of what was applied, so that a later `kubectl apply` of the object knows what it replaces. */
function applied(object: Manifest['object']): Manifest['object'] {
  const annotations = { ...object.metadata.annotations, [LAST_APPLIED]: `${JSON.stringify(object)}\n` };
  return { ...object, metadata: { ...object.metadata, annotations } };
}

function kinds(store: Store): string[] {
  return [...new Set(store.registry.all().map(({ kind }) => kind))].sort();
}
