/** Answers of the Hubble API as its clients print them: proto3 JSON with the names of the protocol files; what is empty is left out. */
import type { GetFlowsResponse } from './observer.ts';
import { isoOf, type Timestamp } from './types.ts';

export function flowJson(response: GetFlowsResponse): unknown {
  return plain(response);
}

function plain(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value === null || typeof value !== 'object') return value;
  const object = value as Record<string, unknown>;
  if ('seconds' in object && 'nanos' in object) return isoOf(object as unknown as Timestamp);
  const entries = Object.entries(object).map(([name, inner]): [string, unknown] =>
    name === 'is_reply' ? [name, (inner as { value?: boolean }).value === true] : [name, plain(inner)],
  );
  return Object.fromEntries(entries.filter(([name, inner]) => name === 'is_reply' || !isEmpty(inner)));
}

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  return Array.isArray(value) && value.length === 0;
}
