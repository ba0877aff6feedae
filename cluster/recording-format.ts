/**
 * The format of recordings: files of JSON lines, a header first, then log entries in order.
 *
 * - A run is one life of the agent; its entries are numbered from 1 without a gap, over all its parts.
 * - Files of a directory sort by name into the order in which they were written.
 */
import type { AgentFacts, ClusterEvent, LogEntry } from './events.ts';

export const FORMAT = 'axoneme-recording';
export const VERSION = 1;

export interface RunFacts {
  /** Version of the program. */
  build: string;
  node: string;
  config: AgentFacts;
  /** Kernel release. */
  kernel: string;
}

export interface RecordingHeader extends RunFacts {
  format: typeof FORMAT;
  version: typeof VERSION;
  /** Milliseconds since the epoch; names the run. */
  startedAt: number;
  /** 1 for the first file of a run. */
  part: number;
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
const FIELDS: { readonly [T in ClusterEvent['type']]: Readonly<Record<string, Shape>> } = {
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

const at = (value: unknown, path: string): unknown =>
  path.split('.').reduce<unknown>((inner, key) => (inner as Record<string, unknown> | undefined)?.[key], value);

const brief = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? 'nothing';

/** What is wrong with a header; undefined: nothing. */
export function headerFault(value: unknown): string | undefined {
  const header = value as Partial<RecordingHeader> | null;
  if (shapeOf(header) !== 'object' || header?.format !== FORMAT) {
    return `expected a header {"format":"${FORMAT}","version":${VERSION},…}, got ${brief(value)}`;
  }
  if (header.version !== VERSION)
    return `field version is ${brief(header.version)}, this build reads version ${VERSION}`;
  return fieldFault(header, { node: 'text', build: 'text', config: 'object', startedAt: 'number', part: 'number' });
}

/** What is wrong with a line that should be the entry of this number; undefined: nothing. */
export function entryFault(value: unknown, seq: number): string | undefined {
  if (shapeOf(value) !== 'object')
    return `expected a log entry {"seq":${seq},"at":…,"source":…,"event":{…}}, got ${brief(value)}`;
  const fault = fieldFault(value, {
    seq: 'number',
    at: 'number',
    source: 'text',
    event: 'object',
    'event.type': 'text',
  });
  if (fault) return fault;
  const entry = value as LogEntry;
  if (entry.seq !== seq) return `field seq is ${entry.seq}, expected ${seq}: entries are missing or out of order`;
  const fields = Object.hasOwn(FIELDS, entry.event.type) ? FIELDS[entry.event.type] : undefined;
  if (!fields)
    return `field event.type is ${brief(entry.event.type)}, expected one of ${Object.keys(FIELDS).join(', ')}`;
  return fieldFault(entry.event, fields, 'event.');
}

function fieldFault(value: unknown, fields: Readonly<Record<string, Shape>>, prefix = ''): string | undefined {
  for (const [path, shape] of Object.entries(fields)) {
    const got = at(value, path);
    if (shapeOf(got) !== shape) return `field ${prefix}${path} is ${brief(got)}, expected ${shape}`;
  }
  return undefined;
}
