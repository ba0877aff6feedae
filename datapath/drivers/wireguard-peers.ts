/**
 * Table `wireguard.peers`: other nodes behind a WireGuard link of ours.
 *
 * - An allowed address has one peer at a time. A put takes it from whoever has it, in one step of the kernel: packets always find one of the two.
 * - The kernel's "replace allowed IPs" empties the peer first, so it is not used: what is new is added, and what is to go is moved to a
 *   peer without endpoint, which is removed in the same message.
 * - Packets that come in between find that peer and are lost. So what need not be said, being inside another range of its peer, is not said:
 *   taking it away again would lose packets that the range carries.
 * - A peer that takes addresses from another, as after a change of keys, is greeted at once: packets wait for a session, and the other end
 *   would try again to begin one after 5 s only.
 * - A peer that was heard from of late may have moved: its endpoint is then the kernel's to know, and dumped as believed.
 */
import { randomBytes } from 'node:crypto';
import { isErrno } from '../../native/index.ts';
import type { WireguardPeerRow } from '../../state/tables.ts';
import { familyOf, formatAddress, parsePrefix } from '../address.ts';
import type { Op, OpResult } from '../driver.ts';
import { attempt } from '../errors.ts';
import { GenericSocket } from '../netlink/generic-socket.ts';
import { familyNumberOf } from '../netlink/rtnetlink.ts';
import {
  type AllowedIp,
  peerFlags,
  WIREGUARD_FAMILY,
  WIREGUARD_VERSION,
  type WireguardPeer,
  wireguardCommands,
  wireguardMessage,
} from '../netlink/wireguard.ts';
import { parseKey } from '../wireguard-keys.ts';
import { allowSame, coverage } from './allowed-ips.ts';
import { formatEndpoint, parseEndpoint } from './wireguard-endpoint.ts';

/** REJECT_AFTER_TIME of WireGuard: a session that is older carries nothing. */
const SESSION_SECONDS = 180;
/** An attribute has 64 KiB; an allowed IPv6 address takes 44 bytes. */
const ADDRESSES_PER_MESSAGE = 1000;
const KEY_BYTES = 32;
/** Any: the kernel sends a keepalive when it is told to send them. */
const GREETING_SECONDS = 25;

export interface WireguardDevice {
  publicKey: string;
  listenPort: number;
  fwmark: number;
  peers: WireguardPeer[];
}

export class WireguardPeers {
  readonly #home: string | undefined;
  /** By link: who has an allowed address. Read from the kernel when needed, then kept in step. */
  readonly #owners = new Map<string, Map<string, string>>();

  constructor(netns?: string) {
    this.#home = netns;
  }

  /** After a link went or came. */
  forget(dev: string): void {
    this.#owners.delete(dev);
  }

  apply(ops: readonly Op[]): OpResult[] {
    using socket = new GenericSocket(WIREGUARD_FAMILY, this.#home);
    return ops.map((op) =>
      attempt(op, () => {
        if (op.action === 'put') this.#put(socket, op);
        else this.#delete(socket, op);
        return undefined;
      }),
    );
  }

  #put(socket: GenericSocket, { key, value, before }: Op): void {
    const row = value as WireguardPeerRow;
    const publicKey = parseKey(key, 'public key of the peer');
    const isCovered = coverage(row.allowedIps);
    const had = before as WireguardPeerRow | undefined;
    const endpoint = row.endpoint === '' ? undefined : parseEndpoint(row.endpoint);
    if (had && had.dev !== row.dev) this.#remove(socket, had.dev, key);
    const owners = this.#ownersOn(socket, row.dev);
    const isNew = had === undefined || had.dev !== row.dev || had.endpoint !== row.endpoint;
    const takesOver = row.allowedIps.some((cidr) => (owners.get(cidr) ?? key) !== key);
    const keepaliveSeconds = takesOver ? row.keepaliveSeconds || GREETING_SECONDS : row.keepaliveSeconds;
    const whole = { publicKey, keepaliveSeconds, ...(isNew && endpoint && { endpoint }) };
    const said = row.allowedIps.filter((cidr) => !isCovered(cidr) || (owners.get(cidr) ?? key) !== key);
    const leaving = [...owners]
      .filter(([cidr, owner]) => owner === key && !isCovered(cidr, true))
      .map(([cidr]) => cidr);
    try {
      for (const [at, allowedIps] of chunks(said.map(allowedIpOf)))
        set(socket, row.dev, [{ ...(at === 0 ? whole : { publicKey }), allowedIps }]);
      if (keepaliveSeconds !== row.keepaliveSeconds) {
        set(socket, row.dev, [{ publicKey, keepaliveSeconds: row.keepaliveSeconds }]);
      }
      for (const [, allowedIps] of chunks(leaving.map(allowedIpOf), 'none for none')) {
        const nobody = randomBytes(KEY_BYTES);
        set(socket, row.dev, [
          { publicKey: nobody, allowedIps },
          { publicKey: nobody, flags: peerFlags.removeMe },
        ]);
      }
    } catch (error) {
      this.forget(row.dev);
      throw error;
    }
    for (const cidr of leaving) owners.delete(cidr);
    for (const cidr of said) owners.set(cidr, key);
  }

  #delete(socket: GenericSocket, { key, before }: Op): void {
    const had = before as WireguardPeerRow | undefined;
    for (const dev of had ? [had.dev] : this.#owners.keys()) this.#remove(socket, dev, key);
  }

  #remove(socket: GenericSocket, dev: string, key: string): void {
    try {
      set(socket, dev, [{ publicKey: parseKey(key, 'public key of the peer'), flags: peerFlags.removeMe }]);
    } catch (error) {
      if (!isErrno(error, 'ENODEV')) throw error;
    }
    for (const [cidr, owner] of this.#owners.get(dev) ?? []) if (owner === key) this.#owners.get(dev)?.delete(cidr);
  }

  #ownersOn(socket: GenericSocket, dev: string): Map<string, string> {
    const kept = this.#owners.get(dev);
    if (kept) return kept;
    return this.#keep(dev, readDevice(socket, dev)?.peers ?? []);
  }

  #keep(dev: string, peers: readonly WireguardPeer[]): Map<string, string> {
    const owners = new Map(
      peers.flatMap((peer) => (peer.allowedIps ?? []).map((ip) => [cidrOf(ip), keyOf(peer)] as const)),
    );
    this.#owners.set(dev, owners);
    return owners;
  }

  /** Of one link. */
  dump(dev: string, device: WireguardDevice, known: ReadonlyMap<string, unknown>): [string, WireguardPeerRow][] {
    this.#keep(dev, device.peers);
    return device.peers.map((peer) => {
      const believed = known.get(keyOf(peer)) as WireguardPeerRow | undefined;
      const endpoint = peer.endpoint ? formatEndpoint(peer.endpoint) : '';
      const allowedIps = (peer.allowedIps ?? []).map(cidrOf).sort();
      return [
        keyOf(peer),
        {
          dev,
          node: believed?.node ?? '',
          endpoint: believed && endpoint !== '' && wasHeardOf(peer) ? believed.endpoint : endpoint,
          allowedIps: believed && allowSame(believed.allowedIps, allowedIps) ? believed.allowedIps : allowedIps,
          keepaliveSeconds: peer.keepaliveSeconds ?? 0,
        },
      ];
    });
  }
}

/** Undefined: no such link. */
export function readDevice(socket: GenericSocket, name: string): WireguardDevice | undefined {
  const request = { command: wireguardCommands.getDevice, version: WIREGUARD_VERSION, attributes: { name } };
  let parts: Buffer[];
  try {
    parts = socket.dump(wireguardMessage.encode(socket.family, 0, request));
  } catch (error) {
    if (isErrno(error, 'ENODEV', 'EOPNOTSUPP')) return undefined;
    throw error;
  }
  const device: WireguardDevice = { publicKey: '', listenPort: 0, fwmark: 0, peers: [] };
  const peers = new Map<string, WireguardPeer>();
  for (const { attributes } of parts.map(wireguardMessage.decode)) {
    if (attributes.publicKey) device.publicKey = attributes.publicKey.toString('base64');
    device.listenPort = attributes.listenPort ?? device.listenPort;
    device.fwmark = attributes.fwmark ?? device.fwmark;
    for (const peer of attributes.peers ?? []) {
      // A peer with many addresses goes on in the next message.
      const begun = peers.get(keyOf(peer));
      if (begun)
        peers.set(keyOf(peer), { ...begun, allowedIps: [...(begun.allowedIps ?? []), ...(peer.allowedIps ?? [])] });
      else peers.set(keyOf(peer), peer);
    }
  }
  device.peers = [...peers.values()];
  return device;
}

function set(socket: GenericSocket, name: string, peers: WireguardPeer[]): void {
  const attributes = { name, peers };
  const request = { command: wireguardCommands.setDevice, version: WIREGUARD_VERSION, attributes };
  socket.change(wireguardMessage.encode(socket.family, 0, request));
}

/** At least one, unless there is nothing to say of none. */
function* chunks(
  all: AllowedIp[],
  empty: 'one for none' | 'none for none' = 'one for none',
): Generator<[number, AllowedIp[]]> {
  if (all.length === 0 && empty === 'one for none') yield [0, []];
  for (let at = 0; at < all.length; at += ADDRESSES_PER_MESSAGE) yield [at, all.slice(at, at + ADDRESSES_PER_MESSAGE)];
}

function allowedIpOf(cidr: string): AllowedIp {
  const { bytes, length } = parsePrefix(cidr);
  return { family: familyNumberOf(cidr), address: formatAddress(bytes), prefixLength: length };
}

const cidrOf = ({ address = '', prefixLength }: AllowedIp): string =>
  `${address}/${prefixLength ?? (familyOf(address) === 4 ? 32 : 128)}`;
const keyOf = ({ publicKey }: WireguardPeer): string => publicKey?.toString('base64') ?? '';

function wasHeardOf({ lastHandshake }: WireguardPeer): boolean {
  if (!lastHandshake || lastHandshake.length < 8) return false;
  return Date.now() / 1000 - Number(lastHandshake.readBigInt64LE(0)) < SESSION_SECONDS;
}
