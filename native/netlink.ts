// SPDX-License-Identifier: Apache-2.0
/**
 * Raw netlink: requests with their answers, batches with one result each, and multicast events.
 *
 * - A message is a whole `struct nlmsghdr` with payload. The caller sets type and flags; length, sequence
 *   number, port and NLM_F_REQUEST (with NLM_F_ACK or NLM_F_DUMP) are filled in here.
 * - Requests and events use two sockets, so an event never mixes with an answer.
 */
import { addon, type WatchPointer } from './addon.ts';
import type { NativeError } from './error.ts';

export type NetlinkProtocol = 'route' | 'generic' | 'xfrm' | 'netfilter' | 'sock_diag';

export interface NetlinkOptions {
  /** The namespace the socket works in, as a path. Default: the caller's. */
  readonly netns?: string;
  /** Multicast groups to join at once (numbers, as RTNLGRP_LINK). */
  readonly groups?: readonly number[];
}

/** `overrun`: the kernel dropped events because we read too late; everything must be listed anew. */
export type NetlinkEvent = { readonly kind: 'messages'; readonly messages: Buffer[] } | { readonly kind: 'overrun' };

export class NetlinkSocket {
  readonly protocol: NetlinkProtocol;
  #request: WatchPointer | undefined;
  #events: WatchPointer | undefined;
  #callback: ((event: NetlinkEvent) => void) | undefined;
  #netns: string | undefined;

  constructor(protocol: NetlinkProtocol, options: NetlinkOptions = {}) {
    this.protocol = protocol;
    this.#netns = options.netns;
    this.#request = addon().netlinkOpen(protocol, options.netns);
    try {
      for (const group of options.groups ?? []) this.joinGroup(group);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Sends one message and returns the answers, headers included, without the final ACK or DONE. An error
   * answer throws, with the kernel's extended-ack text as `detail`. A dump the kernel reports as
   * inconsistent is repeated; EINTR is thrown when it stays so.
   */
  request(message: Uint8Array, options: { readonly dump?: boolean } = {}): Buffer[] {
    return addon().netlinkRequest(this.#open(), message, options.dump ?? false);
  }

  /** Sends many messages in few system calls; one result each, in order: null, or the error. */
  batch(messages: readonly Uint8Array[]): Array<NativeError | null> {
    return addon().netlinkBatch(this.#open(), messages);
  }

  joinGroup(group: number): void {
    this.#open();
    this.#events ??= addon().netlinkWatch(this.protocol, this.#netns, (event) => this.#callback?.(event));
    addon().netlinkJoin(this.#events, group);
  }

  /** Receives the events of the joined groups; events before the first call are lost, so subscribe before listing. Keeps the process alive until `close` or `unref`. */
  onMessages(callback: (event: NetlinkEvent) => void): void {
    this.#callback = callback;
  }

  unref(): void {
    if (this.#events !== undefined) addon().watchUnref(this.#events);
  }

  close(): void {
    if (this.#events !== undefined) addon().watchClose(this.#events);
    if (this.#request !== undefined) addon().netlinkClose(this.#request);
    this.#events = undefined;
    this.#request = undefined;
  }

  #open(): WatchPointer {
    if (this.#request === undefined) throw new TypeError('netlink socket is closed');
    return this.#request;
  }
}
