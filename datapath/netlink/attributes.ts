/**
 * Netlink attributes: a table of names, numbers and kinds gives an encoder and a decoder.
 *
 * - Integers are in host order, which is little-endian on every machine we build for.
 * - Attributes that the table does not know are skipped when read: newer kernels send more.
 */
import { formatAddress, formatMac, parseAddress, parseMac } from '../address.ts';

export interface AttributeKind<T> {
  encode(value: T): Buffer;
  decode(bytes: Buffer): T;
}

const HEADER_BYTES = 4;
const NLA_F_NESTED = 0x8000;
const TYPE_MASK = 0x3fff;

export const align = (length: number): number => (length + 3) & ~3;

export const u8: AttributeKind<number> = {
  encode: (value) => Buffer.from([value]),
  decode: (bytes) => bytes.readUInt8(),
};
export const u16: AttributeKind<number> = {
  encode: (value) => {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16LE(value);
    return bytes;
  },
  decode: (bytes) => bytes.readUInt16LE(),
};
/** In network order. */
export const u16be: AttributeKind<number> = {
  encode: (value) => {
    const bytes = Buffer.alloc(2);
    bytes.writeUInt16BE(value);
    return bytes;
  },
  decode: (bytes) => bytes.readUInt16BE(),
};
export const u32: AttributeKind<number> = {
  encode: (value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  },
  decode: (bytes) => bytes.readUInt32LE(),
};
export const s32: AttributeKind<number> = {
  encode: (value) => {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return bytes;
  },
  decode: (bytes) => bytes.readInt32LE(),
};
/** Zero-terminated. */
export const string: AttributeKind<string> = {
  encode: (value) => Buffer.from(`${value}\0`),
  decode: (bytes) => {
    const end = bytes.indexOf(0);
    return bytes.toString('utf8', 0, end < 0 ? bytes.length : end);
  },
};
/** An attribute whose being there says yes. */
export const flag: AttributeKind<true> = { encode: () => Buffer.alloc(0), decode: () => true };
export const bytes: AttributeKind<Buffer> = { encode: (value) => value, decode: (value) => value };
/** 4 or 16 bytes. */
export const address: AttributeKind<string> = { encode: parseAddress, decode: formatAddress };
/** Links without Ethernet have addresses of other lengths; the text is then of that length. */
export const mac: AttributeKind<string> = { encode: parseMac, decode: formatMac };

type ValueOf<K> = K extends AttributeKind<infer T> ? T : never;
type Table = Readonly<Record<string, readonly [number, unknown]>>;
/** What an encoder takes and a decoder gives; each attribute may be absent. */
export type Attributes<T extends Table> = { [Name in keyof T]?: ValueOf<T[Name][1]> | undefined };

/** From a table `name: [number, kind]`. */
export function attributeSet<const T extends Table>(table: T): AttributeKind<Attributes<T>> {
  const kinds = Object.entries(table) as [string, readonly [number, AttributeKind<unknown>]][];
  const byNumber = new Map(kinds.map(([name, [number, kind]]) => [number, { name, kind }]));
  return {
    encode(value: Attributes<T>): Buffer {
      const parts: Buffer[] = [];
      for (const [name, [number, kind]] of kinds) {
        const given: unknown = value[name as keyof T];
        if (given !== undefined) parts.push(attribute(number, kind.encode(given), nestedKinds.has(kind)));
      }
      return Buffer.concat(parts);
    },
    decode(from: Buffer): Attributes<T> {
      const result: Record<string, unknown> = {};
      for (const [number, payload] of attributesIn(from)) {
        const known = byNumber.get(number);
        if (known !== undefined) result[known.name] = known.kind.decode(payload);
      }
      return result as Attributes<T>;
    },
  };
}

const nestedKinds = new WeakSet<object>();

/** Attributes inside an attribute. */
export function nested<T>(kind: AttributeKind<T>): AttributeKind<T> {
  const result = { encode: (value: T) => kind.encode(value), decode: (from: Buffer) => kind.decode(from) };
  nestedKinds.add(result);
  return result;
}

/** Attributes without names of their own, one after the other inside an attribute. */
export function listOf<T>(kind: AttributeKind<T>): AttributeKind<T[]> {
  const result = {
    encode: (values: T[]) => Buffer.concat(values.map((value) => attribute(0, kind.encode(value), true))),
    decode: (from: Buffer) => [...attributesIn(from)].map(([, payload]) => kind.decode(payload)),
  };
  nestedKinds.add(result);
  return result;
}

function attribute(type: number, payload: Buffer, isNested: boolean): Buffer {
  const result = Buffer.alloc(align(HEADER_BYTES + payload.length));
  result.writeUInt16LE(HEADER_BYTES + payload.length, 0);
  result.writeUInt16LE(isNested ? type | NLA_F_NESTED : type, 2);
  payload.copy(result, HEADER_BYTES);
  return result;
}

function* attributesIn(from: Buffer): Generator<readonly [number, Buffer]> {
  for (let offset = 0; offset + HEADER_BYTES <= from.length; ) {
    const length = from.readUInt16LE(offset);
    if (length < HEADER_BYTES || offset + length > from.length) {
      throw new RangeError(`netlink attribute at ${offset} of ${from.length} bytes has length ${length}`);
    }
    yield [from.readUInt16LE(offset + 2) & TYPE_MASK, from.subarray(offset + HEADER_BYTES, offset + length)];
    offset += align(length);
  }
}
