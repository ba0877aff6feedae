// SPDX-License-Identifier: Apache-2.0
/**
 * ICMP echo over a raw socket of one family: requests out, replies in.
 *
 * - Replies to others' requests are heard too: tell one's own by the payload.
 */
import { addon, type WatchPointer } from './addon.ts';

export interface EchoReply {
  /** Who replied. */
  readonly address: string;
  readonly identifier: number;
  readonly sequence: number;
  readonly payload: Buffer;
}

export class EchoSocket {
  #watch: WatchPointer | undefined;

  /** `netns` is a path; default: the caller's. Does not keep the process alive. */
  constructor(options: { readonly family: 4 | 6; readonly netns?: string }, onReply: (reply: EchoReply) => void) {
    this.#watch = addon().echoOpen(options.family, options.netns, (address, identifier, sequence, payload) =>
      onReply({ address, identifier, sequence, payload }),
    );
    addon().watchUnref(this.#watch);
  }

  /** Identifier and sequence have 16 bits. Throws what the kernel says at once, such as ENETUNREACH. */
  send(address: string, identifier: number, sequence: number, payload: Uint8Array): void {
    if (this.#watch === undefined) throw new TypeError('echo socket is closed');
    addon().echoSend(this.#watch, address, identifier, sequence, payload);
  }

  close(): void {
    if (this.#watch !== undefined) addon().watchClose(this.#watch);
    this.#watch = undefined;
  }
}
