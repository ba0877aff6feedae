/**
 * The filters of `axoneme observe`, in the words of Hubble's own client, as filters of its API.
 *
 * - A flag that is given again adds an alternative; different flags all hold.
 * - A flag that names no side (`--pod`) means either end: one filter for each.
 * - `--not` turns the flag behind it into an exclusion.
 */
import { compileFilters, FilterError, type FlowFilter } from '../../observe/hubble/filter.ts';
import { meant, UsageError } from '../usage.ts';
import {
  DROP_REASONS,
  eventType,
  header,
  identity,
  ipVersion,
  oneOf,
  tcpFlags,
  VERDICTS,
  whole,
  workload,
} from './filter-values.ts';

type Field = keyof FlowFilter;
/** Puts a flag's value into a filter's field. */
type Put = (filter: FlowFilter, value: string) => void;

const into =
  (field: Field, read: (value: string) => unknown = (value) => value): Put =>
  (filter, value) => {
    const values = (filter[field] ?? []) as unknown[];
    (filter as Record<string, unknown>)[field] = [...values, read(value)];
  };

const NAMESPACES = Symbol('namespaces');
/** On its way to a filter: pods and their namespaces come in any order. */
type Collected = FlowFilter & { [NAMESPACES]?: Partial<Record<'source_pod' | 'destination_pod', string[]>> };
const namespace =
  (field: 'source_pod' | 'destination_pod'): Put =>
  (filter, value) => {
    const known = (filter as Collected)[NAMESPACES];
    (filter as Collected)[NAMESPACES] = { ...known, [field]: [...(known?.[field] ?? []), value] };
  };
/** Flags with two sides: the bare word is either. */
const SIDED: Readonly<Record<string, readonly [source: Put, destination: Put]>> = {
  namespace: [namespace('source_pod'), namespace('destination_pod')],
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
  'drop-reason-desc': into('drop_reason_desc', (value) => {
    const word = value.toUpperCase().replaceAll(/[- ]/g, '_');
    if (DROP_REASONS.includes(word)) return word;
    throw new Error(`expected the name of a drop reason, such as POLICY_DENIED${meant(word, DROP_REASONS)}`);
  }),
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
      // What a server would refuse is refused here, under the flag's name.
      compileFilters(new SidedFilter().add(flag, value).filters());
    } catch (error) {
      const reason = error instanceof FilterError ? error.reason : error instanceof Error ? error.message : error;
      throw new UsageError(`flag --${flag} is ${JSON.stringify(value)}: ${reason}`);
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

/** A namespace and a pod both hold: the pod is in that namespace. */
function withNamespaces({ [NAMESPACES]: namespaces = {}, ...filter }: Collected): FlowFilter {
  for (const field of ['source_pod', 'destination_pod'] as const) {
    const inside = namespaces[field];
    if (!inside) continue;
    const pods = filter[field]?.flatMap((pod) => {
      const slash = pod.indexOf('/');
      const [space, prefix] = slash < 0 ? ['', pod] : [pod.slice(0, slash), pod.slice(slash + 1)];
      return inside.filter((one) => space === '' || one === space).map((one) => `${one}/${prefix}`);
    });
    if (pods?.length === 0)
      throw new UsageError(`flag --pod is ${JSON.stringify(filter[field]?.join())}: not in namespace ${inside.join()}`);
    filter[field] = pods ?? inside.map((one) => `${one}/`);
  }
  return filter;
}

/** The filter for the source side and that for the destination side; the same when no flag was without a side. */
class SidedFilter {
  readonly #source: Collected = {};
  readonly #destination: Collected = {};
  #isSided = false;

  both(change: (filter: FlowFilter) => void): void {
    change(this.#source);
    change(this.#destination);
  }

  add(flag: string, value: string): this {
    const plain = PLAIN[flag];
    if (plain) {
      this.both((filter) => plain(filter, value));
      return this;
    }
    const [, side, name = ''] = /^(?:(from|to)-)?(.*)$/.exec(flag) ?? [];
    const [source, destination] = SIDED[name] as readonly [Put, Put];
    if (side) {
      this.both((filter) => (side === 'from' ? source : destination)(filter, value));
      return this;
    }
    this.#isSided = true;
    source(this.#source, value);
    destination(this.#destination, value);
    return this;
  }

  filters(): FlowFilter[] {
    if (this.#isSided) return [withNamespaces(this.#source), withNamespaces(this.#destination)];
    const filter = withNamespaces(this.#source);
    return Object.keys(filter).length > 0 ? [filter] : [];
  }
}
