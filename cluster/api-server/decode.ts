/** From the body of a request to a draft: right kind, known fields, right types, defaults filled in. */
import { ApiError, badRequest, invalid, shown } from './errors.ts';
import { applyDefaults, type Schema, unknownFields, violations } from './schema.ts';
import { type ApiObject, apiVersionOf, type Cause, isRecord, type JsonRecord, type ResourceType } from './types.ts';

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

/** `warnings` receives what `Warn` finds. The result is a private copy. */
export function decode(type: ResourceType, body: unknown, validation: FieldValidation, warnings: string[]): ApiObject {
  if (!isRecord(body)) throw badRequest(`the body must be a ${type.kind} object, not ${shown(body)}`);
  const draft = structuredClone(body);
  const apiVersion = apiVersionOf(type);
  if (draft.apiVersion === undefined || draft.apiVersion === '') draft.apiVersion = apiVersion;
  if (draft.kind === undefined || draft.kind === '') draft.kind = type.kind;
  if (draft.apiVersion !== apiVersion || draft.kind !== type.kind) {
    throw badRequest(
      `${shown(draft.kind)} of ${shown(draft.apiVersion)} cannot be handled as a ${type.kind} of "${apiVersion}"`,
    );
  }
  if (draft.metadata === undefined || draft.metadata === null) draft.metadata = {};
  if (type.custom) dropNulls(draft.metadata);
  else dropNulls(draft);
  refuseUnknown(type, draft, validation, warnings);
  refuseWrongTypes(type, draft);
  if (type.custom) applyDefaults(type.schema, draft);
  return draft as ApiObject;
}

/** All causes that schema and strategy find in a complete draft. */
export function validate(
  type: ResourceType,
  draft: ApiObject,
  old: ApiObject | undefined,
  more: readonly Cause[],
): void {
  const causes = [
    ...more,
    ...violations(type.schema, draft).filter((cause) => type.custom || !cause.field.startsWith('status.')),
  ];
  causes.push(...(type.strategy.validate?.(draft, old) ?? []));
  const once = new Map(causes.map((cause) => [`${cause.field} ${cause.reason}`, cause]));
  if (once.size > 0) throw invalid(type, draft.metadata.name, [...once.values()]);
}

function refuseUnknown(type: ResourceType, draft: JsonRecord, validation: FieldValidation, warnings: string[]): void {
  const unknown = unknownFields(type.schema, draft, true);
  if (unknown.length === 0) return;
  const said = unknown.map((path) => `unknown field "${path}"`);
  if (validation === 'Warn') warnings.push(...said);
  if (validation === 'Strict')
    throw badRequest(
      `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: strict decoding error: ${said.join(', ')}`,
    );
}

/** For built-in kinds a wrong type cannot even be read (400); custom resources are invalid (422), which `validate` says. */
function refuseWrongTypes(type: ResourceType, draft: JsonRecord): void {
  const schema: Schema = type.custom
    ? { type: 'object', properties: { metadata: type.schema.properties?.metadata ?? {} } }
    : type.schema;
  const wrong = violations(schema, draft).filter((cause) => cause.reason === 'FieldValueTypeInvalid');
  if (wrong.length === 0) return;
  throw new ApiError(
    400,
    'BadRequest',
    `${type.kind} in version "${type.version}" cannot be handled as a ${type.kind}: ${wrong.map((cause) => cause.message.replace(/^Invalid value: "\w+": /, '').replace(' in body', '')).join(', ')}`,
    { causes: wrong.map(({ reason, message, field }) => ({ reason, message, field })) },
  );
}

/** Null means absent, as it does for the real server's decoder. */
function dropNulls(value: unknown): void {
  if (Array.isArray(value)) for (const item of value) dropNulls(item);
  if (!isRecord(value)) return;
  for (const [key, inner] of Object.entries(value)) {
    if (inner === null) delete value[key];
    else dropNulls(inner);
  }
}
