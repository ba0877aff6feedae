/** CustomResourceDefinitions: names must agree, one version is stored, and each version has a structural schema. */
import type { DefinitionSpec } from '../custom-resources.ts';
import { invalidValue, notSupported, required } from '../errors.ts';
import { type ApiObject, type Cause, isRecord, type Strategy } from '../types.ts';

export const definitionStrategy: Strategy = {
  defaults(draft) {
    if (!isRecord(draft.spec) || !isRecord(draft.spec.names)) return;
    const names = draft.spec.names;
    if (typeof names.kind === 'string') {
      names.singular ??= names.kind.toLowerCase();
      names.listKind ??= `${names.kind}List`;
    }
    draft.spec.conversion ??= { strategy: 'None' };
  },
  prepareCreate(draft, context) {
    accept(draft, context.now());
    return [];
  },
  prepareUpdate(draft, _old, context) {
    accept(draft, context.now());
    return [];
  },
  validate(draft, old) {
    const spec = draft.spec as DefinitionSpec;
    const causes: Cause[] = [];
    const name = `${spec.names.plural}.${spec.group}`;
    if (draft.metadata.name !== name)
      causes.push(
        invalidValue('metadata.name', draft.metadata.name, `must be spec.names.plural+"."+spec.group, ${name}`),
      );
    if (spec.scope !== 'Namespaced' && spec.scope !== 'Cluster')
      causes.push(notSupported('spec.scope', spec.scope, ['Cluster', 'Namespaced']));
    if (spec.versions.filter((version) => version.storage).length !== 1)
      causes.push(
        invalidValue(
          'spec.versions',
          spec.versions.map(({ name }) => name),
          'must have exactly one version marked as storage version',
        ),
      );
    spec.versions.forEach((version, i) => {
      if (version.schema?.openAPIV3Schema === undefined)
        causes.push(required(`spec.versions[${i}].schema.openAPIV3Schema`, 'schemas are required'));
    });
    if (old && (old.spec as DefinitionSpec).scope !== spec.scope)
      causes.push(invalidValue('spec.scope', spec.scope, 'field is immutable'));
    return causes;
  },
};

/** This server takes every valid definition at once, so it says so at once. */
function accept(draft: ApiObject, now: string): void {
  const spec = draft.spec as Partial<DefinitionSpec>;
  const status = isRecord(draft.status) ? draft.status : {};
  const kept = (Array.isArray(status.conditions) ? status.conditions : []) as {
    type: string;
    lastTransitionTime?: string;
  }[];
  const condition = (type: string, reason: string, message: string): object => {
    const since = kept.find((entry) => entry.type === type)?.lastTransitionTime ?? now;
    return { type, status: 'True', reason, message, lastTransitionTime: since };
  };
  draft.status = {
    acceptedNames: spec.names,
    conditions: [
      condition('NamesAccepted', 'NoConflicts', 'no conflicts found'),
      condition('Established', 'InitialNamesAccepted', 'the initial names have been accepted'),
    ],
    storedVersions: (spec.versions ?? []).filter((version) => version.storage).map((version) => version.name),
  };
}
