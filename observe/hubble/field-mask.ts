/** `google.protobuf.FieldMask` on a flow: only what the client names, as deep as it names it. */
import type { Flow } from './types.ts';

export function masked(flow: Flow, paths: readonly string[]): Partial<Flow> {
  if (paths.length === 0) return flow;
  const kept: Record<string, unknown> = {};
  for (const path of paths) copy(flow as unknown as Record<string, unknown>, kept, path.split('.'));
  return kept as Partial<Flow>;
}

/** A name that is not there is passed over: clients name fields that only some flows have. */
function copy(from: Record<string, unknown>, to: Record<string, unknown>, [name, ...rest]: string[]): void {
  if (name === undefined || !Object.hasOwn(from, name)) return;
  const value = from[name];
  if (rest.length === 0 || value === null || typeof value !== 'object') {
    to[name] = value;
    return;
  }
  const inner = Object.hasOwn(to, name) ? { ...(to[name] as Record<string, unknown>) } : {};
  copy(value as Record<string, unknown>, inner, rest);
  to[name] = inner;
}
