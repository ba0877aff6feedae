/** The words of the embedded API server: objects, resource types and the strategies that give built-in kinds their behaviour. */
import type { Schema } from './schema.ts';

export interface OwnerReference {
  apiVersion: string;
  kind: string;
  name: string;
  uid: string;
  controller?: boolean;
  blockOwnerDeletion?: boolean;
}

/** Who set which fields, as server-side apply records it. */
export interface ManagedFields {
  manager: string;
  operation: 'Apply' | 'Update';
  apiVersion: string;
  time?: string;
  fieldsType: 'FieldsV1';
  fieldsV1: Record<string, unknown>;
  subresource?: string;
}

export interface ObjectMeta {
  name: string;
  generateName?: string;
  namespace?: string;
  uid?: string;
  resourceVersion?: string;
  generation?: number;
  creationTimestamp?: string;
  deletionTimestamp?: string;
  deletionGracePeriodSeconds?: number;
  labels?: Record<string, string>;
  annotations?: Record<string, string>;
  finalizers?: string[];
  ownerReferences?: OwnerReference[];
  managedFields?: ManagedFields[];
}

/** Any object as JSON. What the store returns is frozen: clone before changing. */
export interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: ObjectMeta;
  [field: string]: unknown;
}

export type JsonRecord = Record<string, unknown>;

/** One column of server-side printing. Cells of `date` columns hold a timestamp and print as an age. */
export interface Column {
  name: string;
  type: 'string' | 'integer' | 'number' | 'boolean' | 'date';
  format?: string;
  description?: string;
  /** 0 always; 1 with `-o wide` only. */
  priority: number;
  value: (object: ApiObject, now: number) => unknown;
}

/** One complaint about one field, as `status.details.causes[]` carries it. */
export interface Cause {
  reason:
    | 'FieldValueRequired'
    | 'FieldValueInvalid'
    | 'FieldValueNotSupported'
    | 'FieldValueDuplicate'
    | 'FieldValueForbidden'
    | 'FieldValueTypeInvalid'
    | 'FieldValueTooLong';
  message: string;
  field: string;
}

export interface StrategyContext {
  /** RFC 3339, whole seconds. */
  now(): string;
  /** Allocates service addresses and node ports; see service-ips.ts. */
  services: ServiceAllocator;
}

export interface ServiceAllocator {
  /** Fills clusterIP(s), ipFamilies and nodePorts of a draft; `old` keeps what it already has. */
  allocate(service: ApiObject, old: ApiObject | undefined): Cause[];
}

/** What a built-in kind does beyond storing. Drafts are private and mutable; `old` is frozen. */
export interface Strategy {
  /** Fills absent fields; must be idempotent. */
  defaults?(draft: ApiObject): void;
  prepareCreate?(draft: ApiObject, context: StrategyContext): Cause[];
  prepareUpdate?(draft: ApiObject, old: ApiObject, context: StrategyContext): Cause[];
  validate?(draft: ApiObject, old: ApiObject | undefined): Cause[];
  /** Seconds between the request to delete and the end, if the object is to end gracefully. */
  gracePeriodSeconds?(object: ApiObject, requested: number | undefined): number;
}

/** One served version of one resource. Versions of a custom resource share `storageKey`. */
export interface ResourceType {
  group: string;
  version: string;
  kind: string;
  listKind: string;
  plural: string;
  singular: string;
  shortNames: readonly string[];
  categories: readonly string[];
  namespaced: boolean;
  /** `status`, and for pods `binding`. */
  subresources: readonly string[];
  /** `metadata.generation` counts changes of anything but metadata and status. */
  generations: boolean;
  custom: boolean;
  storageKey: string;
  schema: Schema;
  columns: readonly Column[];
  strategy: Strategy;
}

export function apiVersionOf(type: { group: string; version: string }): string {
  return type.group === '' ? type.version : `${type.group}/${type.version}`;
}

export function isRecord(value: unknown): value is JsonRecord {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** `fieldAt(pod, 'spec', 'nodeName')`: undefined wherever the path ends early. */
export function fieldAt(value: unknown, ...path: readonly (string | number)[]): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== 'object' || at === null) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}

export function stringAt(value: unknown, ...path: readonly (string | number)[]): string {
  const found = fieldAt(value, ...path);
  return typeof found === 'string' ? found : '';
}

export function arrayAt(value: unknown, ...path: readonly (string | number)[]): unknown[] {
  const found = fieldAt(value, ...path);
  return Array.isArray(found) ? found : [];
}

/** JSON equality; the order of object keys does not matter. */
export function sameJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (Array.isArray(a) && Array.isArray(b)) return a.length === b.length && a.every((item, i) => sameJson(item, b[i]));
  if (!isRecord(a) || !isRecord(b)) return false;
  const keysA = Object.keys(a).filter((key) => a[key] !== undefined);
  const keysB = Object.keys(b).filter((key) => b[key] !== undefined);
  return keysA.length === keysB.length && keysA.every((key) => key in b && sameJson(a[key], b[key]));
}
