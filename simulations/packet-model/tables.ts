/**
 * The rows that decide over packets, indexed for looking up; rows come and go one by one, as ops do it.
 *
 * - Rows that say nothing of packets (links, routes, timers, …) are taken and ignored.
 */
import type {
  BackendRow,
  BackendSetRow,
  DeviceRow,
  EndpointRow,
  FrontendRow,
  IpcacheRow,
  NetdevRow,
  NodeRow,
  PolicyEntryRow,
  PolicyMapRow,
  SourceRangeRow,
  TableName,
} from '../../state/tables.ts';
import { LongestPrefix } from './address.ts';
import { type Entry, entryOf } from './policy-entry.ts';

export interface AnyRow {
  table: TableName;
  key: string;
  value: unknown;
}

/** Rows with a number that each has for as long as it is there. */
class Numbered<R> extends Map<string, { row: R; number: number }> {
  #last = 0;

  put(key: string, row: R): void {
    this.set(key, { row, number: this.get(key)?.number ?? ++this.#last });
  }
}

export class ModelTables {
  readonly endpoints = new Map<string, EndpointRow>();
  readonly netdevs = new Map<string, NetdevRow>();
  readonly identities = new LongestPrefix<number>();
  /** The whole rows of them. */
  readonly addresses = new LongestPrefix<IpcacheRow>();
  readonly nodes = new Map<string, NodeRow>();
  readonly devices = new Map<string, DeviceRow>();
  readonly policyMaps = new Map<number, PolicyMapRow>();
  readonly backends = new Numbered<BackendRow>();
  readonly sets = new Numbered<BackendSetRow>();
  readonly frontends = new Map<string, FrontendRow>();
  /** By frontend. */
  readonly ranges = new Map<string, LongestPrefix<true>>();
  /** By `endpoint|direction|identity`, then by the entry's key. */
  readonly #entries = new Map<string, Map<string, Entry>>();

  constructor(rows: Iterable<AnyRow> = []) {
    for (const row of rows) this.put(row);
  }

  put({ table, key, value }: AnyRow): void {
    switch (table) {
      case 'bpf.endpoints':
        this.endpoints.set(key, value as EndpointRow);
        break;
      case 'bpf.netdevs':
        this.netdevs.set(key, value as NetdevRow);
        break;
      case 'bpf.ipcache':
        this.identities.set(key, (value as IpcacheRow).identity);
        this.addresses.set(key, value as IpcacheRow);
        break;
      case 'bpf.nodes':
        this.nodes.set(key, value as NodeRow);
        break;
      case 'bpf.devices':
        this.devices.set(key, value as DeviceRow);
        break;
      case 'bpf.policy-maps':
        this.policyMaps.set(Number(key), value as PolicyMapRow);
        break;
      case 'bpf.policy': {
        const { group } = groupOf(key);
        const entries = this.#entries.get(group) ?? new Map<string, Entry>();
        this.#entries.set(group, entries.set(key, entryOf(key, value as PolicyEntryRow)));
        break;
      }
      case 'bpf.backends':
        this.backends.put(key, value as BackendRow);
        break;
      case 'bpf.backend-sets':
        this.sets.put(key, value as BackendSetRow);
        break;
      case 'bpf.frontends':
        this.frontends.set(key, value as FrontendRow);
        break;
      case 'bpf.source-ranges': {
        const { frontend, cidr } = value as SourceRangeRow;
        const ranges = this.ranges.get(frontend) ?? new LongestPrefix<true>();
        this.ranges.set(frontend, ranges);
        ranges.set(cidr, true);
        break;
      }
      default:
    }
  }

  delete(table: TableName, key: string): void {
    switch (table) {
      case 'bpf.endpoints':
        this.endpoints.delete(key);
        break;
      case 'bpf.netdevs':
        this.netdevs.delete(key);
        break;
      case 'bpf.ipcache':
        this.identities.delete(key);
        this.addresses.delete(key);
        break;
      case 'bpf.nodes':
        this.nodes.delete(key);
        break;
      case 'bpf.devices':
        this.devices.delete(key);
        break;
      case 'bpf.policy-maps':
        this.#deletePolicyMap(Number(key));
        break;
      case 'bpf.policy':
        this.#entries.get(groupOf(key).group)?.delete(key);
        break;
      case 'bpf.backends':
        this.backends.delete(key);
        break;
      case 'bpf.backend-sets':
        this.sets.delete(key);
        break;
      case 'bpf.frontends':
        this.frontends.delete(key);
        break;
      case 'bpf.source-ranges': {
        const bar = key.indexOf('|');
        this.ranges.get(key.slice(0, bar))?.delete(key.slice(bar + 1));
        break;
      }
      default:
    }
  }

  /** Entries go with their map. */
  #deletePolicyMap(endpoint: number): void {
    this.policyMaps.delete(endpoint);
    for (const group of this.#entries.keys()) if (group.startsWith(`${endpoint}|`)) this.#entries.delete(group);
  }

  entries(endpoint: number, direction: 'ingress' | 'egress', identity: number): Iterable<Entry> {
    return this.#entries.get(`${endpoint}|${direction}|${identity}`)?.values() ?? [];
  }
}

/** `endpoint|direction|identity` of a policy entry's key. */
function groupOf(key: string): { group: string } {
  const third = key.indexOf('|', key.indexOf('|', key.indexOf('|') + 1) + 1);
  return { group: key.slice(0, third) };
}
