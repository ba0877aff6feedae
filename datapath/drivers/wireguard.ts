/**
 * Tables `wireguard.devices` and `wireguard.peers`: WireGuard links of the node, and who is behind them.
 *
 * - A link is ours when it is of kind wireguard and in our link group.
 * - The private key comes from `WireguardKeys` by its public half and goes to the kernel; no row, error or dump has it.
 * - Another public key replaces the key in place. Sessions end with it; packets wait for the new ones.
 */
import { isErrno } from '../../native/index.ts';
import type { TableName, WireguardDeviceRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll, kernelError, opName } from '../errors.ts';
import { OURS } from '../marks.ts';
import { GenericSocket } from '../netlink/generic-socket.ts';
import { messageFlags } from '../netlink/message.ts';
import { RouteSocket } from '../netlink/route-socket.ts';
import { type LinkMessage, linkFlags, linkMessage, rtm } from '../netlink/rtnetlink.ts';
import { WIREGUARD_FAMILY, WIREGUARD_VERSION, wireguardCommands, wireguardKeyMessage } from '../netlink/wireguard.ts';
import type { WireguardKeys } from '../wireguard-keys.ts';
import { acceptAnySource } from './reverse-path.ts';
import { readDevice, type WireguardDevice, WireguardPeers } from './wireguard-peers.ts';

const KIND = 'wireguard';
const MISSING =
  'this kernel has no WireGuard (Linux 5.6, CONFIG_WIREGUARD); npm run test:lab shows it on kernels that have it';
const PORT_MAX = 65_535;

export class WireguardDriver implements Driver {
  readonly tables = ['wireguard.devices', 'wireguard.peers'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;
  readonly #keys: Pick<WireguardKeys, 'privateKeyOf'>;
  readonly #peers: WireguardPeers;

  constructor(keys: Pick<WireguardKeys, 'privateKeyOf'>, netns?: string) {
    this.#home = netns;
    this.#keys = keys;
    this.#peers = new WireguardPeers(netns);
  }

  apply(ops: readonly Op[]): OpResult[] {
    return attemptAll(ops, () => {
      if (ops[0]?.table === 'wireguard.peers') return this.#peers.apply(ops);
      using routes = new RouteSocket(this.#home);
      return ops.map((op) =>
        attempt(op, () => {
          this.#peers.forget(op.key);
          if (op.action === 'delete') return remove(routes, op.key);
          try {
            return this.#put(routes, op);
          } catch (error) {
            if (isErrno(error, 'EOPNOTSUPP')) return kernelError('EOPNOTSUPP', `${opName(op)}: ${MISSING}`, false);
            throw error;
          }
        }),
      );
    });
  }

  #put(routes: RouteSocket, op: Op): OpResult {
    const row = op.value as WireguardDeviceRow;
    if (!(Number.isInteger(row.listenPort) && row.listenPort > 0 && row.listenPort <= PORT_MAX)) {
      throw new TypeError(`listenPort is ${row.listenPort}, expected a port`);
    }
    const privateKey = this.#keys.privateKeyOf(row.publicKey);
    if (!privateKey) throw new TypeError(`publicKey ${row.publicKey} is not of a key of this node`);
    const there = routes.link(op.key);
    if (there && !isOurs(there)) {
      return kernelError('EEXIST', `${opName(op)}: a link of that name is there, which is not ours`, false);
    }
    const before = there && { flags: there.flags, mtu: there.attributes.mtu };
    const link = there ?? create(routes, op.key, row);
    try {
      using socket = new GenericSocket(WIREGUARD_FAMILY, this.#home);
      this.#setDevice(socket, op.key, row, privateKey);
      acceptAnySource(op.key, this.#home);
      const up = { index: link.index, flags: linkFlags.up, change: linkFlags.up };
      if (before && (before.flags & linkFlags.up) !== 0 && before.mtu === row.mtu) return undefined;
      routes.change(linkMessage.encode(rtm.setLink, 0, { ...up, attributes: { mtu: row.mtu } }));
    } catch (error) {
      if (!there) remove(routes, op.key);
      throw error;
    } finally {
      privateKey.fill(0);
    }
    return undefined;
  }

  /** What is as it should be is not said: another port makes new sockets, another key new sessions. */
  #setDevice(socket: GenericSocket, name: string, row: WireguardDeviceRow, privateKey: Buffer): void {
    const now = readDevice(socket, name);
    const attributes = {
      name,
      ...(now?.publicKey !== row.publicKey && { privateKey }),
      ...(now?.listenPort !== row.listenPort && { listenPort: row.listenPort }),
      ...(now?.fwmark !== row.fwmark && { fwmark: row.fwmark }),
    };
    if (Object.keys(attributes).length === 1) return;
    const request = { command: wireguardCommands.setDevice, version: WIREGUARD_VERSION, attributes };
    const message = wireguardKeyMessage.encode(socket.family, 0, request);
    try {
      socket.change(message);
    } finally {
      message.fill(0);
    }
  }

  dump(table: TableName, known: ReadonlyMap<string, unknown>): Map<string, unknown> {
    using routes = new RouteSocket(this.#home);
    const found = new Map<string, unknown>();
    const links = routes.links().filter(isOurs);
    if (links.length === 0) return found;
    using socket = new GenericSocket(WIREGUARD_FAMILY, this.#home);
    for (const link of links) {
      const name = link.attributes.name ?? '';
      const device = readDevice(socket, name);
      if (!device) continue;
      if (table === 'wireguard.peers') {
        for (const [key, row] of this.#peers.dump(name, device, known)) found.set(key, row);
      } else if ((link.flags & linkFlags.up) !== 0 || !known.has(name)) {
        // One that is down is put again, which raises it.
        found.set(name, rowOf(link, device));
      }
    }
    return found;
  }
}

const isOurs = ({ attributes }: LinkMessage): boolean =>
  attributes.linkInfo?.kind === KIND && attributes.group === OURS;

const rowOf = (
  { attributes }: LinkMessage,
  { publicKey, listenPort, fwmark }: WireguardDevice,
): WireguardDeviceRow => ({
  publicKey,
  listenPort,
  mtu: attributes.mtu ?? 0,
  fwmark,
});

function create(routes: RouteSocket, name: string, { mtu }: WireguardDeviceRow): LinkMessage {
  const attributes = { name, mtu, group: OURS, linkInfo: { kind: KIND } };
  routes.change(linkMessage.encode(rtm.newLink, messageFlags.create | messageFlags.excl, { attributes }));
  const link = routes.link(name);
  if (!link) throw new TypeError(`link ${name} is gone as soon as it was made`);
  return link;
}

/** A link of that name that is not ours stays. */
function remove(routes: RouteSocket, name: string): undefined {
  const link = routes.link(name);
  if (!link || !isOurs(link)) return;
  try {
    routes.change(linkMessage.encode(rtm.delLink, 0, { index: link.index }));
  } catch (error) {
    if (!isErrno(error, 'ENODEV')) throw error;
  }
}
