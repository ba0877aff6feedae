/** What a URL of the Kubernetes API asks for. */

import type { FieldValidation } from './decode.ts';
import { badRequest } from './errors.ts';

export interface ResourcePath {
  group: string;
  version: string;
  /** Empty: cluster-wide, or all namespaces. */
  namespace: string;
  plural: string;
  /** Empty: the collection. */
  name: string;
  subresource: string;
}

/** Undefined if the path is not that of a resource. */
export function resourcePath(path: string): ResourcePath | undefined {
  const parts = path
    .split('/')
    .filter((part) => part !== '')
    .map(decodeURIComponent);
  const prefix = parts.shift();
  if (prefix !== 'api' && prefix !== 'apis') return undefined;
  const group = prefix === 'api' ? '' : (parts.shift() ?? '');
  const version = parts.shift() ?? '';
  if (parts.length === 0) return undefined;
  let namespace = '';
  // `namespaces/x/status` is a part of the namespace; `namespaces/x/pods` is inside it.
  if (
    parts[0] === 'namespaces' &&
    parts.length > 2 &&
    !(group === '' && ['status', 'finalize'].includes(parts[2] ?? ''))
  ) {
    namespace = parts[1] ?? '';
    parts.splice(0, 2);
  }
  const [plural = '', name = '', subresource = '', ...more] = parts;
  return more.length > 0 ? undefined : { group, version, namespace, plural, name, subresource };
}

export interface ListParameters {
  labelSelector: string;
  fieldSelector: string;
  limit: number;
  continue: string;
  resourceVersion: string;
  resourceVersionMatch: string;
  watch: boolean;
  allowWatchBookmarks: boolean;
  sendInitialEvents: boolean;
  timeoutSeconds: number | undefined;
}

export function listParameters(query: URLSearchParams): ListParameters {
  const match = query.get('resourceVersionMatch') ?? '';
  if (!['', 'Exact', 'NotOlderThan'].includes(match))
    throw badRequest(`resourceVersionMatch: Unsupported value: "${match}": supported values: "Exact", "NotOlderThan"`);
  return {
    labelSelector: query.get('labelSelector') ?? '',
    fieldSelector: query.get('fieldSelector') ?? '',
    limit: number(query, 'limit') ?? 0,
    continue: query.get('continue') ?? '',
    resourceVersion: query.get('resourceVersion') ?? '',
    resourceVersionMatch: match,
    watch: flag(query, 'watch'),
    allowWatchBookmarks: flag(query, 'allowWatchBookmarks'),
    sendInitialEvents: flag(query, 'sendInitialEvents'),
    timeoutSeconds: number(query, 'timeoutSeconds'),
  };
}

export interface WriteParameters {
  dryRun: boolean;
  fieldManager: string;
  fieldValidation: FieldValidation;
  force: boolean;
}

/** Without the parameter unknown fields are warned of, as the real server does for old clients. */
export function writeParameters(query: URLSearchParams, userAgent: string): WriteParameters {
  const dryRun = query.getAll('dryRun');
  if (dryRun.some((value) => value !== '' && value !== 'All'))
    throw badRequest(`dryRun: Unsupported value: ${JSON.stringify(dryRun)}: supported values: "All"`);
  const validation = query.get('fieldValidation') || 'Warn';
  if (validation !== 'Strict' && validation !== 'Warn' && validation !== 'Ignore') {
    throw badRequest(
      `fieldValidation: Unsupported value: "${validation}": supported values: "Ignore", "Strict", "Warn"`,
    );
  }
  return {
    dryRun: dryRun.includes('All'),
    fieldManager: query.get('fieldManager') || userAgent.split('/')[0] || 'unknown',
    fieldValidation: validation,
    force: flag(query, 'force'),
  };
}

function flag(query: URLSearchParams, name: string): boolean {
  const value = query.get(name);
  return value !== null && value !== '' && value !== 'false' && value !== '0';
}

function number(query: URLSearchParams, name: string): number | undefined {
  const value = query.get(name);
  if (value === null || value === '') return undefined;
  const parsed = Number(value);
  if (!Number.isInteger(parsed) || parsed < 0)
    throw badRequest(`${name}: Invalid value: "${value}": must be a non-negative integer`);
  return parsed;
}
