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
  const entries: [string, unknown][] = [];
  for (const [name, inner] of Object.entries(object)) {
    const zero = WRAPPERS.get(name);
    if (zero !== undefined && inner != null) entries.push([name, (inner as { value?: unknown }).value ?? zero]);
    else if (isEmpty(inner)) continue;
    else entries.push([name, LONGS.has(name) ? String(inner) : plain(inner)]);
  }
  return Object.fromEntries(entries);
}

/** Of types that tell zero from nothing: printed as the value in them, whatever it is. */
const WRAPPERS: ReadonlyMap<string, unknown> = new Map<string, unknown>([
  ['is_reply', false],
  ['cpu', 0],
]);
/** Integers of 64 bits are text in JSON. */
const LONGS = new Set(['socket_cookie', 'cgroup_id', 'num_events_lost', 'revision']);

function isEmpty(value: unknown): boolean {
  if (value === undefined || value === null || value === '' || value === 0 || value === false) return true;
  return Array.isArray(value) && value.length === 0;
}
