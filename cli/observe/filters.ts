/**
 * The filters of `axoneme observe`, in the words of Hubble's own client, as filters of its API.
 *
 * - A flag that is given again adds an alternative; different flags all hold.
 * - A flag that names no side (`--pod`) means either end: one filter for each.
 * - `--not` turns the flag behind it into an exclusion.
 */
import type { FlowFilter } from '../../observe/hubble/filter.ts';
import { meant, UsageError } from '../usage.ts';

type Field = keyof FlowFilter;
/** Puts a flag's value into a filter's field. */
type Put = (filter: FlowFilter, value: string) => void;

const into =
  (field: Field, read: (value: string) => unknown = (value) => value): Put =>
  (filter, value) => {
    const values = (filter[field] ?? []) as unknown[];
    (filter as Record<string, unknown>)[field] = [...values, read(value)];
  };

const namespace = (value: string): string => `${value}/`;
const identity = (value: string): number => {
  const reserved = RESERVED.indexOf(value.replace(/^reserved:/, ''));
  const number = reserved >= 0 ? reserved : Number(value);
  if (!Number.isInteger(number) || number < 0)
    throw new Error(`expected a number or one of ${RESERVED.slice(1).join(', ')}`);
  return number;
};
const RESERVED = [
  'unknown',
  'host',
  'world',
  'unmanaged',
  'health',
  'init',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'world-ipv4',
  'world-ipv6',
];

const EVENT_TYPES: Readonly<Record<string, number>> = {
  drop: 1,
  debug: 2,
  capture: 3,
  trace: 4,
  'policy-verdict': 5,
  'trace-sock': 7,
  l7: 129,
};
const POINTS = [
  'to-endpoint',
  'to-proxy',
  'to-host',
  'to-stack',
  'to-overlay',
  'from-endpoint',
  'from-proxy',
  'from-host',
  'from-stack',
  'from-overlay',
  'from-network',
  'to-network',
  'from-crypto',
  'to-crypto',
];

function eventType(value: string): unknown {
  const [kind = '', sub] = value.split(':');
  const type = EVENT_TYPES[kind];
  if (type === undefined) throw new Error(`expected ${Object.keys(EVENT_TYPES).join(', ')}, or trace:POINT`);
  if (sub === undefined) return { type };
  const point = POINTS.indexOf(sub);
  const number = type === EVENT_TYPES['trace'] && point >= 0 ? point : Number(sub);
  if (!Number.isInteger(number)) throw new Error(`expected trace:POINT with ${POINTS.join(', ')}`);
  return { type, match_sub_type: true, sub_type: number };
}

const VERDICTS = ['FORWARDED', 'DROPPED', 'ERROR', 'AUDIT', 'REDIRECTED', 'TRACED', 'TRANSLATED'];
const oneOf =
  (words: readonly string[]) =>
  (value: string): string => {
    const word = value.toUpperCase().replaceAll('-', '_');
    if (!words.includes(word)) throw new Error(`expected ${words.join(', ')}`);
    return word;
  };
const tcpFlags = (value: string): unknown =>
  Object.fromEntries(value.split(',').map((flag) => [flag.trim().toUpperCase(), true]));
const workload = (value: string): unknown => {
  const [kind, name] = value.includes('/') ? value.split('/') : ['', value];
  return { kind, name };
};

const header = (value: string): unknown => {
  const colon = value.indexOf(':');
  if (colon < 1) throw new Error('expected NAME:VALUE');
  return { key: value.slice(0, colon), value: value.slice(colon + 1) };
};
const whole = (value: string): number => {
  if (!/^[0-9]{1,15}$/.test(value)) throw new Error('expected a number');
  return Number(value);
};
const ipVersion = (value: string): string => {
  const family = /^(?:ip)?v?([46])$/i.exec(value)?.[1];
  if (family === undefined) throw new Error('expected 4 or 6');
  return `IPv${family}`;
};

/** Flags with two sides: the bare word is either. */
const SIDED: Readonly<Record<string, readonly [source: Put, destination: Put]>> = {
  namespace: [into('source_pod', namespace), into('destination_pod', namespace)],
  pod: [into('source_pod'), into('destination_pod')],
  ip: [into('source_ip'), into('destination_ip')],
  label: [into('source_label'), into('destination_label')],
  identity: [into('source_identity', identity), into('destination_identity', identity)],
  port: [into('source_port'), into('destination_port')],
  service: [into('source_service'), into('destination_service')],
  fqdn: [into('source_fqdn'), into('destination_fqdn')],
  workload: [into('source_workload', workload), into('destination_workload', workload)],
  cluster: [into('source_cluster_name'), into('destination_cluster_name')],
};

const PLAIN: Readonly<Record<string, Put>> = {
  verdict: into('verdict', oneOf(VERDICTS)),
  'drop-reason-desc': into('drop_reason_desc', (value) => value.toUpperCase().replaceAll(/[- ]/g, '_')),
  protocol: into('protocol'),
  type: into('event_type', eventType),
  'traffic-direction': into('traffic_direction', oneOf(['INGRESS', 'EGRESS'])),
  'tcp-flags': into('tcp_flags', tcpFlags),
  'node-name': into('node_name'),
  'http-method': into('http_method'),
  'http-path': into('http_path'),
  'http-status': into('http_status_code'),
  'http-url': into('http_url'),
  'http-header': into('http_header', header),
  'dns-query': into('dns_query'),
  'snat-ip': into('source_ip_xlated'),
  'node-label': into('node_labels'),
  'trace-id': into('trace_id'),
  'ip-trace-id': into('ip_trace_id', whole),
  'ip-version': into('ip_version', ipVersion),
  interface: into('interface', (name) => ({ name })),
  uuid: into('uuid'),
  'cel-expression': (filter, value) => {
    filter.experimental = { cel_expression: [...(filter.experimental?.cel_expression ?? []), value] };
  },
};

/** Flags that take no value. */
const SWITCHES: Readonly<Record<string, (filter: FlowFilter) => void>> = {
  ipv4: (filter) => into('ip_version')(filter, 'IPv4'),
  ipv6: (filter) => into('ip_version')(filter, 'IPv6'),
  'is-reply': (filter) => {
    filter.reply = [true];
  },
  encrypted: (filter) => {
    filter.encrypted = [true];
  },
  unencrypted: (filter) => {
    filter.encrypted = [false];
  },
};

const SHORT: Readonly<Record<string, string>> = { n: 'namespace', l: 'label', t: 'type', '4': 'ipv4', '6': 'ipv6' };

export const filterFlags: readonly string[] = [
  ...Object.keys(SIDED).flatMap((flag) => [flag, `from-${flag}`, `to-${flag}`]),
  ...Object.keys(PLAIN),
  ...Object.keys(SWITCHES),
  'not',
];

export interface Filters {
  whitelist: FlowFilter[];
  blacklist: FlowFilter[];
  /** What is no filter. */
  rest: string[];
}

export function parseFilters(args: readonly string[]): Filters {
  const allowed = new SidedFilter();
  const excluded: SidedFilter[] = [];
  const rest: string[] = [];
  const queue = [...args];
  let isNot = false;
  for (let arg = queue.shift(); arg !== undefined; arg = queue.shift()) {
    const [given = '', inline] = split(arg);
    const flag = SHORT[given] ?? given;
    if (!arg.startsWith('-') || !filterFlags.includes(flag)) {
      if (isNot)
        throw new UsageError(
          `--not must stand before a filter, not before ${arg}${meant(
            arg,
            filterFlags.map((name) => `--${name}`),
          )}`,
        );
      rest.push(arg);
      continue;
    }
    if (flag === 'not') {
      isNot = true;
      continue;
    }
    const target = isNot ? new SidedFilter() : allowed;
    if (isNot) excluded.push(target);
    isNot = false;
    const turn = SWITCHES[flag];
    if (turn) {
      target.both(turn);
      continue;
    }
    const value = inline ?? queue.shift();
    if (value === undefined) throw new UsageError(`flag --${flag} needs a value`);
    try {
      target.add(flag, value);
    } catch (error) {
      throw new UsageError(
        `flag --${flag} is ${JSON.stringify(value)}: ${error instanceof Error ? error.message : error}`,
      );
    }
  }
  if (isNot) throw new UsageError('--not must stand before a filter');
  return { whitelist: allowed.filters(), blacklist: excluded.flatMap((one) => one.filters()), rest };
}

function split(arg: string): [flag: string, inline?: string] {
  const text = arg.replace(/^--?/, '');
  const equal = text.indexOf('=');
  return equal < 0 ? [text] : [text.slice(0, equal), text.slice(equal + 1)];
}

/** The filter for the source side and that for the destination side; the same when no flag was without a side. */
class SidedFilter {
  readonly #source: FlowFilter = {};
  readonly #destination: FlowFilter = {};
  #isSided = false;

  both(change: (filter: FlowFilter) => void): void {
    change(this.#source);
    change(this.#destination);
  }

  add(flag: string, value: string): void {
    const plain = PLAIN[flag];
    if (plain) {
      this.both((filter) => plain(filter, value));
      return;
    }
    const [, side, name = ''] = /^(?:(from|to)-)?(.*)$/.exec(flag) ?? [];
    const [source, destination] = SIDED[name] as readonly [Put, Put];
    if (side) {
      this.both((filter) => (side === 'from' ? source : destination)(filter, value));
      return;
    }
    this.#isSided = true;
    source(this.#source, value);
    destination(this.#destination, value);
  }

  filters(): FlowFilter[] {
    if (this.#isSided) return [this.#source, this.#destination];
    return Object.keys(this.#source).length > 0 ? [this.#source] : [];
  }
}
