/** Which objects a list or a watch is about: label and field selectors as one predicate. */
import { matchesAll, parseFieldSelector, parseLabelSelector, SelectorError } from '../selectors.ts';
import { badRequest } from './errors.ts';
import { type ApiObject, fieldAt, type ResourceType } from './types.ts';

export type Filter = (object: ApiObject) => boolean;

/** Besides metadata.name and metadata.namespace. */
const selectable: Record<string, readonly string[]> = {
  Pod: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.nominatedNodeName',
  ],
  Event: [
    ...['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'].flatMap((field) => [
      `involvedObject.${field}`,
      `regarding.${field}`,
    ]),
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
  Namespace: ['status.phase'],
  Node: ['spec.unschedulable'],
  Secret: ['type'],
  Service: ['spec.clusterIP', 'spec.type'],
};

export function filterOf(type: ResourceType, labelSelector: string, fieldSelector: string): Filter {
  try {
    const labels = parseLabelSelector(labelSelector);
    const fields = parseFieldSelector(fieldSelector);
    const known = ['metadata.name', 'metadata.namespace', ...(selectable[type.kind] ?? [])];
    for (const { field } of fields)
      if (!known.includes(field))
        throw badRequest(`field label not supported: ${field}; ${type.kind} has ${known.join(', ')}`);
    return (object) =>
      matchesAll(labels, object.metadata.labels ?? {}) &&
      fields.every(({ field, equal, value }) => (fieldText(object, field) === value) === equal);
  } catch (error) {
    if (error instanceof SelectorError) throw badRequest(`unable to parse requirement: ${error.message}`);
    throw error;
  }
}

/** Absent fields are empty, or false for the two flags. */
function fieldText(object: ApiObject, field: string): string {
  const value = fieldAt(object, ...field.split('.'));
  if (value === undefined) return field === 'spec.hostNetwork' || field === 'spec.unschedulable' ? 'false' : '';
  return String(value);
}
