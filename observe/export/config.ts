/** Section `hubble.export` of the agent's configuration: a list of sinks, checked field by field. */
import { compileFilter, FilterError, type FlowFilter } from '../hubble/filter.ts';

interface Common {
  /** For logs and metrics; the type when there is none. */
  name?: string;
  /** Flows that may wait for the sink; 8192. */
  capacity?: number;
  /** Hubble's flow filters: only what one of these selects, and nothing that one of those does. */
  allow?: FlowFilter[];
  deny?: FlowFilter[];
}
interface Http extends Common {
  url: string;
  tokenFile?: string;
  headers?: Record<string, string>;
}
export type ExportConfig =
  | (Common & { type: 'file'; path: string; maxSizeMb?: number; maxBackups?: number })
  | (Http & { type: 'loki' })
  | (Http & { type: 'otlp' })
  | (Common & {
      type: 'syslog';
      address: string;
      transport?: 'tcp' | 'udp';
      format?: 'cef' | 'json';
      facility?: number;
    });

const COMMON = ['type', 'name', 'capacity', 'allow', 'deny'];
const FIELDS: Readonly<Record<string, readonly string[]>> = {
  file: ['path', 'maxSizeMb', 'maxBackups'],
  loki: ['url', 'tokenFile', 'headers'],
  otlp: ['url', 'tokenFile', 'headers'],
  syslog: ['address', 'transport', 'format', 'facility'],
};
const FACILITY_MAX = 23;
const CAPACITY_MAX = 1_000_000;

/** Field, value and what was expected; empty: nothing is wrong. */
export function exportTrouble(list: readonly unknown[]): string {
  for (const [i, one] of list.entries()) {
    const trouble = troubleOf(one);
    if (trouble) return `field hubble.export[${i}]${trouble}`;
  }
  return '';
}

function troubleOf(one: unknown): string {
  if (one === null || typeof one !== 'object' || Array.isArray(one))
    return ` is ${JSON.stringify(one)}, expected an object`;
  const fields = one as Record<string, unknown>;
  const own = typeof fields['type'] === 'string' ? FIELDS[fields['type']] : undefined;
  const types = Object.keys(FIELDS).join(' | ');
  if (!own) return `.type is ${JSON.stringify(fields['type'])}, expected ${types}`;
  const unknown = Object.keys(fields).find((field) => !COMMON.includes(field) && !own.includes(field));
  if (unknown) return `.${unknown}: unknown, known are ${[...COMMON, ...own].join(', ')}`;
  const wrong = (field: string, expected: string): string =>
    `.${field} is ${JSON.stringify(fields[field])}, expected ${expected}`;
  for (const field of own.filter((name) => ['path', 'address'].includes(name)))
    if (typeof fields[field] !== 'string' || fields[field] === '')
      return wrong(field, field === 'path' ? 'a path' : 'HOST:PORT');
  if ('url' in fields || own.includes('url')) {
    if (!/^https?:\/\//.test(String(fields['url'])) || !URL.canParse(String(fields['url'])))
      return wrong('url', 'an http(s) URL');
    // Its value is not repeated: errors end up in logs.
    const { username, password } = new URL(String(fields['url']));
    if (username || password) return '.url has a user or password, expected them in tokenFile or headers';
  }
  if (own.includes('address') && !/:[0-9]{1,5}$/.test(String(fields['address']))) return wrong('address', 'HOST:PORT');
  const ranges: [string, number, number][] = [
    ['capacity', 1, CAPACITY_MAX],
    ['maxSizeMb', 1, CAPACITY_MAX],
    ['maxBackups', 0, 1000],
    ['facility', 0, FACILITY_MAX],
  ];
  for (const [field, least, most] of ranges) {
    const value = fields[field];
    if (value !== undefined && !(Number.isInteger(value) && (value as number) >= least && (value as number) <= most))
      return wrong(field, `a whole number from ${least} to ${most}`);
  }
  if (fields['transport'] !== undefined && !['tcp', 'udp'].includes(String(fields['transport'])))
    return wrong('transport', 'tcp | udp');
  if (fields['format'] !== undefined && !['cef', 'json'].includes(String(fields['format'])))
    return wrong('format', 'cef | json');
  for (const field of ['name', 'tokenFile'])
    if (fields[field] !== undefined && typeof fields[field] !== 'string') return wrong(field, 'a text');
  for (const field of ['allow', 'deny']) {
    const filters = fields[field];
    if (filters === undefined) continue;
    if (!Array.isArray(filters)) return wrong(field, 'a list of flow filters');
    try {
      for (const filter of filters) compileFilter(filter as FlowFilter);
    } catch (error) {
      if (error instanceof FilterError) return `.${field}: ${error.message}`;
      return wrong(field, 'flow filters, whose fields are lists');
    }
  }
  return '';
}
