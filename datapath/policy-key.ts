/**
 * Keys of `bpf.policy` rows as text and as `struct policy_key`: `7|ingress|4711|TCP|8000/13`.
 *
 * - Protocol and port are one prefix of 24 bits: 0 is any protocol, 8 any port, 9 to 23 ports that share their first bits, 24 one port.
 * - One text for each entry: a full prefix has no length, and bits beyond the prefix are zero.
 */
import { policyEntryKey, protocolNumbers } from '../state/tables.ts';
import type { Codec, Fields } from './codec.ts';

const numbers: Readonly<Record<string, number>> = protocolNumbers;
const names = new Map(Object.entries(numbers).map(([name, number]) => [number, name]));

/** POLICY_PREFIX_BASE of bpf/lib/structs.h. */
const BASE_BITS = 40;
const PROTOCOL_BITS = 8;
const PORT_BITS = 16;
const ANY = 'ANY';
const directions = ['ingress', 'egress'] as const;

export interface PolicyPlace {
  endpointId: number;
  direction: (typeof directions)[number];
  identity: number;
  /** 0: any. */
  protocol: number;
  port: number;
  /** Of the port, that count. */
  portBits: number;
}

/** Throws a TypeError that says what is wrong with the key. */
export function parsePolicyKey(key: string): PolicyPlace {
  const parts = key.split('|');
  const [endpoint = '', direction = '', identity = '', protocol = '', port = ''] = parts;
  const place: PolicyPlace = {
    endpointId: whole('endpoint id', endpoint, 2 ** 32 - 1),
    direction: directions.find((name) => name === direction) ?? fail('direction', direction, 'ingress or egress'),
    identity: whole('identity', identity, 2 ** 32 - 1),
    protocol: protocol === ANY ? 0 : (numbers[protocol] ?? whole('protocol', protocol, 255)),
    ...portOf(port),
  };
  if (parts.length !== 5) throw new TypeError(`${key} has ${parts.length} parts, expected 5`);
  if (policyKeyText(place) !== key) fail('key', key, policyKeyText(place));
  return place;
}

export function policyKeyText({ endpointId, direction, identity, protocol, port, portBits }: PolicyPlace): string {
  const masked = port & ~(2 ** (PORT_BITS - portBits) - 1);
  const text = portBits === 0 ? '*' : portBits === PORT_BITS ? String(port) : `${masked}/${portBits}`;
  const protocolText = protocol === 0 ? ANY : (names.get(protocol) ?? String(protocol));
  return policyEntryKey(endpointId, direction, identity, protocolText, protocol === 0 ? '*' : text);
}

function portOf(text: string): { port: number; portBits: number } {
  if (text === '*') return { port: 0, portBits: 0 };
  const [port = '', bits] = text.split('/');
  return {
    port: whole('port', port, 2 ** PORT_BITS - 1),
    portBits: bits === undefined ? PORT_BITS : whole('prefix of ports', bits, PORT_BITS),
  };
}

/** Bits of protocol and port in the key: `policy_entry.prefixlen`. */
export const prefixBits = ({ protocol, portBits }: PolicyPlace): number =>
  protocol === 0 ? 0 : PROTOCOL_BITS + portBits;

/** `codec` is that of `struct policy_key`. */
export function writePolicyKey(codec: Codec<Fields>, place: PolicyPlace, into: Buffer, offset: number): void {
  const { direction, identity, protocol: proto, port: dport } = place;
  const fields = {
    prefixlen: BASE_BITS + prefixBits(place),
    identity,
    direction: directions.indexOf(direction),
    proto,
  };
  codec.write({ ...fields, dport }, into, offset);
}

export function readPolicyKey(codec: Codec<Fields>, endpointId: number, from: Buffer, offset: number): string {
  const fields = codec.read(from, offset) as Record<'prefixlen' | 'identity' | 'direction' | 'proto' | 'dport', number>;
  const bits = fields.prefixlen - BASE_BITS;
  return policyKeyText({
    endpointId,
    direction: directions[fields.direction] ?? 'ingress',
    identity: fields.identity,
    protocol: bits < PROTOCOL_BITS ? 0 : fields.proto,
    port: fields.dport,
    portBits: Math.max(0, bits - PROTOCOL_BITS),
  });
}

function whole(what: string, text: string, max: number): number {
  return /^(0|[1-9]\d*)$/.test(text) && Number(text) <= max ? Number(text) : fail(what, text, `a number up to ${max}`);
}

function fail(what: string, text: string, expected: string): never {
  throw new TypeError(`${what} is ${JSON.stringify(text)}, expected ${expected}`);
}
