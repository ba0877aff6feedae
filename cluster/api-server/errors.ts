/** Failures as the Kubernetes API reports them: a Status object with reason, details and causes. */
import type { Cause } from './types.ts';

export interface Status {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: Record<string, never>;
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  details?: StatusDetails;
  code: number;
}

export interface StatusDetails {
  name?: string;
  group?: string;
  kind?: string;
  uid?: string;
  causes?: { reason: string; message: string; field?: string }[];
  retryAfterSeconds?: number;
}

/** What a message says about: the resource for most reasons, the kind for `Invalid`. */
export interface Subject {
  group: string;
  plural: string;
  kind: string;
}

export class ApiError extends Error {
  readonly status: Status;
  constructor(code: number, reason: string, message: string, details: StatusDetails = {}) {
    super(message);
    this.name = 'ApiError';
    this.status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, details, code };
  }
}

const qualified = (type: Subject): string => (type.group === '' ? type.plural : `${type.plural}.${type.group}`);
const qualifiedKind = (type: Subject): string => (type.group === '' ? type.kind : `${type.kind}.${type.group}`);
const about = (type: Subject, name: string): StatusDetails => ({ name, group: type.group, kind: type.plural });

export const notFound = (type: Subject, name: string): ApiError =>
  new ApiError(404, 'NotFound', `${qualified(type)} "${name}" not found`, about(type, name));

export const pathNotFound = (): ApiError =>
  new ApiError(404, 'NotFound', 'the server could not find the requested resource');

export const alreadyExists = (type: Subject, name: string): ApiError =>
  new ApiError(409, 'AlreadyExists', `${qualified(type)} "${name}" already exists`, about(type, name));

export const conflict = (type: Subject, name: string, why: string): ApiError =>
  new ApiError(
    409,
    'Conflict',
    `Operation cannot be fulfilled on ${qualified(type)} "${name}": ${why}`,
    about(type, name),
  );

export const modifiedMeanwhile = (type: Subject, name: string): ApiError =>
  conflict(type, name, 'the object has been modified; please apply your changes to the latest version and try again');

export const forbidden = (type: Subject, name: string, why: string): ApiError =>
  new ApiError(403, 'Forbidden', `${qualified(type)} "${name}" is forbidden: ${why}`, about(type, name));

export const badRequest = (message: string): ApiError => new ApiError(400, 'BadRequest', message);

export const unauthorized = (): ApiError => new ApiError(401, 'Unauthorized', 'Unauthorized');

export const methodNotAllowed = (type: Subject): ApiError =>
  new ApiError(405, 'MethodNotAllowed', 'the server does not allow this method on the requested resource', {
    group: type.group,
    kind: type.plural,
  });

export const unsupportedMediaType = (given: string, expected: readonly string[]): ApiError =>
  new ApiError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format (${given || 'none'}) - accepted media types include: ${expected.join(', ')}`,
  );

export const tooLarge = (limit: number): ApiError =>
  new ApiError(413, 'RequestEntityTooLarge', `Request entity too large: limit is ${limit} bytes`);

export const expired = (message: string): ApiError => new ApiError(410, 'Expired', message);

/** The client knows a newer revision than this server: it should wait and ask again. */
export const revisionTooLarge = (asked: number, current: number): ApiError =>
  new ApiError(504, 'Timeout', `Timeout: Too large resource version: ${asked}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });

export function invalid(type: Subject, name: string, causes: readonly Cause[]): ApiError {
  const said = causes.map((cause) => `${cause.field}: ${cause.message}`);
  const text = said.length === 1 ? said[0] : `[${said.join(', ')}]`;
  return new ApiError(422, 'Invalid', `${qualifiedKind(type)} "${name}" is invalid: ${text}`, {
    name,
    group: type.group,
    kind: type.kind,
    causes: causes.map(({ reason, message, field }) => ({ reason, message, field })),
  });
}

/** Values in messages are shown as Go's %#v would for strings, JSON otherwise, and never at length. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? 'null';
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

export const required = (field: string, detail = ''): Cause => ({
  reason: 'FieldValueRequired',
  message: detail === '' ? 'Required value' : `Required value: ${detail}`,
  field,
});

export const invalidValue = (field: string, value: unknown, expected: string): Cause => ({
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${shown(value)}: ${expected}`,
  field,
});

export const notSupported = (field: string, value: unknown, supported: readonly unknown[]): Cause => ({
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: ${shown(value)}: supported values: ${supported.map(shown).join(', ')}`,
  field,
});

export const duplicate = (field: string, value: unknown): Cause => ({
  reason: 'FieldValueDuplicate',
  message: `Duplicate value: ${shown(value)}`,
  field,
});

export const forbiddenField = (field: string, why: string): Cause => ({
  reason: 'FieldValueForbidden',
  message: `Forbidden: ${why}`,
  field,
});

export function success(details: StatusDetails): Status {
  return { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details, code: 200 };
}
