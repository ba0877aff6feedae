/**
 * A flow as CEL sees a message: by the protocol's descriptors, every field is there, with its zero where it is not set.
 *
 * - Enums are numbers, unsigned numbers are unsigned, wrappers are their value or null, times are times.
 */
import { loadSync } from '@grpc/proto-loader';
import { UnsignedInt } from '@marcbachmann/cel-js/evaluator';
import { PROTO_FILES, PROTO_OPTIONS } from './proto-files.ts';
import type { Flow } from './types.ts';

interface Field {
  name: string;
  label: string;
  type: string;
  typeName: string;
}
type View = Record<string, unknown>;

export const FLOW = 'flow.Flow';
const ZERO_TIME = new Date(0);

const messages = new Map<string, Map<string, Field>>();
const enums = new Map<string, Map<string, number>>();
const defaults = new Map<string, View>();
/** Fields of a message that are set, by its view. */
const given = new WeakMap<object, ReadonlySet<string>>();

for (const [name, { type }] of Object.entries(
  loadSync(PROTO_FILES, PROTO_OPTIONS) as Record<string, { type?: unknown }>,
)) {
  const { field, value } = (type ?? {}) as { field?: Field[]; value?: { name: string; number: number }[] };
  if (field) messages.set(name, new Map(field.map((one) => [one.name, one])));
  if (value) enums.set(name, new Map(value.map((one) => [one.name, one.number])));
}

export const isMessage = (type: string): boolean => messages.has(type);
export const hasField = (type: string, field: string): boolean => messages.get(type)?.has(field) ?? false;

/** Full name of a message, or the kind of a value. */
export function typeOf(message: string, field: string): string {
  const { type = '', typeName = '', label = '' } = messages.get(message)?.get(field) ?? {};
  if (label === 'LABEL_REPEATED') return 'a list';
  return type === 'TYPE_MESSAGE' && !typeName.startsWith('google.') ? full(typeName) : type;
}

const full = (typeName: string): string => (typeName.startsWith('flow.') ? typeName : `flow.${typeName}`);

/** `Verdict.DROPPED`, `flow.Verdict.DROPPED`; undefined: none of ours. */
export function enumNumber(path: readonly string[]): bigint | undefined {
  const [name = '', value = '', ...more] = path[0] === 'flow' ? path.slice(1) : path;
  const values = enums.get(full(name));
  if (!values || more.length > 0) return undefined;
  const number = values.get(value);
  if (number === undefined) throw new Error(`${name} has no ${value}`);
  return BigInt(number);
}

export const isSet = (message: unknown, field: string): boolean =>
  typeof message === 'object' && message !== null && (given.get(message)?.has(field) ?? false);

/** With the fields that are asked for; none: all. */
export function viewOf(flow: Flow, only: ReadonlySet<string>): View {
  const fields = only.size > 0 ? only : new Set(messages.get(FLOW)?.keys());
  return messageView(FLOW, flow as unknown as View, fields);
}

function messageView(type: string, value: View, only?: ReadonlySet<string>): View {
  const view: View = {};
  const set = new Set<string>();
  for (const [name, field] of messages.get(type) ?? []) {
    if (only && !only.has(name)) continue;
    const own = value[name];
    if (isGiven(own)) set.add(name);
    view[name] = own === undefined || own === null ? zero(field) : converted(field, own);
  }
  given.set(view, set);
  return view;
}

/** What is zero or empty is not on the wire, and so not set. */
const isGiven = (value: unknown): boolean =>
  value !== undefined &&
  value !== null &&
  value !== '' &&
  value !== 0 &&
  value !== false &&
  !(Array.isArray(value) && value.length === 0);

function converted(field: Field, value: unknown): unknown {
  if (field.label === 'LABEL_REPEATED') return (value as unknown[]).map((one) => single(field, one));
  return single(field, value);
}

function single({ type, typeName }: Field, value: unknown): unknown {
  switch (type) {
    case 'TYPE_UINT32':
    case 'TYPE_UINT64':
      return new UnsignedInt(BigInt(value as number));
    case 'TYPE_INT32':
    case 'TYPE_INT64':
      return BigInt(value as number);
    case 'TYPE_ENUM':
      return BigInt(enums.get(full(typeName))?.get(String(value)) ?? 0);
    case 'TYPE_MESSAGE':
      break;
    default:
      return value;
  }
  if (typeName.endsWith('Timestamp')) {
    const { seconds = 0, nanos = 0 } = value as { seconds?: number; nanos?: number };
    return new Date(seconds * 1000 + Math.floor(nanos / 1e6));
  }
  if (typeName.startsWith('google.')) return (value as { value?: unknown }).value ?? null;
  return messageView(full(typeName), value as View);
}

function zero({ label, type, typeName }: Field): unknown {
  if (label === 'LABEL_REPEATED') return [];
  switch (type) {
    case 'TYPE_STRING':
      return '';
    case 'TYPE_BOOL':
      return false;
    case 'TYPE_UINT32':
    case 'TYPE_UINT64':
      return new UnsignedInt(0n);
    case 'TYPE_MESSAGE':
      break;
    default:
      return 0n;
  }
  if (typeName.endsWith('Timestamp')) return ZERO_TIME;
  if (typeName.startsWith('google.')) return null;
  const name = full(typeName);
  let made = defaults.get(name);
  if (!made) {
    made = messageView(name, {});
    defaults.set(name, made);
  }
  return made;
}
