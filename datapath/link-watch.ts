/**
 * The links of the node's namespace as events: the first list, then each change, from rtnetlink.
 *
 * - A link is said again only when one of its facts changed; a rename is a delete and an upsert.
 * - When the kernel had to drop messages, everything is listed anew and what differs is said.
 */
import { Observable } from 'rxjs';
import type { ClusterEvent, LinkFacts } from '../cluster/events.ts';
import { type NetlinkEvent, NetlinkSocket } from '../native/index.ts';
import { canonical } from '../state/tables.ts';
import { typeOf } from './netlink/message.ts';
import { RouteSocket } from './netlink/route-socket.ts';
import {
  type AddressMessage,
  addressFlags,
  addressMessage,
  groups,
  type LinkMessage,
  linkFlags,
  linkMessage,
  multipathLinks,
  type RouteMessage,
  routeMessage,
  routeTypes,
  rtm,
  scopes,
} from './netlink/rtnetlink.ts';

export interface LinkWatchOptions {
  netns?: string | undefined;
}

interface Link {
  message: LinkMessage;
  addresses: Set<string>;
}

/** Between a list that failed and the next try. */
const RETRY_MS = 1000;

/** Cold: each subscription has its own sockets. The first list is followed by `source.synced`; if it fails, so does the stream. */
export function watchLinks({ netns }: LinkWatchOptions = {}): Observable<ClusterEvent> {
  return new Observable((subscriber) => {
    const watch = new LinkWatch(netns, (event) => subscriber.next(event));
    subscriber.add(() => watch.close());
    watch.start();
  });
}

class LinkWatch {
  readonly #emit: (event: ClusterEvent) => void;
  readonly #netns: string | undefined;
  #events: NetlinkSocket;
  readonly #requests: RouteSocket;
  readonly #links = new Map<number, Link>();
  #withDefaultRoute = new Set<number>();
  /** What was last said of a link, by number. */
  readonly #said = new Map<number, { name: string; text: string }>();
  /** Links of which something was heard since. */
  readonly #dirty = new Set<number>();
  #routesChanged = false;
  /** Messages were lost, and the socket was closed. */
  #lost = false;
  #retry: NodeJS.Timeout | undefined;

  constructor(netns: string | undefined, emit: (event: ClusterEvent) => void) {
    this.#emit = emit;
    this.#netns = netns;
    this.#requests = new RouteSocket(netns);
    this.#events = this.#subscribe();
  }

  /** Messages of what changes during the list come after it: they are heard first and handled later. */
  start(): void {
    this.#list();
    this.#say();
    this.#emit({ type: 'source.synced', source: 'links' });
  }

  #subscribe(): NetlinkSocket {
    const socket = new NetlinkSocket('route', {
      ...(this.#netns && { netns: this.#netns }),
      groups: Object.values(groups),
    });
    socket.onMessages((event) => this.#hear(event));
    return socket;
  }

  close(): void {
    clearTimeout(this.#retry);
    this.#events.close();
    this.#requests.close();
  }

  #hear(event: NetlinkEvent): void {
    if (event.kind === 'overrun') {
      // What this socket still holds is from before the loss, and nothing would ever correct it.
      this.#events.close();
      this.#lost = true;
      this.#listAndSay();
      return;
    }
    for (const message of event.messages) this.#learn(message);
    try {
      this.#say();
    } catch {
      this.#listAndSay();
    }
  }

  #listAndSay(): void {
    clearTimeout(this.#retry);
    try {
      if (this.#lost) this.#events = this.#subscribe();
      this.#lost = false;
      this.#list();
      this.#say();
    } catch {
      // Such as a table that changed in each of many lists of it.
      this.#retry = setTimeout(() => this.#listAndSay(), RETRY_MS);
    }
  }

  #list(): void {
    const [links, addresses] = [this.#requests.links(), this.#requests.addresses()];
    this.#links.clear();
    for (const index of this.#said.keys()) this.#dirty.add(index);
    for (const message of links) this.#learnLink(message);
    for (const message of addresses) this.#learnAddress(message, true);
    this.#routesChanged = true;
  }

  #learn(message: Buffer): void {
    switch (typeOf(message)) {
      case rtm.newLink:
        this.#learnLink(linkMessage.decode(message));
        return;
      case rtm.delLink:
        this.#forgetLink(linkMessage.decode(message));
        return;
      case rtm.newAddr:
        this.#learnAddress(addressMessage.decode(message), true);
        return;
      case rtm.delAddr:
        this.#learnAddress(addressMessage.decode(message), false);
        return;
      case rtm.newRoute:
      case rtm.delRoute:
        if (routeMessage.decode(message).dstLength === 0) this.#routesChanged = true;
    }
  }

  #learnLink(message: LinkMessage): void {
    // Bridges announce their ports under their own family, and its messages lack most attributes.
    if (message.family !== 0) return;
    const known = this.#links.get(message.index);
    this.#links.set(message.index, { message, addresses: known?.addresses ?? new Set() });
    this.#dirty.add(message.index);
    // IPv4 routes vanish without a message when their link goes down.
    if (this.#withDefaultRoute.has(message.index)) this.#routesChanged = true;
  }

  #forgetLink(message: LinkMessage): void {
    if (message.family !== 0) return;
    this.#links.delete(message.index);
    this.#dirty.add(message.index);
  }

  #learnAddress(message: AddressMessage, isThere: boolean): void {
    if (message.scope !== scopes.universe) return;
    const link = this.#links.get(message.index);
    if (!link) return;
    const { attributes, prefixLength } = message;
    const text = `${attributes.local ?? attributes.address ?? ''}/${prefixLength}`;
    const isUsable = ((attributes.flags ?? message.flags) & addressFlags.dadFailed) === 0;
    if (isThere && isUsable) link.addresses.add(text);
    else link.addresses.delete(text);
    this.#dirty.add(message.index);
    // Routes from a removed address go without a message, too.
    if (!isThere && this.#withDefaultRoute.has(message.index)) this.#routesChanged = true;
  }

  /** Deletes come first, so that a name that passed from one link to another is there in the end. */
  #say(): void {
    if (this.#routesChanged) this.#learnDefaultRoutes();
    const dirty = [...this.#dirty];
    this.#dirty.clear();
    for (const index of dirty) {
      const link = this.#links.get(index);
      const said = this.#said.get(index);
      if (!said || (link && nameOf(link) === said.name)) continue;
      this.#said.delete(index);
      this.#emit({ type: 'link.deleted', name: said.name });
    }
    for (const index of dirty) {
      const link = this.#links.get(index);
      if (!link) continue;
      const facts = this.#factsOf(link);
      const text = canonical(facts);
      if (this.#said.get(index)?.text === text) continue;
      this.#said.set(index, { name: facts.name, text });
      this.#emit({ type: 'link.upserted', link: facts });
    }
  }

  #learnDefaultRoutes(): void {
    const routes = [...this.#requests.routes(4), ...this.#requests.routes(6)];
    const links = new Set(routes.flatMap(defaultLinks));
    for (const index of links.symmetricDifference(this.#withDefaultRoute)) this.#dirty.add(index);
    this.#withDefaultRoute = links;
    this.#routesChanged = false;
  }

  #factsOf(link: Link): LinkFacts {
    const { attributes, flags, index } = link.message;
    return {
      name: nameOf(link),
      kind: attributes.linkInfo?.kind ?? '',
      mac: attributes.address ?? '',
      mtu: attributes.mtu ?? 0,
      up: (flags & linkFlags.up) !== 0,
      addresses: [...link.addresses].sort(),
      defaultRoute: this.#withDefaultRoute.has(index),
    };
  }
}

const nameOf = ({ message }: Link): string => message.attributes.name ?? '';

function defaultLinks({ dstLength, type, attributes }: RouteMessage): number[] {
  if (dstLength !== 0 || type !== routeTypes.unicast) return [];
  if (attributes.multipath) return multipathLinks(attributes.multipath);
  return attributes.oif === undefined ? [] : [attributes.oif];
}
