/** An rtnetlink socket of one namespace: typed questions to the kernel, and raw batches of changes. */
import { closeSync, openSync } from 'node:fs';
import { isErrno, type NativeError, NetlinkSocket } from '../../native/index.ts';
import type { Family } from '../address.ts';
import {
  type AddressMessage,
  addressMessage,
  familyNumber,
  type LinkMessage,
  linkMessage,
  nsidMessage,
  type RouteMessage,
  type RuleMessage,
  routeMessage,
  routeTables,
  rtm,
  ruleMessage,
} from './rtnetlink.ts';

/** The kernel's answer for a namespace that has no id in ours. */
const NO_NSID = -1;

export class RouteSocket {
  readonly #socket: NetlinkSocket;

  /** Of the namespace at a path; empty or undefined: the caller's. */
  constructor(netns?: string) {
    this.#socket = new NetlinkSocket('route', netns ? { netns } : {});
  }

  links(): LinkMessage[] {
    return this.#dump(linkMessage.encode(rtm.getLink, 0, {})).map(linkMessage.decode);
  }

  link(name: string): LinkMessage | undefined {
    return this.#link({ attributes: { name } });
  }

  /** With `netnsid` in the namespace that has this id in ours. */
  linkByIndex(index: number, netnsid?: number): LinkMessage | undefined {
    return this.#link({ index, attributes: { targetNetnsid: netnsid } });
  }

  #link(request: Parameters<typeof linkMessage.encode>[2]): LinkMessage | undefined {
    try {
      const [answer] = this.#socket.request(linkMessage.encode(rtm.getLink, 0, request));
      return answer && linkMessage.decode(answer);
    } catch (error) {
      // EINVAL: the namespace of that id is gone.
      if (isErrno(error, 'ENODEV') || (isErrno(error, 'EINVAL') && request.attributes?.targetNetnsid !== undefined)) {
        return undefined;
      }
      throw error;
    }
  }

  addresses(): AddressMessage[] {
    return this.#dump(addressMessage.encode(rtm.getAddr, 0, {})).map(addressMessage.decode);
  }

  /** Of one table of routing, or of all (0); with `protocol` only those that bear it. */
  routes(family: Family, protocol = 0, table: number = routeTables.main): RouteMessage[] {
    // Tables beyond 255 have no place in the header, and their number goes beside it.
    const request = { family: familyNumber(family), protocol, ...tableOf(table) };
    try {
      return this.#dump(routeMessage.encode(rtm.getRoute, 0, request)).map(routeMessage.decode);
    } catch (error) {
      if (isErrno(error, 'ENOENT')) return []; // the table comes into being with its first route
      throw error;
    }
  }

  rules(family: Family): RuleMessage[] {
    return this.#dump(ruleMessage.encode(rtm.getRule, 0, { family: familyNumber(family) })).map(ruleMessage.decode);
  }

  /** The id by which this namespace knows the one at `path`; undefined when it has none, so no link leads there. */
  nsidOf(path: string): number | undefined {
    const fd = openSync(path, 'r');
    try {
      const [answer] = this.#socket.request(nsidMessage.encode(rtm.getNsid, 0, { attributes: { fd } }));
      const nsid = answer && nsidMessage.decode(answer).attributes.nsid;
      return nsid === NO_NSID ? undefined : nsid;
    } finally {
      closeSync(fd);
    }
  }

  /** Changes one thing; throws the kernel's refusal. */
  change(message: Buffer): void {
    this.#socket.request(message);
  }

  changes(messages: readonly Buffer[]): Array<NativeError | null> {
    return this.#socket.batch(messages);
  }

  #dump(message: Buffer): Buffer[] {
    return this.#socket.request(message, { dump: true });
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** A table of routing as messages name it. */
export const tableOf = (table: number): { table: number; attributes: { table?: number } } =>
  table <= 0xff ? { table, attributes: {} } : { table: 0, attributes: { table } };

/** Where a pod's namespace was: the path is gone, or is a file that is no namespace any more. */
export const isNetnsGone = (error: unknown): boolean =>
  (error instanceof Error && 'code' in error && error.code === 'ENOENT') ||
  (isErrno(error, 'EINVAL') && error.syscall === 'setns');
