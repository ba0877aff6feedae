/** Netlink messages: what is encoded is decoded, byte for byte as the kernel's headers have it. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { attributeSet, nested, string, u8, u16, u32 } from './attributes.ts';
import { messageType } from './message.ts';
import {
  addressMessage,
  linkMessage,
  multipathLinks,
  neighbourMessage,
  routeMessage,
  ruleMessage,
  vethInfo,
} from './rtnetlink.ts';

const u8s = fc.nat(0xff);
const u16s = fc.nat(0xffff);
const u32s = fc.nat(0xffffffff);
const s32s = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const names = fc.stringMatching(/^[a-z][a-z0-9.@-]{0,14}$/);
const macs = fc
  .uint8Array({ minLength: 6, maxLength: 6 })
  .map((bytes) => [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join(':'));
const ipv4s = fc.ipV4();
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });
/** As decoded: what was not given is not there. */
const present = (record: object) =>
  Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined));

const links = fc.record({
  family: u8s,
  type: u16s,
  index: s32s,
  flags: u32s,
  change: u32s,
  attributes: fc.record({
    address: maybe(macs),
    name: maybe(names),
    mtu: maybe(u32s),
    link: maybe(u32s),
    master: maybe(u32s),
    group: maybe(u32s),
    netnsFd: maybe(u32s),
    linkNetnsid: maybe(s32s),
    targetNetnsid: maybe(s32s),
    linkInfo: maybe(fc.record({ kind: names })),
  }),
});
const routes = fc.record({
  family: u8s,
  dstLength: u8s,
  srcLength: u8s,
  tos: u8s,
  table: u8s,
  protocol: u8s,
  scope: u8s,
  type: u8s,
  flags: u32s,
  attributes: fc.record({
    dst: maybe(ipv4s),
    oif: maybe(u32s),
    gateway: maybe(ipv4s),
    priority: maybe(u32s),
    prefSrc: maybe(ipv4s),
    table: maybe(u32s),
    metrics: maybe(fc.record({ mtu: u32s })),
  }),
});
const addresses = fc.record({
  family: u8s,
  prefixLength: u8s,
  flags: u8s,
  scope: u8s,
  index: u32s,
  attributes: fc.record({ address: maybe(ipv4s), local: maybe(ipv4s), flags: maybe(u32s), protocol: maybe(u8s) }),
});
const neighbours = fc.record({
  family: u8s,
  index: s32s,
  state: u16s,
  flags: u8s,
  type: u8s,
  attributes: fc.record({ dst: maybe(ipv4s), linkAddress: maybe(macs), protocol: maybe(u8s) }),
});
const rules = fc.record({
  family: u8s,
  dstLength: u8s,
  srcLength: u8s,
  tos: u8s,
  table: u8s,
  action: u8s,
  flags: u32s,
  attributes: fc.record({
    dst: maybe(ipv4s),
    src: maybe(ipv4s),
    iif: maybe(names),
    priority: maybe(u32s),
    mark: maybe(u32s),
    mask: maybe(u32s),
    table: maybe(u32s),
    protocol: maybe(u8s),
  }),
});

interface Coder<M> {
  encode(type: number, flags: number, message: M): Buffer;
  decode(message: Buffer): unknown;
}

function roundTrips<M extends { attributes: object }>(name: string, coder: Coder<M>, messages: fc.Arbitrary<M>): void {
  test(`${name} messages are decoded as they were encoded`, () => {
    fc.assert(
      fc.property(messages, (message) => {
        const bytes = coder.encode(20, 5, message);
        expect(bytes.length % 4).toBe(0);
        expect(bytes.readUInt32LE(0)).toBe(bytes.length);
        expect(coder.decode(bytes)).toEqual({ ...message, attributes: present(message.attributes) });
      }),
    );
  });
}

describe('netlink', () => {
  roundTrips('link', linkMessage, links);
  roundTrips('route', routeMessage, routes);
  roundTrips('address', addressMessage, addresses);
  roundTrips('neighbour', neighbourMessage, neighbours);
  roundTrips('rule', ruleMessage, rules);

  test('headers have the sizes of the C structs', () => {
    const sizes = [linkMessage, addressMessage, routeMessage, neighbourMessage, ruleMessage].map(
      (type) => type.headerBytes,
    );
    expect(sizes).toEqual([16, 8, 12, 12, 12]);
  });

  test('the peer of a veth is a whole link message in an attribute', () => {
    const peer = linkMessage.encodeBody({ index: 7, attributes: { name: 'eth0' } });
    const data = vethInfo.encode({ peer });
    const bytes = linkMessage.encode(16, 0, { attributes: { linkInfo: { kind: 'veth', data } } });
    const back = linkMessage.decode(bytes).attributes.linkInfo;
    expect(back?.kind).toBe('veth');
    expect(
      vethInfo
        .decode(back?.data as Buffer)
        .peer?.subarray(16)
        .toString('latin1'),
    ).toContain('eth0');
  });

  test('nested attributes bear the flag, unknown ones are skipped', () => {
    const wide = messageType(
      { family: 'u8' },
      attributeSet({ a: [1, u8], b: [2, nested(attributeSet({ c: [3, u16] }))], d: [4, string] }),
    );
    const narrow = messageType({ family: 'u8' }, attributeSet({ d: [4, string], never: [9, u32] }));
    const bytes = wide.encode(1, 0, { family: 2, attributes: { a: 1, b: { c: 77 }, d: 'text' } });
    expect(bytes.readUInt16LE(16 + 4 + 8 + 2)).toBe(0x8002);
    expect(narrow.decode(bytes)).toEqual({ family: 2, attributes: { d: 'text' } });
  });

  test('an attribute longer than its message is refused', () => {
    const bytes = linkMessage.encode(16, 0, { attributes: { name: 'eth0' } });
    bytes.writeUInt16LE(200, 32);
    expect(() => linkMessage.decode(bytes)).toThrow(RangeError);
  });

  test('links of a multipath route', () => {
    const hop = (index: number, extra: number) => {
      const bytes = Buffer.alloc(8 + extra);
      bytes.writeUInt16LE(8 + extra, 0);
      bytes.writeInt32LE(index, 4);
      return bytes;
    };
    expect(multipathLinks(Buffer.concat([hop(3, 8), hop(9, 0)]))).toEqual([3, 9]);
    expect(multipathLinks(Buffer.alloc(8))).toEqual([0]);
  });
});
