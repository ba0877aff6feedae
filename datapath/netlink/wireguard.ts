/**
 * The messages of WireGuard's generic netlink family (linux/wireguard.h).
 *
 * - A private key is only ever encoded: what is decoded has none, so it can be logged.
 */
import { address, attributeSet, bytes, listOf, string, u8, u16, u32 } from './attributes.ts';
import { genericHeader } from './generic-socket.ts';
import { messageType } from './message.ts';

export const WIREGUARD_FAMILY = 'wireguard';
export const WIREGUARD_VERSION = 1;
export const wireguardCommands = { getDevice: 0, setDevice: 1 } as const;
export const peerFlags = { removeMe: 1, updateOnly: 4 } as const;

const allowedIp = attributeSet({ family: [1, u16], address: [2, address], prefixLength: [3, u8] });

const peer = attributeSet({
  publicKey: [1, bytes],
  flags: [3, u32],
  /** struct sockaddr_in or sockaddr_in6. */
  endpoint: [4, bytes],
  keepaliveSeconds: [5, u16],
  /** struct __kernel_timespec; all zero: never. */
  lastHandshake: [6, bytes],
  allowedIps: [9, listOf(allowedIp)],
});

const told = { name: [2, string], publicKey: [4, bytes], listenPort: [6, u16], fwmark: [7, u32] } as const;
export const wireguardMessage = messageType(genericHeader, attributeSet({ ...told, peers: [8, listOf(peer)] }));
/** The one message that carries the private key. */
export const wireguardKeyMessage = messageType(genericHeader, attributeSet({ ...told, privateKey: [3, bytes] }));

export type WireguardPeer = NonNullable<ReturnType<typeof wireguardMessage.decode>['attributes']['peers']>[number];
export type AllowedIp = ReturnType<typeof allowedIp.decode>;
