/** Netlink messages: a fixed header of integers, then attributes. The socket fills in sequence, port and request flags. */
import { type AttributeKind, align } from './attributes.ts';

const NLMSG_HEADER_BYTES = 16;

/** Flags of linux/netlink.h that we set ourselves. */
export const messageFlags = { replace: 0x100, excl: 0x200, create: 0x400 } as const;

const widths = { u8: 1, s32: 4, u16: 2, u32: 4 } as const;
export type HeaderField = keyof typeof widths;
/** Fields in order of the C struct, each aligned to its width; `pad…` fields are zero and not seen. */
export type HeaderTable = Readonly<Record<string, HeaderField>>;
type Header<H extends HeaderTable> = { [Name in keyof H as Name extends `pad${string}` ? never : Name]: number };

export interface MessageType<H extends HeaderTable, A> {
  readonly headerBytes: number;
  /** Header fields that are left out are 0. */
  encode(type: number, flags: number, message: Partial<Header<H>> & { attributes?: A }): Buffer;
  /** Header and attributes only, as nested in another message. */
  encodeBody(message: Partial<Header<H>> & { attributes?: A }): Buffer;
  /** Of a whole message, nlmsghdr included. */
  decode(message: Buffer): Header<H> & { attributes: A };
}

export const typeOf = (message: Buffer): number => message.readUInt16LE(4);

export function messageType<const H extends HeaderTable, A extends object>(
  table: H,
  attributes: AttributeKind<A>,
): MessageType<H, A> {
  let end = 0;
  const fields = Object.entries(table).map(([name, field]) => {
    const offset = Math.ceil(end / widths[field]) * widths[field];
    end = offset + widths[field];
    return { name, field, offset };
  });
  const headerBytes = align(end);

  function encodeBody(message: Partial<Header<H>> & { attributes?: A }): Buffer {
    const header = Buffer.alloc(headerBytes);
    for (const { name, field, offset } of fields) {
      const value = (message as Record<string, unknown>)[name];
      if (typeof value === 'number') write(header, field, value, offset);
    }
    return message.attributes ? Buffer.concat([header, attributes.encode(message.attributes)]) : header;
  }

  return {
    headerBytes,
    encodeBody,
    encode(type, flags, message) {
      const body = encodeBody(message);
      const header = Buffer.alloc(NLMSG_HEADER_BYTES);
      header.writeUInt32LE(NLMSG_HEADER_BYTES + body.length, 0);
      header.writeUInt16LE(type, 4);
      header.writeUInt16LE(flags, 6);
      return Buffer.concat([header, body]);
    },
    decode(message) {
      const body = message.subarray(NLMSG_HEADER_BYTES, message.readUInt32LE(0));
      const result: Record<string, unknown> = {};
      for (const { name, field, offset } of fields) {
        if (!name.startsWith('pad')) result[name] = read(body, field, offset);
      }
      result['attributes'] = attributes.decode(body.subarray(headerBytes));
      return result as Header<H> & { attributes: A };
    },
  };
}

function write(into: Buffer, field: HeaderField, value: number, offset: number): void {
  switch (field) {
    case 'u8':
      into.writeUInt8(value, offset);
      return;
    case 'u16':
      into.writeUInt16LE(value, offset);
      return;
    case 'u32':
      into.writeUInt32LE(value, offset);
      return;
    case 's32':
      into.writeInt32LE(value, offset);
  }
}

function read(from: Buffer, field: HeaderField, offset: number): number {
  switch (field) {
    case 'u8':
      return from.readUInt8(offset);
    case 'u16':
      return from.readUInt16LE(offset);
    case 'u32':
      return from.readUInt32LE(offset);
    case 's32':
      return from.readInt32LE(offset);
  }
}
