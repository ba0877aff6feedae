/** Addresses as 128-bit numbers, IPv4 mapped into IPv6, and the longest prefix that contains one. */
import { parseAddress } from '../../datapath/address.ts';

const V4_MAPPED = 0xffffn << 32n;
const bitsOfText = new Map<string, bigint>();

export function bitsOf(address: string): bigint {
  let bits = bitsOfText.get(address);
  if (bits === undefined) {
    const bytes = parseAddress(address);
    bits = BigInt(`0x${bytes.toString('hex')}`) | (bytes.length === 4 ? V4_MAPPED : 0n);
    bitsOfText.set(address, bits);
  }
  return bits;
}

export const isV6 = (address: string): boolean => address.includes(':');

export function isMulticast(address: string): boolean {
  if (isV6(address)) return bitsOf(address) >> 120n === 0xffn;
  return (bitsOf(address) & 0xf0000000n) === 0xe0000000n || address === '255.255.255.255';
}

interface Cidr {
  bits: bigint;
  /** Of 128. */
  length: number;
}

export function cidrOf(text: string): Cidr {
  const [address = '', length = ''] = text.split('/');
  const bits = isV6(address) ? Number(length) : Number(length) + 96;
  return { bits: bitsOf(address), length: bits };
}

const prefix = (bits: bigint, length: number): bigint => bits >> BigInt(128 - length);

export function contains(cidr: string, address: string): boolean {
  const { bits, length } = cidrOf(cidr);
  return prefix(bits, length) === prefix(bitsOf(address), length);
}

/** Values by prefix; `find` gives that of the longest one that contains an address. */
export class LongestPrefix<V> {
  readonly #byLength = new Map<number, Map<bigint, V>>();
  #lengths: number[] = [];

  set(cidr: string, value: V): void {
    const { bits, length } = cidrOf(cidr);
    let values = this.#byLength.get(length);
    if (!values) {
      values = new Map();
      this.#byLength.set(length, values);
      this.#lengths = [...this.#byLength.keys()].sort((a, b) => b - a);
    }
    values.set(prefix(bits, length), value);
  }

  delete(cidr: string): void {
    const { bits, length } = cidrOf(cidr);
    this.#byLength.get(length)?.delete(prefix(bits, length));
  }

  *values(): Generator<V> {
    for (const values of this.#byLength.values()) yield* values.values();
  }

  find(address: string): V | undefined {
    const bits = bitsOf(address);
    for (const length of this.#lengths) {
      const found = this.#byLength.get(length)?.get(prefix(bits, length));
      if (found !== undefined) return found;
    }
    return undefined;
  }
}
