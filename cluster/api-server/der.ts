/** The little of DER (X.690) that X.509 certificates need. */

export type Der = Buffer;

export function tagged(tag: number, ...content: readonly Uint8Array[]): Der {
  const body = Buffer.concat(content);
  return Buffer.concat([Buffer.from([tag]), length(body.length), body]);
}

function length(size: number): Buffer {
  if (size < 0x80) return Buffer.from([size]);
  const bytes: number[] = [];
  for (let rest = size; rest > 0; rest >>= 8) bytes.unshift(rest & 0xff);
  return Buffer.from([0x80 | bytes.length, ...bytes]);
}

export const sequence = (...items: readonly Uint8Array[]): Der => tagged(0x30, ...items);
export const set = (...items: readonly Uint8Array[]): Der => tagged(0x31, ...items);
export const octets = (content: Uint8Array): Der => tagged(0x04, content);
export const bits = (content: Uint8Array, unused = 0): Der => tagged(0x03, Buffer.from([unused]), content);
export const text = (value: string): Der => tagged(0x0c, Buffer.from(value));
export const boolean = (value: boolean): Der => tagged(0x01, Buffer.from([value ? 0xff : 0]));

/** A non-negative integer from its bytes, most significant first. */
export function integer(bytes: Uint8Array): Der {
  let from = 0;
  while (from < bytes.length - 1 && bytes[from] === 0) from++;
  const body = bytes.subarray(from);
  return tagged(0x02, ...((body[0] ?? 0) >= 0x80 ? [Buffer.from([0]), body] : [body]));
}

export function objectId(dotted: string): Der {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let left = arc >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    bytes.push(...groups);
  }
  return tagged(0x06, Buffer.from(bytes));
}

/** GeneralizedTime, whole seconds, UTC. */
export const time = (at: Date): Der =>
  tagged(0x18, Buffer.from(`${at.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`));

/** `[number]` around a value, explicit. */
export const explicit = (number: number, content: Uint8Array): Der => tagged(0xa0 | number, content);
