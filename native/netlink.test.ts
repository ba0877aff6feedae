// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createNetns, deleteNetns, isErrno, type NetlinkEvent, NetlinkSocket } from './index.ts';
import { prefix, run, u32, until } from './testdata/setup.ts';

const path = `/run/netns/${prefix}-nl`;
let socket: NetlinkSocket;
beforeAll(() => {
  createNetns(path, { loopbackUp: true });
  socket = new NetlinkSocket('route', { netns: path });
});
afterAll(() => {
  socket?.close();
  deleteNetns(path);
});

// Numbers of linux/rtnetlink.h and linux/genetlink.h.
const RTM_NEWLINK = 16,
  RTM_DELLINK = 17,
  RTM_GETLINK = 18,
  RTM_NEWROUTE = 24,
  RTM_DELROUTE = 25,
  RTM_GETROUTE = 26;
const NLM_F_CREATE = 0x400,
  NLM_F_EXCL = 0x200;
const IFLA_IFNAME = 3,
  IFLA_LINKINFO = 18,
  IFLA_INFO_KIND = 1;
const RTA_DST = 1,
  RTA_OIF = 4;
const RTNLGRP_LINK = 1,
  RTNLGRP_IPV4_ROUTE = 7;
const CTRL_CMD_GETFAMILY = 3,
  CTRL_ATTR_FAMILY_NAME = 2,
  GENL_ID_CTRL = 16;

function attribute(type: number, payload: Buffer): Buffer {
  const bytes = Buffer.alloc((4 + payload.length + 3) & ~3);
  bytes.writeUInt16LE(4 + payload.length, 0);
  bytes.writeUInt16LE(type, 2);
  payload.copy(bytes, 4);
  return bytes;
}

function message(type: number, flags: number, ...payload: Buffer[]): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt16LE(type, 4);
  header.writeUInt16LE(flags, 6);
  return Buffer.concat([header, ...payload]);
}

const text = (value: string) => Buffer.from(`${value}\0`);
const linkHeader = (ifindex = 0) => Buffer.concat([u32(0), u32(ifindex), u32(0), u32(0)]);
const addBridge = (name: string) =>
  message(
    RTM_NEWLINK,
    NLM_F_CREATE | NLM_F_EXCL,
    linkHeader(),
    attribute(IFLA_IFNAME, text(name)),
    attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text('bridge'))),
  );
const removeLink = (name: string) => message(RTM_DELLINK, 0, linkHeader(), attribute(IFLA_IFNAME, text(name)));

const table = 77,
  family = 2,
  protocol = 4,
  scope = 253,
  unicast = 1;
const routeHeader = (prefixLength: number) =>
  Buffer.from([family, prefixLength, 0, 0, table, protocol, scope, unicast, 0, 0, 0, 0]);
/** The nth host route of 198.18.0.0/15 over loopback. */
const route = (type: number, n: number) =>
  message(
    type,
    type === RTM_NEWROUTE ? NLM_F_CREATE | NLM_F_EXCL : 0,
    routeHeader(32),
    attribute(RTA_DST, Buffer.from([198, 18, n >> 8, n & 255])),
    attribute(RTA_OIF, u32(1)),
  );
const listRoutes = () =>
  socket.request(message(RTM_GETROUTE, 0, Buffer.from([family, 0, 0, 0, table, 0, 0, 0, 0, 0, 0, 0])), { dump: true });

test('a dump returns every message of the namespace', () => {
  socket.batch(['a0', 'a1', 'a2'].map(addBridge));
  const links = socket.request(message(RTM_GETLINK, 0, linkHeader()), { dump: true });
  expect(links).toHaveLength(4);
  for (const link of links) expect(link.readUInt16LE(4)).toBe(RTM_NEWLINK);
  expect(links.some((link) => link.includes('a1\0'))).toBe(true);
  socket.batch(['a0', 'a1', 'a2'].map(removeLink));
});

test('a get returns one answer', () => {
  const [lo, ...rest] = socket.request(message(RTM_GETLINK, 0, linkHeader(1)));
  expect(lo?.includes('lo\0')).toBe(true);
  expect(rest).toEqual([]);
});

test("an error carries errno and the kernel's extended text", () => {
  try {
    socket.request(
      message(
        RTM_NEWLINK,
        NLM_F_CREATE,
        linkHeader(),
        attribute(IFLA_IFNAME, text('x')),
        attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text('nonsense'))),
      ),
    );
    expect.unreachable();
  } catch (error) {
    expect(isErrno(error, 'EOPNOTSUPP')).toBe(true);
    expect(error).toMatchObject({
      syscall: 'netlink',
      detail: 'Unknown device type',
      object: 'netlink route message type 16',
    });
  }
});

test('a batch gives one result for each message, in order', () => {
  const results = socket.batch([addBridge('b0'), addBridge('b0'), removeLink('b0'), removeLink('b0')]);
  expect(results.map((result) => result?.code ?? null)).toEqual([null, 'EEXIST', null, 'ENODEV']);
});

test('thousands of messages in one batch, listed by table', () => {
  const numbers = Array.from({ length: 5000 }, (_, i) => i);
  expect(socket.batch(numbers.map((n) => route(RTM_NEWROUTE, n))).every((result) => result === null)).toBe(true);
  expect(listRoutes()).toHaveLength(5000);
  expect(socket.batch(numbers.map((n) => route(RTM_NEWROUTE, n))).every((result) => result?.code === 'EEXIST')).toBe(
    true,
  );
  expect(socket.batch(numbers.map((n) => route(RTM_DELROUTE, n))).every((result) => result === null)).toBe(true);
  expect(listRoutes()).toEqual([]);
  expect(socket.batch([])).toEqual([]);
});

test('generic netlink answers on its own protocol', () => {
  const generic = new NetlinkSocket('generic');
  const [family] = generic.request(
    message(
      GENL_ID_CTRL,
      0,
      Buffer.from([CTRL_CMD_GETFAMILY, 1, 0, 0]),
      attribute(CTRL_ATTR_FAMILY_NAME, text('nlctrl')),
    ),
  );
  expect(family?.includes('nlctrl\0')).toBe(true);
  expect(() =>
    generic.request(
      message(
        GENL_ID_CTRL,
        0,
        Buffer.from([CTRL_CMD_GETFAMILY, 1, 0, 0]),
        attribute(CTRL_ATTR_FAMILY_NAME, text('absent')),
      ),
    ),
  ).toThrow(/ENOENT/);
  generic.close();
});

test('link events arrive through the event loop, not mixed with answers', async () => {
  const events = new NetlinkSocket('route', { netns: path, groups: [RTNLGRP_LINK] });
  const seen: number[] = [];
  events.onMessages((event) => {
    if (event.kind === 'messages')
      for (const each of event.messages) if (each.includes('ev0\0')) seen.push(each.readUInt16LE(4));
  });
  events.request(addBridge('ev0'));
  expect(events.request(message(RTM_GETLINK, 0, linkHeader()), { dump: true })).toHaveLength(2);
  run('ip link delete ev0', path);
  await until(() => seen.includes(RTM_DELLINK));
  expect(seen[0]).toBe(RTM_NEWLINK);
  events.close();
});

test('lost events are told as an overrun, and events go on', async () => {
  const events = new NetlinkSocket('route', { netns: path, groups: [RTNLGRP_IPV4_ROUTE] });
  const kinds: Array<NetlinkEvent['kind']> = [];
  events.onMessages((event) => kinds.push(event.kind));
  // The event loop does not run in between, so more events come than the buffer of a few megabytes holds.
  const numbers = Array.from({ length: 10_000 }, (_, i) => i);
  socket.batch([...numbers.map((n) => route(RTM_NEWROUTE, n)), ...numbers.map((n) => route(RTM_DELROUTE, n))]);
  await until(() => kinds.includes('overrun'));
  await until(() => kinds.at(-1) === 'messages');
  const before = kinds.length;
  socket.batch([route(RTM_NEWROUTE, 0), route(RTM_DELROUTE, 0)]);
  await until(() => kinds.length > before);
  events.close();
});

test('bad input is refused: short messages, unknown groups, use after close', () => {
  expect(() => socket.request(Buffer.alloc(3))).toThrow(/EINVAL/);
  expect(() => new NetlinkSocket('route', { groups: [9999] })).toThrow(/EINVAL|netlink group/);
  const closed = new NetlinkSocket('route');
  closed.close();
  closed.close();
  expect(() => closed.request(message(RTM_GETLINK, 0, linkHeader()))).toThrow(TypeError);
});
