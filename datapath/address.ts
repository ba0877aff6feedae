/**
 * Addresses as text and as bytes.
 *
 * - Text is canonical: dotted IPv4, RFC 5952 IPv6, lower-case colon-separated MAC; anything else is refused.
 * - `mapped` bytes are the 16 bytes of the BPF maps: IPv4 is `::ffff:a.b.c.d`, `''` is all zero.
 */
import { isIPv4, isIPv6 } from 'node:net';

const MAPPED_PREFIX_BITS = 96;

export type Family = 4 | 6;

export const familyOf = (text: string): Family => (text.includes(':') ? 6 : 4);
export const bitsOf = (family: Family): 32 | 128 => (family === 4 ? 32 : 128);

/** 4 or 16 bytes; throws a TypeError that names the text and its canonical form. */
export function parseAddress(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  if (isIPv6(text) && !text.includes('%')) {
    const bytes = parseIpv6(text);
    const canonical = formatAddress(bytes);
    if (canonical === text) return bytes;
    throw new TypeError(`address ${JSON.stringify(text)} is not canonical, expected ${canonical}`);
  }
  throw new TypeError(`${JSON.stringify(text)} is no IP address`);
}

/** `text` has passed isIPv6 and has no zone. */
function parseIpv6(text: string): Buffer {
  const bytes = Buffer.alloc(16);
  const dotted = text.match(/^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/);
  const hex = dotted
    ? `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
    : text;
  const [head = '', tail] = hex.split('::');
  const groups = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16));
  groups(head).forEach((group, i) => bytes.writeUInt16BE(group, 2 * i));
  const last = groups(tail ?? '');
  last.forEach((group, i) => bytes.writeUInt16BE(group, 16 - 2 * (last.length - i)));
  return bytes;
}

/** Of 4 or 16 bytes. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (bytes.length !== 16) throw new TypeError(`an address has 4 or 16 bytes, not ${bytes.length}`);
  let bestStart = -1;
  let bestLength = 1; // RFC 5952, 4.2.2: a single zero group is written out
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && bytes[2 * end] === 0 && bytes[2 * end + 1] === 0) end++;
    if (end - start > bestLength) [bestStart, bestLength] = [start, end - start];
    if (end > start) start = end;
  }
  const groups = (from: number, to: number): string => {
    let text = '';
    for (let i = from; i < to; i++) {
      const group = ((bytes[2 * i] as number) << 8) | (bytes[2 * i + 1] as number);
      text += `${i > from ? ':' : ''}${group.toString(16)}`;
    }
    return text;
  };
  return bestStart < 0 ? groups(0, 8) : `${groups(0, bestStart)}::${groups(bestStart + bestLength, 8)}`;
}

const isMapped = (bytes: Uint8Array): boolean => {
  for (let i = 0; i < 10; i++) if (bytes[i] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
};
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

/** Writes the 16 bytes of a map's address. */
export function writeMapped(text: string, into: Buffer, offset = 0): void {
  into.fill(0, offset, offset + 16);
  if (text === '') return;
  const bytes = parseAddress(text);
  if (bytes.length === 16) {
    if (isMapped(bytes)) throw new TypeError(`address ${text} is an IPv4 address, write it dotted`);
    if (isZero(bytes)) throw new TypeError(`address ${text} cannot be told from none`);
    bytes.copy(into, offset);
    return;
  }
  into.fill(0xff, offset + 10, offset + 12);
  bytes.copy(into, offset + 12);
}

export function readMapped(bytes: Uint8Array, offset = 0): string {
  const view = bytes.subarray(offset, offset + 16);
  if (isMapped(view)) return formatAddress(view.subarray(12));
  return isZero(view) ? '' : formatAddress(view);
}

export interface Prefix {
  /** Network order, 4 or 16 bytes, host bits zero. */
  bytes: Buffer;
  length: number;
}

/** Of a CIDR, whose host bits must be zero unless `host` is allowed (an interface's address). */
export function parsePrefix(text: string, host: 'refused' | 'allowed' = 'refused'): Prefix {
  const slash = text.indexOf('/');
  const digits = text.slice(slash + 1);
  if (slash < 0 || !/^(0|[1-9]\d{0,2})$/.test(digits)) throw new TypeError(`${JSON.stringify(text)} is no CIDR`);
  const bytes = parseAddress(text.slice(0, slash));
  const length = Number(digits);
  if (length > bytes.length * 8) throw new TypeError(`CIDR ${text} has a prefix longer than its address`);
  const network = masked(bytes, length);
  if (host === 'refused' && !network.equals(bytes)) {
    throw new TypeError(`CIDR ${text} has host bits, expected ${formatAddress(network)}/${length}`);
  }
  return { bytes, length };
}

export function masked(bytes: Buffer, length: number): Buffer {
  const result = Buffer.from(bytes);
  for (let i = 0; i < result.length; i++) {
    const kept = Math.min(8, Math.max(0, length - 8 * i));
    result[i] = (result[i] as number) & (0xff << (8 - kept));
  }
  return result;
}

/** A CIDR as 16 mapped bytes and a prefix length of 128. */
export function writeMappedPrefix(text: string, into: Buffer, offset = 0): number {
  const { bytes, length } = parsePrefix(text);
  into.fill(0, offset, offset + 16);
  if (bytes.length === 16) {
    if (isMapped(bytes) && length >= MAPPED_PREFIX_BITS) throw new TypeError(`CIDR ${text} is IPv4, write it dotted`);
    bytes.copy(into, offset);
    return length;
  }
  into.fill(0xff, offset + 10, offset + 12);
  bytes.copy(into, offset + 12);
  return MAPPED_PREFIX_BITS + length;
}

export function readMappedPrefix(bytes: Uint8Array, length: number, offset = 0): string {
  const view = bytes.subarray(offset, offset + 16);
  return isMapped(view) && length >= MAPPED_PREFIX_BITS
    ? `${formatAddress(view.subarray(12))}/${length - MAPPED_PREFIX_BITS}`
    : `${formatAddress(view)}/${length}`;
}

export function parseMac(text: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) {
    throw new TypeError(`${JSON.stringify(text)} is no MAC address, expected lower-case xx:xx:xx:xx:xx:xx`);
  }
  return Buffer.from(text.replaceAll(':', ''), 'hex');
}

export function formatMac(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i++) {
    text += `${i > 0 ? ':' : ''}${(bytes[i] as number).toString(16).padStart(2, '0')}`;
  }
  return text;
}
