// SPDX-License-Identifier: Apache-2.0
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { connect, createServer, Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { bindUdp, connectTcp, dialTcp, listenTcp, localAddress, netnsId, peerCredentials } from './index.ts';
import { createPair, prefix } from './testdata/setup.ts';

let pair: ReturnType<typeof createPair>;
beforeAll(() => {
  pair = createPair('sock');
});
afterAll(() => pair?.remove());

async function echoServer(address: string): Promise<{ port: number; close: () => void }> {
  const fd = listenTcp({ netns: pair.two, address, port: 0 });
  const { port } = localAddress(fd);
  const server = createServer((socket) => socket.pipe(socket));
  server.listen({ fd });
  await once(server, 'listening');
  return { port, close: () => server.close() };
}

test('one process serves in one namespace and dials from another', async () => {
  const home = netnsId();
  const server = await echoServer('192.0.2.2');
  const socket = await dialTcp({
    netns: pair.one,
    address: '192.0.2.2',
    port: server.port,
    sourceAddress: '192.0.2.1',
    timeoutMs: 3000,
  });
  socket.write('hello');
  expect(String((await once(socket, 'data'))[0])).toBe('hello');
  expect(socket.remoteAddress).toBe('192.0.2.2');
  expect(netnsId()).toEqual(home);
  socket.destroy();
  server.close();
});

test('a connecting descriptor serves a plain net.Socket', async () => {
  const server = await echoServer('192.0.2.2');
  const socket = new Socket({ fd: connectTcp({ netns: pair.one, address: '192.0.2.2', port: server.port }) });
  socket.write('early');
  expect(String((await once(socket, 'data'))[0])).toBe('early');
  socket.destroy();
  server.close();
});

test('dialing tells refusal, silence and nonsense apart', async () => {
  await expect(dialTcp({ netns: pair.one, address: '192.0.2.2', port: 1 })).rejects.toMatchObject({
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });
  await expect(dialTcp({ netns: pair.one, address: '192.0.2.9', port: 1, timeoutMs: 50 })).rejects.toMatchObject({
    code: 'ETIMEDOUT',
    retryable: true,
  });
  await expect(dialTcp({ netns: pair.one, address: '203.0.113.1', port: 1 })).rejects.toMatchObject({
    code: 'ENETUNREACH',
  });
  await expect(dialTcp({ address: 'example', port: 1 })).rejects.toMatchObject({
    code: 'EINVAL',
    syscall: 'getaddrinfo',
  });
});

test('UDP sockets of two namespaces talk', async () => {
  const server = createSocket('udp4');
  const serverFd = bindUdp({ netns: pair.two, address: '192.0.2.2', port: 0 });
  const { port } = localAddress(serverFd);
  server.bind({ fd: serverFd }); // 'listening' comes within the call
  const client = createSocket('udp4');
  client.bind({ fd: bindUdp({ netns: pair.one, address: '192.0.2.1', port: 0 }) });
  client.send('ping', port, '192.0.2.2');
  const [bytes, from] = await once(server, 'message');
  expect(String(bytes)).toBe('ping');
  expect(from.address).toBe('192.0.2.1');
  client.close();
  server.close();
});

test('IPv6 listens beside IPv4 on the same port', () => {
  const six = listenTcp({ netns: pair.two, address: '::', port: 0, v6Only: true });
  const { port, address } = localAddress(six);
  expect(address).toBe('::');
  const four = listenTcp({ netns: pair.two, address: '0.0.0.0', port });
  expect(() => listenTcp({ netns: pair.two, address: '0.0.0.0', port })).toThrow(/EADDRINUSE/);
  for (const fd of [six, four]) new Socket({ fd }).destroy();
});

test('peerCredentials tells who is at the other end of a Unix socket', async () => {
  const path = `/run/${prefix}.sock`;
  const server = createServer();
  server.listen(path);
  try {
    await once(server, 'listening');
    const client = connect(path);
    const [socket] = (await once(server, 'connection')) as [Socket & { _handle: { fd: number } }];
    expect(peerCredentials(socket._handle.fd)).toEqual({
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    client.destroy();
    socket.destroy();
  } finally {
    server.close();
    rmSync(path, { force: true });
  }
});
