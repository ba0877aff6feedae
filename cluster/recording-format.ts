/**
 * The format of recordings: files of JSON lines, a header first, then log entries in order.
 *
 * - A run is one life of the agent; its entries are numbered from 1 without a gap, over all its parts.
 * - Files of a directory sort by name into the order in which they were written.
 * - A file that is not the first of its run begins with a frame: entries that an agent which starts there would hear (objects, links,
 *   rows). They are for whoever has not the files before; others skip them.
 */
import type { AgentFacts, ClusterEvent, LogEntry, OpError } from './events.ts';

export const FORMAT = 'axoneme-recording';
/** 2: frames. */
export const VERSION = 2;
const VERSION_MIN = 1;

export interface RunFacts {
  /** Version of the program. */
  build: string;
  node: string;
  config: AgentFacts;
  /** Kernel release. */
  kernel: string;
  /** What that kernel can do; absent in recordings of before this was told. */
  features?: Readonly<Record<string, boolean>>;
}

export interface RecordingHeader extends RunFacts {
  format: typeof FORMAT;
  version: number;
  /** Milliseconds since the epoch; names the run. */
  startedAt: number;
  /** 1 for the first file of a run. */
  part: number;
  /** Lines of the frame, right after this one; their numbers end with that of the entry before. */
  frame?: number;
  /** Rows that are not as they should be at the frame. */
  pending?: readonly PendingRow[];
}

/** An op of the row is under way, or has failed and was not tried again yet. */
export interface PendingRow {
  table: string;
  key: string;
  error?: OpError;
}

/** A recording that cannot be read: which file and line, and what was expected there. */
export class RecordingError extends Error {
  readonly file: string;
  readonly line: number;

  constructor(file: string, line: number, message: string) {
    super(`${file}:${line}: ${message}`);
    this.file = file;
    this.line = line;
  }
}

type Shape = 'text' | 'number' | 'object' | 'list';

/** What machines read without asking first. */
const SHAPES: { readonly [T in ClusterEvent['type']]: Readonly<Record<string, Shape>> } = {
  'kube.upserted': { resource: 'text', object: 'object', 'object.metadata': 'object', 'object.metadata.name': 'text' },
  'kube.deleted': { resource: 'text', object: 'object', 'object.metadata': 'object', 'object.metadata.name': 'text' },
  'source.synced': { source: 'text' },
  'agent.started': { config: 'object', 'config.nodeName': 'text' },
  'cni.add': {
    requestId: 'text',
    containerId: 'text',
    netns: 'text',
    ifname: 'text',
    podName: 'text',
    endpointId: 'number',
  },
  'cni.del': { requestId: 'text', containerId: 'text', ifname: 'text' },
  'link.upserted': { link: 'object', 'link.name': 'text', 'link.addresses': 'list' },
  'link.deleted': { name: 'text' },
  'local.restored': { endpoints: 'list' },
  'ops.done': { results: 'list' },
  observed: { table: 'text', changes: 'list' },
  'timer.fired': { key: 'text' },
  'wireguard.keyed': { publicKey: 'text' },
  'ipsec.keyed': { keys: 'list' },
  'health.probed': { node: 'text', results: 'list' },
};

function shapeOf(value: unknown): Shape | 'nothing' | 'something else' {
  if (value === undefined || value === null) return 'nothing';
  if (typeof value === 'string') return 'text';
  if (typeof value === 'number') return 'number';
  if (Array.isArray(value)) return 'list';
  return typeof value === 'object' ? 'object' : 'something else';
}

/** They are few, and each is asked for with every event. */
interface Field {
  path: string;
  keys: readonly string[];
  shape: Shape;
}
const fieldsOf = (shapes: Readonly<Record<string, Shape>>): readonly Field[] =>
  Object.entries(shapes).map(([path, shape]) => ({ path, keys: path.split('.'), shape }));

function at(value: unknown, keys: readonly string[]): unknown {
  let inner = value;
  for (const key of keys) inner = (inner as Record<string, unknown> | undefined)?.[key];
  return inner;
}

const brief = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? 'nothing';

const hintOf = ({ version, build }: { version?: number; build?: string }): string =>
  typeof version === 'number' && version > VERSION
    ? `: it was written by a newer axoneme (${brief(build)}), replay it with that`
    : '';

/** What is wrong with a header; undefined: nothing. */
export function headerFault(value: unknown): string | undefined {
  const header = value as Partial<RecordingHeader> | null;
  if (shapeOf(header) !== 'object' || header?.format !== FORMAT) {
    return `expected a header {"format":"${FORMAT}","version":${VERSION},…}, got ${brief(value)}`;
  }
  const { version } = header;
  if (typeof version !== 'number' || version < VERSION_MIN || version > VERSION)
    return `field version is ${brief(version)}, this build reads versions ${VERSION_MIN} to ${VERSION}${hintOf(header)}`;
  if (header.frame !== undefined && !Number.isSafeInteger(header.frame))
    return `field frame is ${brief(header.frame)}, expected a number of lines`;
  return fieldFault(header, HEADER);
}

const HEADER = fieldsOf({ node: 'text', build: 'text', config: 'object', startedAt: 'number', part: 'number' });
const ENTRY = fieldsOf({ seq: 'number', at: 'number', source: 'text', event: 'object', 'event.type': 'text' });
const EVENTS = new Map<string, readonly Field[]>(Object.entries(SHAPES).map(([type, of]) => [type, fieldsOf(of)]));

/** What is wrong with a line that should be an entry, whatever its number; undefined: nothing. */
export function entryFault(value: unknown): string | undefined {
  if (shapeOf(value) !== 'object')
    return `expected a log entry {"seq":…,"at":…,"source":…,"event":{…}}, got ${brief(value)}`;
  const fault = fieldFault(value, ENTRY);
  if (fault) return fault;
  const entry = value as LogEntry;
  const fields = EVENTS.get(entry.event.type);
  if (!fields)
    return `field event.type is ${brief(entry.event.type)}, expected one of ${[...EVENTS.keys()].join(', ')}`;
  return fieldFault(entry.event, fields, 'event.');
}

/** What is wrong with the number of an entry after that of this number. */
export function orderFault({ seq }: LogEntry, last: number): string | undefined {
  if (seq === last + 1) return undefined;
  const what =
    seq > last + 1
      ? `entries are missing (${seq - last - 1} of them), or out of order`
      : 'the entry is out of order, or there a second time';
  return `field seq is ${seq}, expected ${last + 1}: ${what}`;
}

function fieldFault(value: unknown, fields: readonly Field[], prefix = ''): string | undefined {
  for (const { path, keys, shape } of fields) {
    const got = at(value, keys);
    if (shapeOf(got) !== shape) return `field ${prefix}${path} is ${brief(got)}, expected ${shape}`;
  }
  return undefined;
}
