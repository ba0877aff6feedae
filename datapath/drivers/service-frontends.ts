/**
 * Tables `bpf.frontends` and `bpf.source-ranges`: a frontend's address, port and protocol → its number and its sets; its number and a prefix
 * → a client may use it.
 *
 * - Ranges are there before their frontend and go after it, so whichever comes first gives it its number.
 */
import { type BackendRow, backendKey, type FrontendRow, type SourceRangeRow } from '../../state/tables.ts';
import { readMappedPrefix, writeMappedPrefix } from '../address.ts';
import type { Codecs } from '../codec.ts';
import type { Op, OpResult } from '../driver.ts';
import { Numbers } from '../numbers.ts';
import { parseServiceKey, protocolNumber, protocolOf } from '../service-keys.ts';
import { deleteEntries, type Entry, putEntries } from './map-entries.ts';
import { nameKinds, type ServiceNames } from './service-names.ts';
import type { ServiceSets } from './service-sets.ts';
import {
  type Found,
  Missing,
  NumberedMap,
  planned,
  pooled,
  type ServiceMaps,
  type ServiceTable,
  unnamed,
  unnamedNumber,
} from './service-table.ts';

interface Key {
  addr: string;
  port: number;
  proto: number;
}
interface Value {
  id: number;
  internalSet: number;
  externalSet: number;
  flags: number;
}

/** enum frontend_flags of bpf/lib/structs-services.h. */
const flagBits = { externalLocal: 16, sourceRanges: 32, dsr: 64 } as const;
const typeBits: Readonly<Record<FrontendRow['type'], number>> = {
  ClusterIP: 0,
  NodePort: 1,
  ExternalIP: 2,
  LoadBalancer: 4,
  HostPort: 8,
};
const TYPE_MASK = 15;
const typeNames = new Map(Object.entries(typeBits).map(([name, bit]) => [bit, name as FrontendRow['type']]));

export class ServiceFrontends {
  readonly frontends: ServiceTable;
  readonly ranges: ServiceTable;
  readonly #map: NumberedMap<Key, Value>;
  readonly #rangeMap: NumberedMap<unknown, number>;
  readonly #rangeKey: { size: number; prefixlen: number; frontend: number; addr: number };
  readonly #names: ServiceNames;
  readonly #sets: ServiceSets;
  readonly #numbers = new Numbers();
  /** In the kernel, with the text of its name there; '' when that is missing. */
  readonly #there = new Map<string, string>();
  /** CIDRs in the kernel, by frontend. */
  readonly #cidrs = new Map<string, Set<string>>();

  constructor(maps: ServiceMaps, names: ServiceNames, sets: ServiceSets) {
    this.#map = new NumberedMap(maps, 'frontends');
    this.#rangeMap = new NumberedMap(maps, 'source_ranges');
    this.#rangeKey = rangeLayout(maps.codecs, this.#rangeMap.map.info.keySize);
    this.#names = names;
    this.#sets = sets;
    this.frontends = {
      apply: (ops) => this.#apply(ops, { put: this.#put, delete: this.#delete }),
      read: () => this.#read(),
    };
    this.ranges = {
      apply: (ops) => this.#apply(ops, { put: this.#putRanges, delete: this.#deleteRanges }),
      read: () => this.#readRanges(),
    };
  }

  get size(): number {
    return this.#there.size;
  }
  get rangesCounted(): number {
    let count = 0;
    for (const cidrs of this.#cidrs.values()) count += cidrs.size;
    return count;
  }

  #apply(ops: readonly Op[], by: Record<Op['action'], (ops: readonly Op[], results: OpResult[]) => void>): OpResult[] {
    const results: OpResult[] = ops.map(() => undefined);
    const [first] = ops;
    if (first) by[first.action].call(this, ops, results);
    return results;
  }

  #put(ops: readonly Op[], results: OpResult[]): void {
    const plans = planned(ops, results, (op, at) => {
      const row = op.value as FrontendRow;
      const key = keyOf(op.key);
      const text = nameText(op.key, row);
      const value = {
        id: 0,
        internalSet: this.#set(row.internalSet),
        externalSet: this.#set(row.externalSet),
        flags: flagsOf(row),
      };
      this.#names.entry(at, op, nameKinds.frontend, 0, text);
      const id = this.#numbers.take(op.key);
      return { at, op, text, id, entry: this.#map.entry(at, op, key, { ...value, id }) };
    });
    const names = plans
      .filter(({ op, text }) => this.#there.get(op.key) !== text)
      .map(({ at, op, id, text }) => this.#names.entry(at, op, nameKinds.frontend, id, text));
    putEntries(this.#names.map.map, this.#names.map.name, names, results);
    const entries = plans.map(({ entry }) => entry);
    putEntries(this.#map.map, this.#map.name, entries, results);
    for (const { at, op, text } of plans) {
      if (!results[at]) this.#there.set(op.key, text);
      else this.#releaseIfUnused(op.key);
    }
  }

  #set(key: string): number {
    const number = this.#sets.numberOf(key);
    if (number === undefined) throw new Missing(`backend set ${key}`);
    return number;
  }

  #delete(ops: readonly Op[], results: OpResult[]): void {
    const entries = planned(ops, results, (op, at) => ({ at, op, key: this.#map.keyOf(keyOf(op.key)) }));
    deleteEntries(this.#map.map, entries, results);
    for (const { at, op } of entries) {
      if (results[at]) continue;
      this.#there.delete(op.key);
      this.#releaseIfUnused(op.key);
    }
  }

  #releaseIfUnused(key: string): void {
    const number = this.#numbers.of(key);
    if (number === undefined || this.#there.has(key) || this.#cidrs.has(key)) return;
    this.#names.map.map.delete(this.#names.keyOf(nameKinds.frontend, number));
    this.#numbers.release(key);
  }

  #putRanges(ops: readonly Op[], results: OpResult[]): void {
    const fresh = new Map<string, Entry>();
    const entries = planned(ops, results, (op, at): Entry => {
      const { frontend, cidr } = op.value as SourceRangeRow;
      if (`${frontend}|${cidr}` !== op.key) throw new TypeError(`it is ${JSON.stringify(op.value)}, another range`);
      parseServiceKey(frontend);
      const key = this.#rangeBytes(1, cidr);
      const isNew = this.#numbers.of(frontend) === undefined;
      const number = this.#numbers.take(frontend);
      if (isNew) fresh.set(frontend, this.#names.entry(at, op, nameKinds.frontend, number, nameText(frontend)));
      key.writeUInt32LE(number, this.#rangeKey.frontend);
      return { at, op, key, value: this.#rangeMap.valueOf(1) };
    });
    putEntries(this.#names.map.map, this.#names.map.name, [...fresh.values()], results);
    putEntries(this.#rangeMap.map, this.#rangeMap.name, entries, results);
    for (const { at, op } of entries) {
      const { frontend, cidr } = op.value as SourceRangeRow;
      if (results[at]) this.#releaseIfUnused(frontend);
      else this.#remember(frontend, cidr);
    }
  }

  #remember(frontend: string, cidr: string): void {
    const cidrs = this.#cidrs.get(frontend) ?? new Set();
    this.#cidrs.set(frontend, cidrs.add(cidr));
  }

  #deleteRanges(ops: readonly Op[], results: OpResult[]): void {
    const entries = planned(ops, results, (op, at) => {
      const [frontend = '', cidr = ''] = op.key.split('|');
      const number = unnamedNumber(frontend) ?? this.#numbers.of(frontend);
      return number === undefined ? undefined : { at, op, key: this.#rangeBytes(number, cidr) };
    });
    deleteEntries(this.#rangeMap.map, entries, results);
    for (const { at, op } of entries) {
      if (results[at]) continue;
      const [frontend = '', cidr = ''] = op.key.split('|');
      const cidrs = this.#cidrs.get(frontend);
      cidrs?.delete(cidr);
      if (cidrs?.size === 0) this.#cidrs.delete(frontend);
      this.#releaseIfUnused(frontend);
    }
  }

  #rangeBytes(frontend: number, cidr: string): Buffer {
    const layout = this.#rangeKey;
    const key = pooled(layout.size);
    key.writeUInt32LE(32 + writeMappedPrefix(cidr, key, layout.addr), layout.prefixlen);
    key.writeUInt32LE(frontend, layout.frontend);
    return key;
  }

  *#read(): Generator<void, Found> {
    const rows = new Map<string, unknown>();
    const found = new Map<string, { id: number; text: string }>();
    yield* this.#map.each(({ addr, port, proto }, { id, internalSet, externalSet, flags }) => {
      const key = backendKey({ address: addr, port, protocol: protocolOf(proto) } satisfies BackendRow);
      const isNamed = this.#numbers.nameOf(id) === key;
      const text = isNamed ? (this.#there.get(key) ?? '') : '';
      const [service = '', portName = ''] = text.split('\0');
      found.set(key, { id, text });
      rows.set(key, {
        type: typeNames.get(flags & TYPE_MASK) ?? 'ClusterIP',
        service,
        portName,
        internalSet: this.#sets.nameOf(internalSet),
        externalSet: this.#sets.nameOf(externalSet),
        externalLocal: (flags & flagBits.externalLocal) !== 0,
        sourceRanges: (flags & flagBits.sourceRanges) !== 0,
        forwarding: flags & flagBits.dsr ? 'dsr' : 'snat',
      } satisfies FrontendRow);
    });
    return {
      rows,
      adopt: () => {
        this.#there.clear();
        for (const [key, { id, text }] of found) {
          this.#numbers.learn(key, id);
          this.#there.set(key, text);
        }
      },
    };
  }

  *#readRanges(): Generator<void, Found> {
    const rows = new Map<string, unknown>();
    const found: [string, string][] = [];
    const { keySize } = this.#rangeMap.map.info;
    const layout = this.#rangeKey;
    for (const { keys, count } of this.#rangeMap.map.chunks(2048)) {
      for (let i = 0; i < count; i++) {
        const at = i * keySize;
        const number = keys.readUInt32LE(at + layout.frontend);
        const cidr = readMappedPrefix(keys, keys.readUInt32LE(at + layout.prefixlen) - 32, at + layout.addr);
        const frontend = this.#numbers.nameOf(number) ?? unnamed(number);
        rows.set(`${frontend}|${cidr}`, { frontend, cidr } satisfies SourceRangeRow);
        found.push([frontend, cidr]);
      }
      yield;
    }
    return {
      rows,
      adopt: () => {
        this.#cidrs.clear();
        for (const [frontend, cidr] of found) this.#remember(frontend, cidr);
      },
    };
  }

  /** At the start: what the numbers stand for; names of numbers that are gone go. */
  *recover(): Generator<void, void> {
    const texts = yield* this.#names.read(nameKinds.frontend);
    const ids = new Set<number>();
    yield* this.#map.each((key, { id }) => {
      ids.add(id);
      this.#numbers.learn(backendKey({ address: key.addr, port: key.port, protocol: protocolOf(key.proto) }), id);
    });
    const { keySize } = this.#rangeMap.map.info;
    for (const { keys, count } of this.#rangeMap.map.chunks(2048)) {
      for (let i = 0; i < count; i++) ids.add(keys.readUInt32LE(i * keySize + this.#rangeKey.frontend));
      yield;
    }
    for (const [id, text] of texts) {
      const [, , key = ''] = text.split('\0');
      if (!ids.has(id)) this.#names.map.map.delete(this.#names.keyOf(nameKinds.frontend, id));
      else if (this.#numbers.nameOf(id) === undefined) this.#numbers.learn(key, id);
      if (this.#numbers.nameOf(id) === key) this.#there.set(key, text);
    }
  }
}

function keyOf(text: string): Key {
  const { address, port, protocol } = parseServiceKey(text);
  return { addr: address, port, proto: protocolNumber(protocol) };
}

function flagsOf({ type, externalLocal, sourceRanges, forwarding }: FrontendRow): number {
  const bit = Object.hasOwn(typeBits, type) ? typeBits[type] : undefined;
  if (bit === undefined) throw new TypeError(`type ${JSON.stringify(type)} is no type of a frontend`);
  return (
    bit |
    (externalLocal ? flagBits.externalLocal : 0) |
    (sourceRanges ? flagBits.sourceRanges : 0) |
    (forwarding === 'dsr' ? flagBits.dsr : 0)
  );
}

/** Ends with what is never empty: zeros at the end are lost. */
const nameText = (key: string, row?: FrontendRow): string => `${row?.service ?? ''}\0${row?.portName ?? ''}\0${key}`;

function rangeLayout(
  codecs: Codecs,
  size: number,
): { size: number; prefixlen: number; frontend: number; addr: number } {
  const at = (field: string): number => codecs.offsetOf('source_range_key', field);
  return { size, prefixlen: at('prefixlen'), frontend: at('frontend'), addr: at('addr') };
}
