/**
 * Table `addrs`: addresses of our links, in the node's and in pods' namespaces.
 *
 * - IPv6 addresses skip duplicate address detection: they are usable at once.
 * - An address is ours by its protocol mark, or where the kernel has none (before Linux 5.18) by the link it is on.
 */
import { isErrno } from '../../native/index.ts';
import { type AddrRow, addrKey } from '../../state/tables.ts';
import { formatAddress, parsePrefix } from '../address.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { OURS } from '../marks.ts';
import { messageFlags } from '../netlink/message.ts';
import type { RouteSocket } from '../netlink/route-socket.ts';
import {
  type AddressMessage,
  addressFlags,
  addressMessage,
  familyNumberOf,
  type LinkMessage,
  rtm,
  scopes,
} from '../netlink/rtnetlink.ts';
import { byNamespace, openNamespace, visitNamespaces, withoutNamespace } from './namespaces.ts';

export class AddrsDriver implements Driver {
  readonly tables = ['addrs'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;

  readonly #marked: boolean;

  /** `marked`: this kernel keeps the protocol of addresses. */
  constructor(netns?: string, marked = true) {
    this.#home = netns;
    this.#marked = marked;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return byNamespace(
      ops,
      (op) => rowOf(op).netns,
      (netns, group) => {
        using socket = openNamespace(netns, this.#home);
        return group.map((op) => (socket ? applyOne(socket, op, rowOf(op)) : withoutNamespace(op, netns)));
      },
    );
  }

  async dump(_table: string, known: ReadonlyMap<string, unknown>): Promise<Map<string, AddrRow>> {
    const found = new Map<string, AddrRow>();
    const paths = [...known.values()].map((row) => (row as AddrRow).netns);
    await visitNamespaces(['', ...paths], this.#home, (netns, socket) => {
      const links = new Map(socket.links().map((link) => [link.index, link]));
      for (const message of socket.addresses()) {
        const link = links.get(message.index);
        const row = { netns, dev: link?.attributes.name ?? `#${message.index}`, address: textOf(message) };
        if (known.has(addrKey(row)) || this.#isOurs(message, link)) found.set(addrKey(row), row);
      }
    });
    return found;
  }

  #isOurs({ scope, attributes }: AddressMessage, link: LinkMessage | undefined): boolean {
    if (this.#marked) return attributes.protocol === OURS;
    return scope === scopes.universe && link?.attributes.group === OURS;
  }
}

function applyOne(socket: RouteSocket, op: Op, row: AddrRow): OpResult {
  return attempt(op, () => {
    const { bytes, length } = parsePrefix(row.address, 'allowed');
    const link = socket.link(row.dev);
    const address = formatAddress(bytes);
    const message = {
      family: familyNumberOf(row.address),
      prefixLength: length,
      scope: scopes.universe,
      index: link?.index ?? 0,
      attributes: { local: address, address, flags: addressFlags.nodad, protocol: OURS },
    };
    if (op.action === 'put') {
      // Without a link the kernel's answer is the error: ENODEV.
      socket.change(addressMessage.encode(rtm.newAddr, messageFlags.create | messageFlags.replace, message));
    } else if (link) {
      remove(socket, message);
    }
  });
}

function remove(socket: RouteSocket, message: Parameters<typeof addressMessage.encode>[2]): void {
  try {
    socket.change(addressMessage.encode(rtm.delAddr, 0, message));
  } catch (error) {
    if (!isErrno(error, 'EADDRNOTAVAIL', 'ENODEV')) throw error;
  }
}

/** Of a delete, the row is in its key: `[netns|]dev|address`. */
function rowOf(op: Op): AddrRow {
  if (op.action === 'put') return op.value as AddrRow;
  const parts = op.key.split('|');
  const [dev = '', address = ''] = parts.slice(-2);
  return { netns: parts.slice(0, -2).join('|'), dev, address };
}

function textOf({ prefixLength, attributes }: AddressMessage): string {
  return `${attributes.local ?? attributes.address ?? ''}/${prefixLength}`;
}
