/**
 * A kernel in memory: what the tables of a node are made of, with the refusals that the real one would give.
 *
 * - It outlives any agent: links, addresses, routes, programs and map entries stay when nobody holds them.
 * - Taking a link away takes its other end, its addresses, its routes and its programs along; map entries that name it stay
 *   and read `#12` from then on, as with real numbers of links.
 * - An op that fails changes nothing. Faults are injected by a function of the op, asked before anything else.
 */
import type { Driver, Op, OpError, OpResult } from '../datapath/driver.ts';
import {
  type AddrRow,
  type AttachmentRow,
  type DeviceRow,
  type EndpointRow,
  type LinkRow,
  type NetdevRow,
  type RouteRow,
  type TableName,
  tables,
  type WireguardPeerRow,
  type XdpAttachmentRow,
} from '../state/tables.ts';
import { Devices, type SingleTable } from './kernel-devices.ts';
import { isMapTable, KernelMaps, type MapTable, mapTables } from './kernel-maps.ts';
import { isPlainTable, type PlainTable, PlainTables, plainTables, withoutTaken } from './kernel-network.ts';

export interface KernelOptions {
  /** Entries that a table holds at most; by default as `state/tables.ts` says. */
  capacities?: Partial<Record<TableName, number>>;
  /** The errno with which an op fails; undefined: it does not. */
  faults?: (op: Op) => string | undefined;
  /** Network namespaces need not be made before they are named: for recordings, which do not tell of them. */
  anyNamespace?: boolean;
}

/** Tables of this kernel. */
export const kernelTables = [
  'sysctls',
  'links',
  'attachments',
  'addrs',
  'routes',
  'tunnels',
  'wireguard.devices',
  'wireguard.peers',
  'bpf.netdevs',
  'bpf.devices',
  'bpf.ipcache',
  'bpf.endpoints',
  'cgroup.attachments',
  'xdp.attachments',
  ...plainTables,
  ...mapTables,
] as const;
export type KernelTable = (typeof kernelTables)[number];
export const isKernelTable = (table: string): table is KernelTable =>
  (kernelTables as readonly string[]).includes(table);

const MESSAGES: Readonly<Record<string, string>> = {
  ENODEV: 'no such device',
  ENOENT: 'no such file or directory',
  EEXIST: 'a link of that name is there, which is not ours',
  EADDRINUSE: 'address already in use',
  E2BIG: 'the map is full',
  ENOSPC: 'the map is full',
  EINVAL: 'invalid argument',
  ENETUNREACH: 'network is unreachable',
};
/** As the drivers of the real kernel say of them. */
const FINAL = new Set(['ENOENT', 'EEXIST', 'E2BIG', 'ENOSPC', 'EINVAL', 'EPERM']);

/** A row that hangs on a device, by its number; 0: on none. */
interface Held<R> {
  row: R;
  index: number;
}

export class SimulatedKernel implements Driver {
  readonly tables = kernelTables;
  readonly lane = 'kernel';
  readonly #options: KernelOptions;
  readonly #devices: Devices;
  readonly #maps: KernelMaps;
  readonly #sysctls = new Map<string, unknown>();
  readonly #ipcache = new Map<string, unknown>();
  readonly #cgroups = new Map<string, unknown>();
  readonly #xdp = new Map<string, Held<XdpAttachmentRow>>();
  readonly #addrs = new Map<string, Held<AddrRow>>();
  readonly #routes = new Map<string, Held<RouteRow>>();
  readonly #attachments = new Map<string, Held<AttachmentRow>>();
  /** By number; with the name that it was put under. */
  readonly #netdevs = new Map<number, Held<NetdevRow> & { name: string }>();
  readonly #endpoints = new Map<string, Held<EndpointRow>>();
  readonly #devicesMap = new Map<string, Held<DeviceRow>>();
  readonly #peers = new Map<string, Held<WireguardPeerRow>>();
  readonly #plain: PlainTables;
  /** By number of a device: what goes when it goes. */
  readonly #hanging = new Map<number, Map<string, Map<string, Held<unknown>>>>();

  constructor(options: KernelOptions = {}) {
    this.#options = options;
    this.#devices = new Devices(options.anyNamespace ?? false);
    this.#maps = new KernelMaps(options.capacities);
    this.#plain = new PlainTables((table) => options.capacities?.[table] ?? tables[table].map?.entriesMax);
  }

  // --- the agent's side

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => {
      const errno =
        this.#options.faults?.(op) ??
        this.#change(op.table as KernelTable, op.key, op.action === 'put' ? op.value : undefined);
      return errno ? failure(op, errno) : undefined;
    });
  }

  dump(table: TableName, known: ReadonlyMap<string, unknown> = new Map()): Map<string, unknown> {
    if (isMapTable(table)) return this.#maps.dump(table);
    if (isPlainTable(table)) return this.#plain.dump(table);
    switch (table as Exclude<KernelTable, MapTable | PlainTable>) {
      case 'sysctls':
        return new Map([...this.#sysctls].filter(([key]) => known.has(key)));
      case 'links':
        return this.#devices.ours();
      case 'bpf.ipcache':
        return new Map(this.#ipcache);
      case 'cgroup.attachments':
        return new Map(this.#cgroups);
      case 'xdp.attachments':
        return rowsOf(this.#xdp);
      case 'addrs':
        return rowsOf(this.#addrs);
      case 'routes':
        return rowsOf(this.#routes);
      case 'attachments':
        return rowsOf(this.#attachments);
      case 'bpf.netdevs':
        return new Map([...this.#netdevs.values()].map(({ row, index }) => [this.#devices.nameOf(index), row]));
      case 'bpf.endpoints':
        return this.#linked(this.#endpoints);
      case 'bpf.devices':
        return this.#linked(this.#devicesMap);
      case 'tunnels':
      case 'wireguard.devices':
        return this.#devices.singles(table as SingleTable);
      case 'wireguard.peers':
        return rowsOf(this.#peers);
    }
  }

  /** Rows whose link is named as it is now. */
  #linked(rows: ReadonlyMap<string, Held<{ link: string }>>): Map<string, unknown> {
    return new Map([...rows].map(([key, { row, index }]) => [key, { ...row, link: this.#devices.nameOf(index) }]));
  }

  // --- everybody else's side

  addNamespace(path: string): void {
    this.#devices.addNamespace(path);
  }

  hasNamespace(path: string): boolean {
    return this.#devices.hasNamespace(path);
  }

  /** All that lives in the namespace goes with it. */
  removeNamespace(path: string): void {
    this.#forget(this.#devices.removeNamespace(path));
  }

  /** A link that is not ours, in the node's namespace. */
  addLink(name: string): void {
    this.#devices.addForeign(name);
  }

  removeLink(name: string): void {
    this.#forget(this.#devices.remove(name));
  }

  /** Somebody changes a row behind the agent's back; undefined takes it away. Returns the errno if the kernel refuses. */
  meddle(table: KernelTable, key: string, value: unknown): string | undefined {
    if (table === 'sysctls' && value === undefined) return void this.#sysctls.delete(key);
    return this.#change(table, key, value);
  }

  /** Sets a row as it was observed elsewhere: a device that it hangs on is taken to exist. */
  observe(table: KernelTable, key: string, value: unknown): void {
    const { dev, link, netns = '' } = (value ?? {}) as { dev?: string; link?: string; netns?: string };
    const device = table === 'bpf.netdevs' ? key : (dev ?? link ?? '');
    if (value !== undefined && device && this.#devices.find(netns, device) === undefined)
      this.#devices.addForeign(device, netns);
    if (value !== undefined && isMapTable(table)) this.#maps.suppose(table, key, value);
    this.meddle(table, key, value);
    if (table !== 'bpf.netdevs' || value !== undefined) return;
    for (const [index, { name }] of this.#netdevs) if (name === key) this.#netdevs.delete(index);
  }

  /** Every row of every table. */
  *rows(): Generator<{ table: KernelTable; key: string; value: unknown }> {
    for (const table of kernelTables) {
      const rows = table === 'sysctls' ? this.#sysctls : this.dump(table);
      for (const [key, value] of rows) yield { table, key, value };
    }
  }

  // --- the laws of this kernel

  /** `value` undefined: delete. Returns the errno of a refusal. */
  #change(table: KernelTable, key: string, value: unknown): string | undefined {
    if (isMapTable(table)) return this.#maps.change(table, key, value);
    if (isPlainTable(table)) return this.#plain.change(table, key, value);
    switch (table) {
      case 'sysctls':
        // A delete leaves the setting as it is.
        if (value !== undefined) this.#sysctls.set(key, value);
        return undefined;
      case 'cgroup.attachments':
        if (value === undefined) return void this.#cgroups.delete(key);
        return void this.#cgroups.set(key, value);
      case 'xdp.attachments':
        return this.#hang(this.#xdp, table, key, value as XdpAttachmentRow | undefined);
      case 'links':
        if (value === undefined) return void this.#forget(this.#devices.removeOurs(key));
        return this.#putLink(key, value as LinkRow);
      case 'tunnels':
      case 'wireguard.devices':
        if (value !== undefined) return this.#devices.putSingle(table, key, value as object);
        return void this.#forget(this.#devices.removeSingle(table, key));
      case 'wireguard.peers': {
        const errno = this.#hang(this.#peers, table, key, value as WireguardPeerRow | undefined);
        if (errno === undefined && value !== undefined) withoutTaken(this.#peers, key, value as WireguardPeerRow);
        return errno;
      }
      case 'bpf.devices':
        return this.#hang(this.#devicesMap, table, key, value as DeviceRow | undefined);
      case 'addrs':
        return this.#hang(this.#addrs, table, key, value as AddrRow | undefined);
      case 'routes':
        return this.#hang(this.#routes, table, key, value as RouteRow | undefined);
      case 'attachments':
        return this.#hang(this.#attachments, table, key, value as AttachmentRow | undefined);
      case 'bpf.netdevs':
        return this.#changeNetdev(key, value as NetdevRow | undefined);
      case 'bpf.endpoints':
        return this.#hang(this.#endpoints, table, key, value as EndpointRow | undefined);
      case 'bpf.ipcache':
        if (value === undefined) this.#ipcache.delete(key);
        else if (this.#isFull(table, this.#ipcache, key)) return 'ENOSPC';
        else this.#ipcache.set(key, value);
        return undefined;
    }
  }

  #putLink(name: string, row: LinkRow): string | undefined {
    const outcome = this.#devices.put(name, row);
    if (typeof outcome === 'string') return outcome;
    this.#forget(outcome);
    return undefined;
  }

  #hang<R extends object>(
    rows: Map<string, Held<R>>,
    table: KernelTable,
    key: string,
    row: R | undefined,
  ): string | undefined {
    const before = rows.get(key)?.index ?? 0;
    if (row === undefined) {
      this.#hanging.get(before)?.delete(`${table} ${key}`);
      return void rows.delete(key);
    }
    const { dev, link, netns = '' } = row as { dev?: string; link?: string; netns?: string };
    const name = dev ?? link ?? '';
    if (!this.#devices.hasNamespace(netns)) return 'ENOENT';
    const index = name === '' ? 0 : this.#devices.find(netns, name);
    if (index === undefined) return 'ENODEV';
    if (this.#isFull(table, rows, key)) return 'E2BIG';
    if (before !== index) this.#hanging.get(before)?.delete(`${table} ${key}`);
    rows.set(key, { row, index });
    if (index === 0 || table === 'bpf.endpoints' || table === 'bpf.devices') return undefined;
    const hanging = this.#hanging.get(index) ?? new Map<string, Map<string, Held<unknown>>>();
    this.#hanging.set(index, hanging.set(`${table} ${key}`, rows));
    return undefined;
  }

  #changeNetdev(name: string, row: NetdevRow | undefined): string | undefined {
    const index = this.#devices.find('', name);
    if (index === undefined) return row === undefined ? undefined : 'ENODEV';
    if (row === undefined) return void this.#netdevs.delete(index);
    if (this.#isFull('bpf.netdevs', this.#netdevs, index)) return 'E2BIG';
    this.#netdevs.set(index, { row, index, name });
    return undefined;
  }

  #isFull<K>(table: KernelTable, rows: ReadonlyMap<K, unknown>, key: K): boolean {
    const max = this.#options.capacities?.[table] ?? tables[table].map?.entriesMax;
    return max !== undefined && rows.size >= max && !rows.has(key);
  }

  /** Devices went: what hung on them goes too, but for entries of maps. */
  #forget(indexes: ReadonlySet<number>): void {
    for (const index of indexes) {
      for (const [name, rows] of this.#hanging.get(index) ?? []) rows.delete(name.slice(name.indexOf(' ') + 1));
      this.#hanging.delete(index);
    }
  }
}

function rowsOf<R>(rows: ReadonlyMap<string, Held<R>>): Map<string, R> {
  return new Map([...rows].map(([key, { row }]) => [key, row]));
}

export function failure({ action, table, key }: Op, errno: string): OpError {
  return {
    kind: 'kernel',
    errno,
    message: `${action} ${table} ${key}: ${MESSAGES[errno] ?? errno}`,
    retryable: !FINAL.has(errno),
  };
}

/** Tables that are not the kernel's, kept as they are put. */
export class MemoryTables implements Driver {
  readonly tables: readonly TableName[];
  readonly lane: Driver['lane'];
  readonly #rows = new Map<TableName, Map<string, unknown>>();

  constructor(names: readonly TableName[], lane: Driver['lane']) {
    this.tables = names;
    this.lane = lane;
    for (const table of names) this.#rows.set(table, new Map());
  }

  rowsOf(table: TableName): ReadonlyMap<string, unknown> {
    return this.#rows.get(table) ?? new Map();
  }

  apply(ops: readonly Op[]): OpResult[] {
    for (const { table, key, action, value } of ops) {
      if (action === 'put') this.#rows.get(table)?.set(key, value);
      else this.#rows.get(table)?.delete(key);
    }
    return ops.map(() => undefined);
  }
}
