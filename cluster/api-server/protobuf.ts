/** The wire format of protocol buffers: writing of messages, and reading them into numbered fields. */

export type Part = Buffer;

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7f) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Buffer.from([...bytes, rest]);
}

const tag = (field: number, type: number): Buffer => varint(field * 8 + type);

/** A message, or bytes. */
export function message(field: number, ...parts: readonly Part[]): Part {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  return Buffer.concat([tag(field, wire.bytes), varint(length), ...parts]);
}

export const textField = (field: number, value: string): Part => message(field, Buffer.from(value));

export const numberField = (field: number, value: number): Part =>
  Buffer.concat([tag(field, wire.varint), varint(value)]);

export interface Field {
  number: number;
  /** Varints come as numbers, everything with a length as bytes. */
  value: number | Buffer;
}

export class ProtobufError extends Error {}

export function readFields(bytes: Buffer): Field[] {
  const fields: Field[] = [];
  let at = 0;
  const readVarint = (): number => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at++];
      if (byte === undefined) throw new ProtobufError('the message ends inside a number');
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
    throw new ProtobufError('a number has more than ten bytes');
  };
  const readBytes = (length: number): Buffer => {
    if (length < 0 || at + length > bytes.length) throw new ProtobufError('the message ends inside a field');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const key = readVarint();
    const number = Math.floor(key / 8);
    switch (key % 8) {
      case wire.varint:
        fields.push({ number, value: readVarint() });
        break;
      case wire.bytes:
        fields.push({ number, value: readBytes(readVarint()) });
        break;
      case wire.fixed64:
        fields.push({ number, value: readBytes(8) });
        break;
      case wire.fixed32:
        fields.push({ number, value: readBytes(4) });
        break;
      default:
        throw new ProtobufError(`wire type ${key % 8} is not supported`);
    }
  }
  return fields;
}
