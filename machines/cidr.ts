/** Addresses as offsets in a CIDR, for both families alike. */
import ipaddr from 'ipaddr.js';

export interface Cidr {
  readonly base: bigint;
  readonly prefixLength: number;
  readonly bits: 32 | 128;
}

/** Of the last texts parsed: a machine says the same few again and again. */
const parsed = new Map<string, Cidr | undefined>();
const PARSED_MAX = 100;

/** Undefined if the text is no CIDR. */
export function parseCidr(text: string): Cidr | undefined {
  if (parsed.has(text)) return parsed.get(text);
  if (parsed.size >= PARSED_MAX) parsed.clear();
  const cidr = parse(text);
  parsed.set(text, cidr);
  return cidr;
}

function parse(text: string): Cidr | undefined {
  if (!ipaddr.isValidCIDR(text)) return undefined;
  const [address, prefixLength] = ipaddr.parseCIDR(text);
  const bytes = address.toByteArray();
  const bits = bytes.length === 4 ? 32 : 128;
  const value = bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  const hostBits = BigInt(bits - prefixLength);
  return { base: (value >> hostBits) << hostBits, prefixLength, bits };
}

export function familyOf(text: string): 4 | 6 {
  return text.includes(':') ? 6 : 4;
}

/** Number of addresses, at most 2^53. */
export function sizeOf(cidr: Cidr): number {
  return 2 ** Math.min(cidr.bits - cidr.prefixLength, 53);
}

export function addressAt(cidr: Cidr, offset: number): string {
  const value = cidr.base + BigInt(offset);
  const bytes = Array.from({ length: cidr.bits / 8 }, (_, i) =>
    Number((value >> BigInt(cidr.bits - 8 - 8 * i)) & 0xffn),
  );
  return ipaddr.fromByteArray(bytes).toString();
}

/** Undefined if the address lies outside. */
export function offsetOf(cidr: Cidr, address: string): number | undefined {
  const host = parseCidr(`${address}/${familyOf(address) === 4 ? 32 : 128}`);
  if (!host || host.bits !== cidr.bits) return undefined;
  const offset = host.base - cidr.base;
  return offset >= 0n && offset < 1n << BigInt(cidr.bits - cidr.prefixLength) ? Number(offset) : undefined;
}

/** Dotted quads without leading zeros, the common case. */
const PLAIN_IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

const IPV6_GROUPS_MAX = 6;
const PLAIN_GROUP = /^[1-9a-f][0-9a-f]{0,3}$/;

/** Written as RFC 5952 wants it, with `::` for all of its zeros: the common case. */
function isPlainIpv6(text: string): boolean {
  const at = text.indexOf('::');
  if (at < 0) return false;
  const before = at === 0 ? [] : text.slice(0, at).split(':');
  const after = at + 2 === text.length ? [] : text.slice(at + 2).split(':');
  const groups = [...before, ...after];
  // What begins with zeros may be an IPv4 address in disguise.
  return before.length > 0 && groups.length <= IPV6_GROUPS_MAX && groups.every((group) => PLAIN_GROUP.test(group));
}

/** One text for each address (RFC 5952); undefined for what is none, or an IPv4 address dressed as IPv6. */
export function canonicalAddress(text: string): string | undefined {
  if (PLAIN_IPV4.test(text)) return text;
  if (isPlainIpv6(text)) return text;
  if (!text.includes(':') || !ipaddr.IPv6.isValid(text) || text.includes('%')) return undefined;
  const address = ipaddr.IPv6.parse(text);
  return address.isIPv4MappedAddress() ? undefined : address.toRFC5952String();
}

/** The same for CIDRs, without host bits. */
export function canonicalCidr(text: string): string | undefined {
  const cidr = parseCidr(text);
  if (!cidr || (cidr.bits === 128 && cidr.base >> 32n === 0xffffn)) return undefined;
  return `${addressAt(cidr, 0)}/${cidr.prefixLength}`;
}

export function contains(cidr: string, address: string): boolean {
  const parsed = parseCidr(cidr);
  return parsed !== undefined && offsetOf(parsed, address) !== undefined;
}

/** `10.0.0.5` -> `10.0.0.5/32`. */
export const hostCidr = (address: string): string => `${address}/${familyOf(address) === 4 ? 32 : 128}`;
