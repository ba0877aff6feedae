// SPDX-License-Identifier: Apache-2.0
/** Sockets in chosen network namespaces, so that one process can serve and probe in many. Addresses are numeric text. */
import { Socket } from 'node:net';
import { addon } from './addon.ts';
import { NativeError } from './error.ts';

export interface SocketOptions {
  /** Path of the namespace; default: the caller's. */
  readonly netns?: string;
  /** IPv4 or IPv6 literal; link-local ones with zone: `fe80::1%eth0`. */
  readonly address: string;
  readonly port: number;
}

/** A listening descriptor for `server.listen({ fd })`. Port 0 picks one: see `localAddress`. The caller owns it until Node does. */
export function listenTcp(options: SocketOptions & { readonly backlog?: number; readonly v6Only?: boolean }): number {
  return addon().listenTcp(options);
}

/** A bound descriptor for a dgram `socket.bind({ fd })`. `reuse` sets SO_REUSEADDR. */
export function bindUdp(options: SocketOptions & { readonly reuse?: boolean; readonly v6Only?: boolean }): number {
  return addon().bindUdp(options);
}

export interface ConnectOptions extends SocketOptions {
  /** Bind to this address before connecting. */
  readonly sourceAddress?: string;
  readonly sourcePort?: number;
}

/**
 * A descriptor whose connect is under way, for `new net.Socket({ fd })`; Node emits no 'connect' for it, a
 * refusal appears as 'error'. Prefer `dialTcp`.
 */
export function connectTcp(options: ConnectOptions): number {
  return addon().connectTcp(options);
}

/** Connects and resolves with a connected Node socket; rejects with NativeError (ECONNREFUSED, EHOSTUNREACH, ETIMEDOUT after timeoutMs). */
export function dialTcp(options: ConnectOptions & { readonly timeoutMs?: number }): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const fd = connectTcp(options);
    const object = `tcp ${options.address} port ${options.port}`;
    let timer: NodeJS.Timeout | undefined;
    const fail = (error: NativeError) => {
      addon().closeFd(fd);
      reject(error);
    };
    const watch = addon().watchConnect(fd, object, (error) => {
      clearTimeout(timer);
      addon().watchClose(watch);
      if (error !== null) fail(error);
      else resolve(new Socket({ fd, readable: true, writable: true }));
    });
    if (options.timeoutMs !== undefined) {
      timer = setTimeout(() => {
        addon().watchClose(watch);
        fail(
          new NativeError({
            syscall: 'connect',
            errno: 110,
            code: 'ETIMEDOUT',
            detail: `no answer in ${options.timeoutMs} ms`,
            object,
          }),
        );
      }, options.timeoutMs);
    }
  });
}

/** Where a socket is bound: tells the port the kernel picked. */
export function localAddress(fd: number): { readonly address: string; readonly port: number } {
  return addon().localAddress(fd);
}

/** Who is at the other end of a Unix socket (SO_PEERCRED). */
export function peerCredentials(fd: number): { readonly pid: number; readonly uid: number; readonly gid: number } {
  return addon().peerCredentials(fd);
}

/** Closes a descriptor that no Node object has taken over. */
export function closeFd(fd: number): void {
  addon().closeFd(fd);
}
