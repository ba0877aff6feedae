/** ConfigMaps and Secrets: keys are file names, secret values are base64, immutable ones stay as they are. */
import { forbiddenField, invalidValue } from '../errors.ts';
import { type ApiObject, type Cause, isRecord, type Strategy, sameJson } from '../types.ts';

const keyPattern = /^[-._a-zA-Z0-9]+$/;
const base64Pattern = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;

function keys(map: unknown, field: string): Cause[] {
  return Object.keys((map ?? {}) as object)
    .filter((key) => !keyPattern.test(key) || key.length > 253)
    .map((key) =>
      invalidValue(`${field}[${key}]`, key, "a valid key must consist of alphanumeric characters, '-', '_' or '.'"),
    );
}

/** The value itself is not shown: it may be a secret. */
function encoded(map: unknown, field: string): Cause[] {
  return Object.entries((map ?? {}) as Record<string, unknown>)
    .filter(([, value]) => typeof value === 'string' && !base64Pattern.test(value.replaceAll(/\s/g, '')))
    .map(([key]) => invalidValue(`${field}[${key}]`, '…', 'must be base64 encoded'));
}

function immutable(draft: ApiObject, old: ApiObject | undefined): Cause[] {
  if (old?.immutable !== true) return [];
  return ['data', 'binaryData', 'immutable']
    .filter((field) => !sameJson(draft[field], old[field]))
    .map((field) => forbiddenField(field, 'field is immutable when `immutable` is set'));
}

export const configMapStrategy: Strategy = {
  validate(draft, old) {
    return [
      ...keys(draft.data, 'data'),
      ...keys(draft.binaryData, 'binaryData'),
      ...encoded(draft.binaryData, 'binaryData'),
      ...immutable(draft, old),
    ];
  },
};

export const secretStrategy: Strategy = {
  defaults(draft) {
    draft.type ??= 'Opaque';
    if (!isRecord(draft.stringData)) return;
    const data: Record<string, unknown> = isRecord(draft.data) ? draft.data : {};
    for (const [key, value] of Object.entries(draft.stringData))
      data[key] = Buffer.from(String(value)).toString('base64');
    draft.data = data;
    delete draft.stringData;
  },
  validate(draft, old) {
    const causes = [...keys(draft.data, 'data'), ...encoded(draft.data, 'data'), ...immutable(draft, old)];
    if (old && draft.type !== old.type) causes.push(invalidValue('type', draft.type, 'field is immutable'));
    return causes;
  },
};
