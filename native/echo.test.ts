// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type EchoReply, EchoSocket, isErrno } from './index.ts';
import { createPair } from './testdata/setup.ts';

let pair: ReturnType<typeof createPair>;
beforeAll(() => {
  pair = createPair('echo');
});
afterAll(() => pair?.remove());

test.each([
  [4, '192.0.2.2'],
  [6, '::1'],
] as const)('an echo request over IPv%d comes back with what it carried', async (family, address) => {
  const replied = Promise.withResolvers<EchoReply>();
  const socket = new EchoSocket({ family, netns: pair.one }, replied.resolve);
  const keepAlive = setTimeout(() => replied.reject(new Error('no reply')), 3_000);
  try {
    socket.send(address, 0xabcd, 65_535, Buffer.from('hello'));
    expect(await replied.promise).toEqual({
      address,
      identifier: 0xabcd,
      sequence: 65_535,
      payload: Buffer.from('hello'),
    });
  } finally {
    clearTimeout(keepAlive);
    socket.close();
  }
});

test('what cannot be sent is told at once, with the address', () => {
  const socket = new EchoSocket({ family: 4, netns: pair.one }, () => {});
  try {
    expect(() => socket.send('203.0.113.1', 1, 1, Buffer.alloc(0))).toThrow(/203\.0\.113\.1/);
    try {
      socket.send('203.0.113.1', 1, 1, Buffer.alloc(0));
    } catch (error) {
      expect(isErrno(error, 'ENETUNREACH')).toBe(true);
    }
    expect(() => socket.send('fd00::1', 1, 1, Buffer.alloc(0))).toThrow(/not an IPv4 address/);
  } finally {
    socket.close();
  }
  expect(() => socket.send('192.0.2.2', 1, 1, Buffer.alloc(0))).toThrow(/closed/);
});
