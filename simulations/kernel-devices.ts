/**
 * Network devices of the simulated kernel, in the node's namespace and in those of pods.
 *
 * - A number is never used twice: a link of the same name that comes later is another one.
 */
import type { LinkRow } from '../state/tables.ts';

interface Device {
  index: number;
  netns: string;
  name: string;
  /** Number of the other end of a pair of ours. */
  peer: number | undefined;
  /** Set on the near end of a pair of ours. */
  row: LinkRow | undefined;
  /** Set on a device of ours that is no pair, with the table that it is a row of. */
  single: { table: SingleTable; row: object } | undefined;
}

/** Tables whose rows are devices with one end. */
export type SingleTable = 'tunnels' | 'wireguard.devices';

const NONE: ReadonlySet<number> = new Set();
/** A recording names devices that are gone by the numbers of another kernel: none of them is given here. */
const NUMBERS_OF_OTHERS = 1_000_000;

export class Devices {
  readonly #anyNamespace: boolean;
  readonly #namespaces = new Set<string>(['']);
  readonly #byIndex = new Map<number, Device>();
  readonly #byName = new Map<string, Device>();
  #last: number;

  constructor(anyNamespace: boolean) {
    this.#anyNamespace = anyNamespace;
    this.#last = anyNamespace ? NUMBERS_OF_OTHERS : 1;
  }

  hasNamespace(path: string): boolean {
    return this.#anyNamespace || this.#namespaces.has(path);
  }

  addNamespace(path: string): void {
    this.#namespaces.add(path);
  }

  removeNamespace(path: string): ReadonlySet<number> {
    this.#namespaces.delete(path);
    const gone = [...this.#byIndex.values()].filter((device) => device.netns === path);
    return new Set(gone.flatMap((device) => [...this.#drop(device)]));
  }

  /** `#12`: the number 12, whether there is such a device or not. */
  find(netns: string, name: string): number | undefined {
    return this.#byName.get(`${netns}|${name}`)?.index ?? numbered(name);
  }

  nameOf(index: number): string {
    return index === 0 ? '' : (this.#byIndex.get(index)?.name ?? `#${index}`);
  }

  ours(): Map<string, LinkRow> {
    const found = new Map<string, LinkRow>();
    for (const { name, row } of this.#byIndex.values()) if (row) found.set(name, row);
    return found;
  }

  addForeign(name: string, netns = ''): void {
    if (numbered(name) === undefined && !this.#byName.has(`${netns}|${name}`)) this.#add(netns, name);
  }

  remove(name: string): ReadonlySet<number> {
    const device = this.#byName.get(`|${name}`);
    return device ? this.#drop(device) : NONE;
  }

  removeOurs(name: string): ReadonlySet<number> {
    return this.#byName.get(`|${name}`)?.row ? this.remove(name) : NONE;
  }

  /** Makes or changes a device with one end; returns an errno. */
  putSingle(table: SingleTable, name: string, row: object): string | undefined {
    const there = this.#byName.get(`|${name}`);
    if (there && there.single?.table !== table) return 'EEXIST';
    (there ?? this.#add('', name)).single = { table, row };
    return undefined;
  }

  removeSingle(table: SingleTable, name: string): ReadonlySet<number> {
    return this.#byName.get(`|${name}`)?.single?.table === table ? this.remove(name) : NONE;
  }

  singles(table: SingleTable): Map<string, object> {
    const found = new Map<string, object>();
    for (const { name, single } of this.#byIndex.values()) if (single?.table === table) found.set(name, single.row);
    return found;
  }

  /** Makes or changes a pair; returns an errno, or the numbers of devices that had to go for it. */
  put(name: string, row: LinkRow): string | ReadonlySet<number> {
    if (!this.hasNamespace(row.peer.netns)) return 'ENOENT';
    const near = this.#byName.get(`|${name}`);
    if (near && !near.row) return 'EEXIST';
    const far = near?.peer === undefined ? undefined : this.#byIndex.get(near.peer);
    const inTheWay = this.#byName.get(`${row.peer.netns}|${row.peer.name}`);
    if (inTheWay && inTheWay !== far) return 'EEXIST';
    if (near && far && far.netns === row.peer.netns) {
      this.#rename(far, row.peer.name);
      near.row = row;
      return NONE;
    }
    const gone = near ? this.#drop(near) : NONE;
    const made = this.#add('', name);
    const peer = this.#add(row.peer.netns, row.peer.name);
    made.row = row;
    made.peer = peer.index;
    peer.peer = made.index;
    return gone;
  }

  #add(netns: string, name: string): Device {
    const device: Device = { index: ++this.#last, netns, name, peer: undefined, row: undefined, single: undefined };
    this.#byIndex.set(device.index, device);
    this.#byName.set(`${netns}|${name}`, device);
    return device;
  }

  #rename(device: Device, name: string): void {
    this.#byName.delete(`${device.netns}|${device.name}`);
    device.name = name;
    this.#byName.set(`${device.netns}|${name}`, device);
  }

  #drop(device: Device): Set<number> {
    const gone = new Set<number>();
    for (const one of [device, device.peer === undefined ? undefined : this.#byIndex.get(device.peer)]) {
      if (!one) continue;
      gone.add(one.index);
      this.#byIndex.delete(one.index);
      this.#byName.delete(`${one.netns}|${one.name}`);
    }
    return gone;
  }
}

function numbered(name: string): number | undefined {
  const number = /^#([1-9]\d*)$/.exec(name)?.[1];
  return number === undefined ? undefined : Number(number);
}
