/**
 * Ends UDP sockets that are connected to a backend that is gone, in chosen network namespaces, by sock_diag.
 *
 * - A connected socket was translated once, when it connected: only its end makes its owner choose anew. The owner's next call
 *   fails with ECONNABORTED.
 * - Only sockets that reached the backend through a service are ended; one that a client connected to the backend's own address is
 *   its owner's business.
 * - TCP connections are left alone: they live as long as their backend does.
 */
import { setImmediate } from 'node:timers/promises';
import { type BpfMap, type Btf, isErrno, NativeError, NetlinkSocket } from '../native/index.ts';
import { type BackendRow, backendKey } from '../state/tables.ts';
import { readMapped } from './address.ts';
import { Codecs, encode } from './codec.ts';

/** linux/sock_diag.h, linux/inet_diag.h */
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const NLMSG_HEADER_BYTES = 16;
/** struct inet_diag_req_v2 and inet_diag_msg begin alike: four bytes, then (in a request) the states, then the socket's id. */
const REQUEST_BYTES = 56;
const REQUEST_ID_AT = 8;
const ANSWER_ID_AT = 4;
const ID_BYTES = 48;
const ID = { destinationPort: 2, destination: 20, cookie: 40 } as const;
const AF_INET = 2;
const AF_INET6 = 10;
const IPPROTO_UDP = 17;
/** A UDP socket is "established" when it is connected: TCP_ESTABLISHED. */
const CONNECTED = 1 << 1;

interface ConnectedSocket {
  /** Names the destination as `backendKey` does. */
  peer: string;
  cookie: bigint;
  address: string;
  port: number;
  /** What destroys exactly this one. */
  request: Buffer;
}

export interface DestroyOptions {
  /** Paths of namespaces to look in; undefined is the caller's own. One that is gone is fine. */
  namespaces: Iterable<string | undefined>;
  /** Did this socket reach that address through a service? */
  isTranslated(cookie: bigint, address: string, port: number): boolean;
}

/** Asks the map where the socket programs note what they translated. */
export function translatedSockets(map: BpfMap, btf: Btf): DestroyOptions['isTranslated'] {
  const codec = new Codecs(btf).struct('sock_revnat_key');
  return (cookie, addr, port) => map.get(encode(codec, { cookie, addr, port, proto: IPPROTO_UDP })) !== undefined;
}

const protocols: Readonly<Record<number, BackendRow['protocol']>> = { 6: 'TCP', 17: 'UDP', 132: 'SCTP' };

/** Rows of the map `backends`. */
export function backendsIn(map: BpfMap, codecs: Codecs): BackendRow[] {
  const { value } = codecs.map('backends');
  return map.entries().map(([, bytes]) => {
    const { addr, port, proto } = value.read(bytes, 0) as { addr: string; port: number; proto: number };
    return { address: addr, port, protocol: protocols[proto] ?? 'TCP' };
  });
}

/** How many sockets ended. Backends of other protocols than UDP end none. */
export async function destroySockets(backends: readonly BackendRow[], options: DestroyOptions): Promise<number> {
  const gone = new Set(backends.filter(({ protocol }) => protocol === 'UDP').map(backendKey));
  return gone.size === 0 ? 0 : endAll(options, () => (peer) => gone.has(peer));
}

/** Those whose backend has no row at all: it went, and an agent died before it ended them. How many. */
export function destroyOrphans(rows: () => Iterable<BackendRow>, options: DestroyOptions): Promise<number> {
  // The rows are read after the sockets: whoever connects to a new backend meanwhile is in the rows then.
  return endAll(options, () => {
    const there = new Set([...rows()].filter(({ protocol }) => protocol === 'UDP').map(backendKey));
    return (peer) => !there.has(peer);
  });
}

async function endAll(options: DestroyOptions, judge: () => (peer: string) => boolean): Promise<number> {
  let ended = 0;
  for (const netns of options.namespaces) {
    ended += endIn(netns, judge, options.isTranslated);
    await setImmediate();
  }
  return ended;
}

function endIn(
  netns: string | undefined,
  judge: () => (peer: string) => boolean,
  isTranslated: DestroyOptions['isTranslated'],
): number {
  const socket = openIn(netns);
  if (!socket) return 0;
  try {
    const ours = [AF_INET, AF_INET6]
      .flatMap((family) => connectedSockets(socket, family))
      .filter(({ cookie, address, port }) => isTranslated(cookie, address, port));
    if (ours.length === 0) return 0;
    const isGone = judge();
    return ours.filter(({ peer, request }) => isGone(peer) && destroy(socket, request)).length;
  } finally {
    socket.close();
  }
}

function openIn(netns: string | undefined): NetlinkSocket | undefined {
  try {
    return new NetlinkSocket('sock_diag', netns === undefined ? {} : { netns });
  } catch (error) {
    if (isErrno(error, 'ENOENT', 'EINVAL')) return undefined; // the pod's namespace went before its backend
    throw error;
  }
}

function requestOf(type: number, family: number, id: Buffer): Buffer {
  const message = Buffer.alloc(NLMSG_HEADER_BYTES + REQUEST_BYTES);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt8(family, NLMSG_HEADER_BYTES);
  message.writeUInt8(IPPROTO_UDP, NLMSG_HEADER_BYTES + 1);
  message.writeUInt32LE(CONNECTED, NLMSG_HEADER_BYTES + 4);
  id.copy(message, NLMSG_HEADER_BYTES + REQUEST_ID_AT);
  return message;
}

const MAPPED_PREFIX = Buffer.from([...Array<number>(10).fill(0), 0xff, 0xff]);

function connectedSockets(socket: NetlinkSocket, family: number): ConnectedSocket[] {
  const answers = socket.request(requestOf(SOCK_DIAG_BY_FAMILY, family, Buffer.alloc(0)), { dump: true });
  return answers.map((answer) => {
    const at = NLMSG_HEADER_BYTES + ANSWER_ID_AT;
    const id = answer.subarray(at, at + ID_BYTES);
    const destination = id.subarray(ID.destination, ID.destination + 16);
    const mapped = family === AF_INET ? Buffer.concat([MAPPED_PREFIX, destination.subarray(0, 4)]) : destination;
    const address = readMapped(mapped, 0);
    const port = id.readUInt16BE(ID.destinationPort);
    return {
      peer: backendKey({ address, port, protocol: 'UDP' }),
      cookie: id.readBigUInt64LE(ID.cookie),
      address,
      port,
      request: requestOf(SOCK_DESTROY, family, Buffer.from(id)),
    };
  });
}

/** False when it had ended by itself. */
function destroy(socket: NetlinkSocket, request: Buffer): boolean {
  try {
    socket.request(request);
    return true;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}

/** Asks for the end of a socket that there is not: a kernel that can end sockets says so. */
export function canDestroySockets(): boolean {
  const socket = new NetlinkSocket('sock_diag');
  try {
    connectedSockets(socket, AF_INET); // ENOENT here: no udp_diag
    destroy(socket, requestOf(SOCK_DESTROY, AF_INET, Buffer.alloc(ID_BYTES)));
    return true;
  } catch (error) {
    if (error instanceof NativeError && ['ENOENT', 'EOPNOTSUPP', 'EPROTONOSUPPORT'].includes(error.code)) return false;
    throw error;
  } finally {
    socket.close();
  }
}
