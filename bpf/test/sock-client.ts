// SPDX-License-Identifier: Apache-2.0
/** A process with sockets, told over IPC what to do with them: the tests run it inside a cgroup and a network namespace. */
import { createSocket, type Socket as Datagrams } from 'node:dgram';
import { connect, createServer, isIPv6, type Socket as Stream } from 'node:net';

export interface End {
  address: string;
  port: number;
}
/** Requests by name, with their answers. */
export interface Calls {
  /** Connects, reads what the server says, and who it believes to be talking to. */
  tcp(to: End): { said: string; peer: End };
  /** Opens a connection, which stays open under its number. */
  openTcp(to: End): number;
  closeTcp(connection: number): null;
  /** Asks `times` times over one socket that is not connected. */
  ask(to: End, times: number): { said: string; from: End }[];
  /** Opens a connected UDP socket, which stays open under its number. */
  open(to: End): { socket: number; peer: End };
  /** Asks over it. */
  askOpen(socket: number): { said: string; from: End };
  close(socket: number): null;
  bind(proto: 'TCP' | 'UDP', at: End): null;
}
export interface Request {
  id: number;
  call: keyof Calls;
  args: unknown[];
}
export interface Answer {
  id: number;
  value?: unknown;
  /** errno */
  error?: string;
}

const ANSWER_WITHIN_MS = 2_000;
const opened: Datagrams[] = [];
const streams: Stream[] = [];

function tcp({ address, port }: End): Promise<ReturnType<Calls['tcp']>> {
  return new Promise((done, fail) => {
    let said = '';
    let peer: End = { address: '', port: 0 };
    const socket = connect({ host: address, port }, () => {
      peer = { address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 };
    });
    socket.on('data', (text) => {
      said += text;
    });
    socket.on('end', () => done({ said, peer }));
    socket.on('error', fail);
  });
}

function openTcp({ address, port }: End): Promise<number> {
  return new Promise((done, fail) => {
    // The server's end comes at once; half of the connection stays.
    const stream = connect({ host: address, port, allowHalfOpen: true }, () => done(streams.push(stream) - 1));
    stream.on('error', fail).resume();
  });
}

/** The next datagram, or the error that came instead. */
function next(socket: Datagrams, send: (sent: (error: Error | null) => void) => void) {
  return new Promise<{ said: string; from: End }>((done, fail) => {
    const timer = setTimeout(() => end(new Error('no answer')), ANSWER_WITHIN_MS);
    const end = (error: Error | null, text?: Buffer, from?: End) => {
      clearTimeout(timer);
      socket.removeAllListeners('message').removeAllListeners('error');
      socket.on('error', () => {});
      if (error) fail(error);
      else done({ said: String(text), from: { address: from?.address ?? '', port: from?.port ?? 0 } });
    };
    socket.on('message', (text, from) => end(null, text, from));
    socket.on('error', (error) => end(error));
    send((error) => error && end(error));
  });
}

const socketFor = (address: string): Datagrams => createSocket(isIPv6(address) ? 'udp6' : 'udp4');

async function ask({ address, port }: End, times: number): Promise<ReturnType<Calls['ask']>> {
  const socket = socketFor(address);
  const answers = [];
  try {
    for (let i = 0; i < times; i++) answers.push(await next(socket, (sent) => socket.send('who', port, address, sent)));
  } finally {
    socket.close();
  }
  return answers;
}

async function open({ address, port }: End): Promise<ReturnType<Calls['open']>> {
  const socket = socketFor(address);
  await new Promise<void>((done, fail) => {
    // The types know of no argument, but that is where an error comes.
    socket.connect(port, address, ((error?: Error) => (error ? fail(error) : done())) as () => void);
  });
  opened.push(socket);
  const peer = socket.remoteAddress();
  return { socket: opened.length - 1, peer: { address: peer.address, port: peer.port } };
}

function opening(number: number): Datagrams {
  const socket = opened[number];
  if (!socket) throw new Error(`no socket ${number}`);
  return socket;
}

async function bind(proto: 'TCP' | 'UDP', { address, port }: End): Promise<null> {
  if (proto === 'UDP') {
    const socket = socketFor(address);
    await new Promise<void>((done, fail) => socket.once('error', fail).bind(port, address, () => done()));
    socket.close();
    return null;
  }
  const server = createServer();
  await new Promise<void>((done, fail) => server.once('error', fail).listen(port, address, () => done()));
  server.close();
  return null;
}

const calls: { [Name in keyof Calls]: (...args: Parameters<Calls[Name]>) => unknown } = {
  tcp,
  openTcp,
  closeTcp: (number) => void streams[number]?.destroy(),
  ask,
  open,
  bind,
  askOpen: (number) => next(opening(number), (sent) => opening(number).send('who', sent)),
  close: (number) => void opening(number).close(),
};

async function answer({ id, call, args }: Request): Promise<Answer> {
  try {
    const value = await (calls[call] as (...args: unknown[]) => unknown)(...args);
    return { id, value: value ?? null };
  } catch (error) {
    return { id, error: (error as NodeJS.ErrnoException).code ?? String(error) };
  }
}

process.on('message', (request: Request) => void answer(request).then((reply) => process.send?.(reply)));
process.on('disconnect', () => process.exit());
process.send?.({ id: 0 } satisfies Answer);
