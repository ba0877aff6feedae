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
const RTM_NEWLINK = 16, RTM_DELLINK = 17, RTM_GETLINK = 18;
const NLM_F_CREATE = 0x400, NLM_F_EXCL = 0x200;
const IFLA_IFNAME = 3, IFLA_LINKINFO = 18, IFLA_INFO_KIND = 1;
const RTNLGRP_LINK = 1;
const CTRL_CMD_GETFAMILY = 3, CTRL_ATTR_FAMILY_NAME = 2, GENL_ID_CTRL = 16;

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
  message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, linkHeader(), attribute(IFLA_IFNAME, text(name)), attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text('bridge'))));
const removeLink = (name: string) => message(RTM_DELLINK, 0, linkHeader(), attribute(IFLA_IFNAME, text(name)));

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
    socket.request(message(RTM_NEWLINK, NLM_F_CREATE, linkHeader(), attribute(IFLA_IFNAME, text('x')), attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, text('nonsense')))));
    expect.unreachable();
  } catch (error) {
    expect(isErrno(error, 'EOPNOTSUPP')).toBe(true);
    expect(error).toMatchObject({ syscall: 'netlink', detail: 'Unknown device type', object: 'netlink route message type 16' });
  }
});

test('a batch gives one result for each message, in order', () => {
  const results = socket.batch([addBridge('b0'), addBridge('b0'), removeLink('b0'), removeLink('b0')]);
  expect(results.map((result) => result?.code ?? null)).toEqual([null, 'EEXIST', null, 'ENODEV']);
});

test('a batch larger than one datagram', () => {
  const names = Array.from({ length: 300 }, (_, i) => `c${i}`);
  expect(socket.batch(names.map(addBridge)).every((result) => result === null)).toBe(true);
  expect(socket.request(message(RTM_GETLINK, 0, linkHeader()), { dump: true })).toHaveLength(301);
  expect(socket.batch(names.map(removeLink)).every((result) => result === null)).toBe(true);
  expect(socket.batch([])).toEqual([]);
}, 30_000);

test('generic netlink answers on its own protocol', () => {
  const generic = new NetlinkSocket('generic');
  const [family] = generic.request(message(GENL_ID_CTRL, 0, Buffer.from([CTRL_CMD_GETFAMILY, 1, 0, 0]), attribute(CTRL_ATTR_FAMILY_NAME, text('nlctrl'))));
  expect(family?.includes('nlctrl\0')).toBe(true);
  expect(() => generic.request(message(GENL_ID_CTRL, 0, Buffer.from([CTRL_CMD_GETFAMILY, 1, 0, 0]), attribute(CTRL_ATTR_FAMILY_NAME, text('absent'))))).toThrow(/ENOENT/);
  generic.close();
});

test('link events arrive through the event loop, not mixed with answers', async () => {
  const events = new NetlinkSocket('route', { netns: path, groups: [RTNLGRP_LINK] });
  const seen: number[] = [];
  events.onMessages((event) => {
    if (event.kind === 'messages') for (const each of event.messages) if (each.includes('ev0\0')) seen.push(each.readUInt16LE(4));
  });
  events.request(addBridge('ev0'));
  expect(events.request(message(RTM_GETLINK, 0, linkHeader()), { dump: true })).toHaveLength(2);
  run('ip link delete ev0', path);
  await until(() => seen.includes(RTM_DELLINK));
  expect(seen[0]).toBe(RTM_NEWLINK);
  events.close();
});

test('lost events are told as an overrun, and events go on', async () => {
  const events = new NetlinkSocket('route', { netns: path, groups: [RTNLGRP_LINK] });
  const kinds: Array<NetlinkEvent['kind']> = [];
  events.onMessages((event) => kinds.push(event.kind));
  // Each change makes events of over a kilobyte; the event loop does not run in between, so the buffer fills.
  for (let round = 0; round < 40 && !kinds.includes('overrun'); round++) {
    for (let i = 0; i < 20; i++) socket.batch([...Array(30).keys()].flatMap((n) => [addBridge(`o${n}`), removeLink(`o${n}`)]));
    if (round % 4 === 3) await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => kinds.includes('overrun'));
  const before = kinds.length;
  socket.batch([addBridge('after'), removeLink('after')]);
  await until(() => kinds.length > before);
  events.close();
}, 60_000);

test('bad input is refused: short messages, unknown groups, use after close', () => {
  expect(() => socket.request(Buffer.alloc(3))).toThrow(/EINVAL/);
  expect(() => new NetlinkSocket('route', { groups: [9999] })).toThrow(/EINVAL|netlink group/);
  const closed = new NetlinkSocket('route');
  closed.close();
  closed.close();
  expect(() => closed.request(message(RTM_GETLINK, 0, linkHeader()))).toThrow(TypeError);
});
