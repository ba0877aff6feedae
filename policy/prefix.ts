/** CIDRs as words of 32 bits, so that containment is cheap, and as labels of identities. */
import ipaddr from 'ipaddr.js';
import type { IdentityLabels } from './change.ts';

export interface Prefix {
  /** One word for IPv4, four for IPv6; host bits are 0. */
  words: readonly number[];
  length: number;
}

const IPV4 = /^(?:(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?!$)|$)){4}$/;

/** Of a CIDR or an address; host bits are masked. Undefined: it is neither. */
export function parsePrefix(text: string): Prefix | undefined {
  const slash = text.indexOf('/');
  const address = slash < 0 ? text : text.slice(0, slash);
  const words = addressWords(address);
  if (!words) return undefined;
  const lengthText = slash < 0 ? String(words.length * 32) : text.slice(slash + 1);
  if (!/^(0|[1-9]\d{0,2})$/.test(lengthText) || Number(lengthText) > words.length * 32) return undefined;
  return truncated(words, Number(lengthText));
}

function addressWords(text: string): number[] | undefined {
  if (IPV4.test(text)) return [text.split('.').reduce((word, byte) => (word << 8) | Number(byte), 0)];
  if (!text.includes(':') || text.includes('%') || !ipaddr.IPv6.isValid(text)) return undefined;
  const { parts } = ipaddr.IPv6.parse(text);
  return [0, 2, 4, 6].map((i) => ((parts[i] as number) << 16) | (parts[i + 1] as number));
}

const wordMask = (bits: number): number => (bits <= 0 ? 0 : bits >= 32 ? -1 : -1 << (32 - bits));

const truncated = (words: readonly number[], length: number): Prefix => ({
  words: words.map((word, i) => word & wordMask(length - 32 * i)),
  length,
});

export const truncatedTo = (prefix: Prefix, length: number): Prefix => truncated(prefix.words, length);

/** A prefix contains itself. */
export function containsPrefix(outer: Prefix, inner: Prefix): boolean {
  if (outer.words.length !== inner.words.length || outer.length > inner.length) return false;
  for (let i = 0; i < outer.words.length; i++) {
    if ((((outer.words[i] as number) ^ (inner.words[i] as number)) & wordMask(outer.length - 32 * i)) !== 0)
      return false;
  }
  return true;
}

export const familyOf = (prefix: Prefix): 4 | 6 => (prefix.words.length === 1 ? 4 : 6);

/** One text for each prefix. */
export function prefixText({ words, length }: Prefix): string {
  const bytes = words.flatMap((word) => [word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255]);
  if (words.length === 1) return `${bytes.join('.')}/${length}`;
  return `${new ipaddr.IPv6(bytes).toRFC5952String()}/${length}`;
}

/** Undefined if the text is neither CIDR nor address. */
export function canonicalPrefix(text: string): string | undefined {
  const prefix = parsePrefix(text);
  return prefix && prefixText(prefix);
}

const CIDR_LABEL = 'cidr:';

/** `10.0.0.0/8` → `cidr:10.0.0.0/8`; `::1/128` → `cidr:0--1/128`, since label keys have no colons and none at their ends. */
export function cidrLabel(cidr: string): string {
  const [address = '', length = ''] = cidr.split('/');
  const dashed = address.replaceAll(':', '-').replace(/^-/, '0-').replace(/-$/, '-0');
  return `${CIDR_LABEL}${dashed}/${length}`;
}

export function prefixOfLabel(label: string): Prefix | undefined {
  if (!label.startsWith(CIDR_LABEL)) return undefined;
  return parsePrefix(label.slice(CIDR_LABEL.length).replaceAll('-', ':'));
}

export interface Families {
  ipv4: boolean;
  ipv6: boolean;
}
const DUAL_STACK: Families = { ipv4: true, ipv6: true };

/** Labels of the local identity of a CIDR: its own label and the world's. */
export function cidrIdentityLabels(cidr: string, families: Families = DUAL_STACK): IdentityLabels {
  return { [cidrLabel(cidr)]: '', [worldLabel(cidr, families)]: '' };
}

/** Labels of another node that policies tell by its labels. */
export function nodeIdentityLabels(labels: Readonly<Record<string, string>>, isApiServer: boolean): IdentityLabels {
  const own = Object.entries(labels).map(([key, value]) => [`node:${key}`, value] as const);
  return {
    'reserved:remote-node': '',
    ...(isApiServer && { 'reserved:kube-apiserver': '' }),
    ...Object.fromEntries(own),
  };
}

/** Of an address or CIDR outside: with both families each has a world of its own. */
export function worldLabel(address: string, { ipv4, ipv6 }: Families = DUAL_STACK): string {
  if (!ipv4 || !ipv6) return 'reserved:world';
  return address.includes(':') ? 'reserved:world-ipv6' : 'reserved:world-ipv4';
}
