/**
 * Map keys and values as JSON rows and as bytes; every layout comes from the BTF of the compiled object.
 *
 * - Field names are the C names in camelCase; `pad…` fields are zero and not seen.
 * - `struct addr` is address text, {prefixlen, addr} and {addr, prefixlen} are CIDR text, six bytes named `…mac` a MAC.
 * - `ifindex` is field `link` with the link's name; the number of a link that is gone reads `#12`.
 * - `__be16` and `__be32` are numbers in host order; 64-bit integers are bigint; longer byte arrays are bytes.
 */
import { type Btf, type BtfMember, type BtfRef, type BtfType, btfStruct } from '../native/index.ts';
import { formatMac, parseMac, readMapped, readMappedPrefix, writeMapped, writeMappedPrefix } from './address.ts';

export interface Codec<T = unknown> {
  readonly size: number;
  /** Throws a TypeError that names the field and the value. */
  write(value: T, into: Buffer, offset: number): void;
  read(from: Buffer, offset: number): T;
}

/** Names of the links of the node's namespace. */
export interface LinkNames {
  /** Throws ENODEV when there is no such link. */
  indexOf(name: string): number;
  nameOf(index: number): string | undefined;
}

export type Fields = Record<string, unknown>;
type Struct = Extract<BtfType, { kind: 'struct' | 'union' }>;

const BYTE_ARRAY_MIN = 16;
const ADDRESS_BYTES = 16;

export function encode<T>(codec: Codec<T>, value: T): Buffer {
  const bytes = Buffer.alloc(codec.size);
  codec.write(value, bytes, 0);
  return bytes;
}

export class Codecs {
  readonly #btf: Btf;
  readonly #links: LinkNames | undefined;

  /** Without `links` an ifindex stays the number that it is. */
  constructor(btf: Btf, links?: LinkNames) {
    this.#btf = btf;
    this.#links = links;
  }

  struct(name: string): Codec<Fields> {
    return this.#fields(this.#named(name));
  }

  /** Bytes before a field, by its C name: for code that reads one field of many entries. */
  offsetOf(struct: string, field: string): number {
    const member = this.#named(struct).members.find(({ name }) => name === field);
    if (!member) throw new TypeError(`struct ${struct} of the BPF object has no field ${field}`);
    return member.bitOffset / 8;
  }

  #named(name: string): Struct {
    const type = btfStruct(this.#btf, name);
    if (!type) throw new TypeError(`the BPF object has no struct ${name}`);
    return type;
  }

  /** Of a map's key and value. */
  map(name: string): { key: Codec; value: Codec } {
    const map = this.#btf.maps.find((candidate) => candidate.name === name);
    if (!map) throw new TypeError(`the BPF object has no map ${name}`);
    return { key: this.#of(map.key, ''), value: this.#of(map.value, '') };
  }

  /** A bare ifindex, as a map's key. */
  link(): Codec<string> {
    if (!this.#links) throw new TypeError('codecs without link names cannot name links');
    return linkCodec(this.#links);
  }

  #type(ref: BtfRef): BtfType {
    const type = this.#btf.types[ref.type];
    if (!type) throw new TypeError(`BTF has no type ${ref.type} (${ref.typeName})`);
    return type;
  }

  #of(ref: BtfRef, name: string): Codec {
    const type = this.#type(ref);
    switch (type.kind) {
      case 'int':
        return name === 'ifindex' && this.#links
          ? linkCodec(this.#links)
          : integer(type.size, type.signed, ref.typeName);
      case 'enum':
        return integer(type.size, type.signed, ref.typeName);
      case 'array':
        return this.#array(type, name);
      case 'struct':
        return this.#struct(type);
      default:
        throw new TypeError(`no codec for ${type.kind} ${ref.typeName} of field ${name}`);
    }
  }

  #array(type: Extract<BtfType, { kind: 'array' }>, name: string): Codec {
    const element = this.#type(type.of);
    const ofBytes = element.kind === 'int' && element.size === 1;
    if (ofBytes && type.count === 6 && /mac$/i.test(name)) return macCodec;
    if (ofBytes && type.count >= BYTE_ARRAY_MIN) return bytesCodec(type.count);
    return repeated(this.#of(type.of, name), type.count);
  }

  #struct(type: Struct): Codec {
    const shape = type.members.map((member) => member.name).join();
    if (type.name === 'addr' && type.size === ADDRESS_BYTES) return addressCodec;
    const isAddress = (member: BtfMember | undefined): boolean => member?.typeName === 'struct addr';
    if (shape === 'prefixlen,addr' && isAddress(type.members[1])) return prefixCodec(ADDRESS_BYTES + 4, 4, 0, 'all');
    if (shape === 'addr,prefixlen' && isAddress(type.members[0])) return prefixCodec(ADDRESS_BYTES + 4, 0, 16, 'none');
    return this.#fields(type) as Codec;
  }

  #fields(type: Struct): Codec<Fields> {
    const fields = type.members
      .filter(({ name }) => !/^pad/.test(name))
      .map((member) => {
        if (member.bitFieldSize > 0 || member.name === '') {
          throw new TypeError(`struct ${type.name}: bit fields and anonymous members have no codec`);
        }
        const codec = this.#of(member, member.name);
        const name = member.name === 'ifindex' && this.#links ? 'link' : camelCase(member.name);
        return { name, offset: member.bitOffset / 8, codec };
      });
    return {
      size: type.size,
      write(value, into, offset) {
        into.fill(0, offset, offset + type.size);
        for (const field of fields) {
          try {
            field.codec.write(value[field.name], into, offset + field.offset);
          } catch (error) {
            if (error instanceof TypeError) throw new TypeError(`field ${field.name}: ${error.message}`);
            throw error;
          }
        }
      },
      read(from, offset) {
        const value: Fields = {};
        for (const field of fields) value[field.name] = field.codec.read(from, offset + field.offset);
        return value;
      },
    };
  }
}

const camelCase = (name: string): string => name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());

function integer(size: number, signed: boolean, typeName: string): Codec {
  const bigEndian = typeName.startsWith('__be');
  if (size === 8) return integer64(signed, bigEndian);
  const max = signed ? 2 ** (8 * size - 1) - 1 : 2 ** (8 * size) - 1;
  const min = signed ? -(2 ** (8 * size - 1)) : 0;
  return {
    size,
    write(value, into, offset) {
      if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > max) {
        throw new TypeError(`${JSON.stringify(value)} is no integer of ${min}..${max}`);
      }
      if (bigEndian) into.writeUIntBE(value, offset, size);
      else if (signed) into.writeIntLE(value, offset, size);
      else into.writeUIntLE(value, offset, size);
    },
    read: (from, offset) =>
      bigEndian ? from.readUIntBE(offset, size) : signed ? from.readIntLE(offset, size) : from.readUIntLE(offset, size),
  };
}

function integer64(signed: boolean, bigEndian: boolean): Codec {
  return {
    size: 8,
    write(value, into, offset) {
      if (typeof value !== 'bigint' || (signed ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value)) !== value) {
        throw new TypeError(`${typeof value} ${value} is no ${signed ? 'signed' : 'unsigned'} 64-bit integer`);
      }
      const bits = BigInt.asUintN(64, value);
      if (bigEndian) into.writeBigUInt64BE(bits, offset);
      else into.writeBigUInt64LE(bits, offset);
    },
    read(from, offset) {
      const bits = bigEndian ? from.readBigUInt64BE(offset) : from.readBigUInt64LE(offset);
      return signed ? BigInt.asIntN(64, bits) : bits;
    },
  };
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`${JSON.stringify(value)} is no text`);
  return value;
}

const addressCodec: Codec = {
  size: ADDRESS_BYTES,
  write: (value, into, offset) => writeMapped(text(value), into, offset),
  read: (from, offset) => readMapped(from, offset),
};

const macCodec: Codec = {
  size: 6,
  write(value, into, offset) {
    parseMac(text(value)).copy(into, offset);
  },
  read: (from, offset) => formatMac(from.subarray(offset, offset + 6)),
};

/** `zero`: what prefix length 0 means: all addresses, or that there is no prefix. */
function prefixCodec(size: number, addressAt: number, lengthAt: number, zero: 'all' | 'none'): Codec {
  return {
    size,
    write(value, into, offset) {
      const cidr = text(value);
      into.fill(0, offset, offset + size);
      if (cidr === '' && zero === 'none') return;
      into.writeUInt32LE(writeMappedPrefix(cidr, into, offset + addressAt), offset + lengthAt);
    },
    read(from, offset) {
      const length = from.readUInt32LE(offset + lengthAt);
      return length === 0 && zero === 'none' ? '' : readMappedPrefix(from, length, offset + addressAt);
    },
  };
}

const GONE = /^#([1-9]\d{0,9})$/;

function linkCodec(links: LinkNames): Codec<string> & Codec {
  return {
    size: 4,
    write(value: unknown, into: Buffer, offset: number) {
      const name = text(value);
      const gone = GONE.exec(name);
      into.writeUInt32LE(gone ? Number(gone[1]) : name === '' ? 0 : links.indexOf(name), offset);
    },
    read(from: Buffer, offset: number) {
      const index = from.readUInt32LE(offset);
      return index === 0 ? '' : (links.nameOf(index) ?? `#${index}`);
    },
  };
}

function bytesCodec(count: number): Codec {
  return {
    size: count,
    write(value, into, offset) {
      if (!(value instanceof Uint8Array) || value.length > count)
        throw new TypeError(`expected at most ${count} bytes`);
      into.fill(0, offset, offset + count);
      into.set(value, offset);
    },
    read: (from, offset) => from.subarray(offset, offset + count),
  };
}

function repeated(element: Codec, count: number): Codec {
  return {
    size: element.size * count,
    write(value, into, offset) {
      if (!Array.isArray(value) || value.length !== count) throw new TypeError(`expected ${count} elements`);
      value.forEach((item, i) => element.write(item, into, offset + i * element.size));
    },
    read: (from, offset) => Array.from({ length: count }, (_, i) => element.read(from, offset + i * element.size)),
  };
}
