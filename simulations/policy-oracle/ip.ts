/** Addresses as numbers, for the oracle: is an address inside a prefix? Both families, nothing clever. */
import { isIP } from 'node:net';

interface Network {
  family: 4 | 6;
  value: bigint;
  bits: number;
}

export const familyOf = (address: string): 4 | 6 => (address.includes(':') ? 6 : 4);
const widthOf = (family: 4 | 6): number => (family === 4 ? 32 : 128);

function numberOf(address: string): bigint {
  if (familyOf(address) === 4) return address.split('.').reduce((sum, part) => sum * 256n + BigInt(part), 0n);
  const plain = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, ...quad: string[]) => {
    const [a = 0, b = 0, c = 0, d = 0] = quad.slice(0, 4).map(Number);
    return `${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  });
  const [head = '', tail] = plain.split('::');
  const left = head.split(':').filter(Boolean);
  const right = (tail ?? '').split(':').filter(Boolean);
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - left.length - right.length }, () => '0');
  return [...left, ...zeros, ...right].reduce((sum, group) => sum * 65536n + BigInt(`0x${group}`), 0n);
}

/** Undefined: neither an address nor a prefix. */
function networkOf(text: string): Network | undefined {
  const [address = '', length, ...more] = text.split('/');
  if (!isIP(address) || more.length > 0) return undefined;
  const family = familyOf(address);
  const width = widthOf(family);
  const prefix = length === undefined ? width : Number(length);
  if (length !== undefined && !/^\d{1,3}$/.test(length)) return undefined;
  if (prefix > width) return undefined;
  const free = BigInt(width - prefix);
  return { family, value: (numberOf(address) >> free) << free, bits: prefix };
}

export const isNetwork = (text: unknown): text is string => typeof text === 'string' && networkOf(text) !== undefined;

export function isInside(address: string, cidr: string): boolean {
  const [one, network] = [networkOf(address), networkOf(cidr)];
  if (!one || !network || one.family !== network.family || one.bits < network.bits) return false;
  const free = BigInt(widthOf(network.family) - network.bits);
  return one.value >> free === network.value >> free;
}

/** The same address however it is written. */
export const isSameAddress = (one: string, other: string): boolean =>
  familyOf(one) === familyOf(other) && isNetwork(one) && isNetwork(other) && isInside(one, other);
