/**
 * The messages of rtnetlink that we speak, as tables: linux/if_link.h, if_addr.h, rtnetlink.h, neighbour.h, fib_rules.h.
 *
 * - Names are the kernel's without prefix, in camelCase.
 */
import { type Family, familyOf } from '../address.ts';
import { address, attributeSet, bytes, flag, mac, nested, s32, string, u8, u16be, u32 } from './attributes.ts';
import { messageType } from './message.ts';

export const rtm = {
  newLink: 16,
  delLink: 17,
  getLink: 18,
  setLink: 19,
  newAddr: 20,
  delAddr: 21,
  getAddr: 22,
  newRoute: 24,
  delRoute: 25,
  getRoute: 26,
  newNeigh: 28,
  delNeigh: 29,
  getNeigh: 30,
  newRule: 32,
  delRule: 33,
  getRule: 34,
  getNsid: 90,
} as const;

/** RTNLGRP_…, for NetlinkSocket groups. */
export const groups = { link: 1, ipv4Addr: 5, ipv4Route: 7, ipv6Addr: 9, ipv6Route: 11 } as const;

const AF_INET = 2;
const AF_INET6 = 10;
export const familyNumber = (family: Family): number => (family === 4 ? AF_INET : AF_INET6);
export const familyNumberOf = (text: string): number => familyNumber(familyOf(text));
export const familyOfNumber = (number: number): Family | undefined =>
  number === AF_INET ? 4 : number === AF_INET6 ? 6 : undefined;

export const linkFlags = { up: 1, loopback: 8 } as const;

const linkInfo = attributeSet({ kind: [1, string], data: [2, bytes] });

export const linkMessage = messageType(
  { family: 'u8', padFamily: 'u8', type: 'u16', index: 's32', flags: 'u32', change: 'u32' },
  attributeSet({
    address: [1, mac],
    name: [3, string],
    mtu: [4, u32],
    /** Index of the lower link; of a veth, the peer's, in the peer's namespace. */
    link: [5, u32],
    master: [10, u32],
    linkInfo: [18, nested(linkInfo)],
    group: [27, u32],
    netnsFd: [28, u32],
    /** Absent: `link` is in the same namespace. */
    linkNetnsid: [37, s32],
    /** In a request: the namespace to look in, by its id in ours. */
    targetNetnsid: [46, s32],
  }),
);

/** VETH_INFO_PEER holds a whole ifinfomsg with attributes. */
export const vethInfo = attributeSet({ peer: [1, bytes] });
/** The same in IFLA_NETKIT_PEER_INFO. Without a policy packets pass where no program says otherwise. */
export const netkitInfo = attributeSet({ peer: [1, bytes], mode: [5, u32] });
/** With MAC addresses, as on a veth pair. */
export const NETKIT_L2 = 0;

/** One device for all peers (collect metadata): the packet's own key says which. */
export const vxlanInfo = attributeSet({ learning: [7, u8], port: [15, u16be], collectMetadata: [25, u8] });
export const geneveInfo = attributeSet({ port: [5, u16be], collectMetadata: [6, flag] });

export const addressFlags = { tentative: 0x40, nodad: 0x02, dadFailed: 0x08 } as const;
export const scopes = { universe: 0, link: 253, host: 254, nowhere: 255 } as const;

export const addressMessage = messageType(
  { family: 'u8', prefixLength: 'u8', flags: 'u8', scope: 'u8', index: 'u32' },
  attributeSet({
    /** Of a point-to-point link, the other end's; else the same as `local`. */
    address: [1, address],
    /** Only IPv4 and point-to-point IPv6 links send it. */
    local: [2, address],
    flags: [8, u32],
    /** Who set the address (Linux 5.18). */
    protocol: [11, u8],
  }),
);

export const routeTables = { all: 0, main: 254 } as const;
export const routeTypes = { unspecified: 0, unicast: 1, unreachable: 7 } as const;
export const routeFlags = { onlink: 4, cloned: 0x200 } as const;

export const routeMessage = messageType(
  {
    family: 'u8',
    dstLength: 'u8',
    srcLength: 'u8',
    tos: 'u8',
    table: 'u8',
    protocol: 'u8',
    scope: 'u8',
    type: 'u8',
    flags: 'u32',
  },
  attributeSet({
    dst: [1, address],
    oif: [4, u32],
    gateway: [5, address],
    priority: [6, u32],
    prefSrc: [7, address],
    metrics: [8, nested(attributeSet({ mtu: [2, u32] }))],
    /** struct rtnexthop entries. */
    multipath: [9, bytes],
    table: [15, u32],
  }),
);

/** Interface indexes of RTA_MULTIPATH: struct rtnexthop {u16 len, u8 flags, u8 hops, s32 ifindex}, then attributes. */
export function multipathLinks(multipath: Buffer): number[] {
  const links: number[] = [];
  for (let offset = 0; offset + 8 <= multipath.length; ) {
    links.push(multipath.readInt32LE(offset + 4));
    const length = multipath.readUInt16LE(offset);
    if (length < 8) break;
    offset += (length + 3) & ~3;
  }
  return links;
}

export const neighbourStates = { permanent: 0x80 } as const;

export const neighbourMessage = messageType(
  { family: 'u8', padFamily: 'u8', padAfter: 'u16', index: 's32', state: 'u16', flags: 'u8', type: 'u8' },
  attributeSet({ dst: [1, address], linkAddress: [2, mac], protocol: [12, u8] }),
);

/** FR_ACT_…: look into a table of routes. */
export const ruleActions = { toTable: 1 } as const;

export const ruleMessage = messageType(
  {
    family: 'u8',
    dstLength: 'u8',
    srcLength: 'u8',
    tos: 'u8',
    table: 'u8',
    padOne: 'u8',
    padTwo: 'u8',
    action: 'u8',
    flags: 'u32',
  },
  attributeSet({
    dst: [1, address],
    src: [2, address],
    iif: [3, string],
    priority: [6, u32],
    mark: [10, u32],
    table: [15, u32],
    mask: [16, u32],
    protocol: [21, u8],
  }),
);

/** struct rtgenmsg with NETNSA_… attributes. */
export const nsidMessage = messageType({ family: 'u8' }, attributeSet({ nsid: [1, s32], fd: [3, u32] }));

export type LinkMessage = ReturnType<typeof linkMessage.decode>;
export type AddressMessage = ReturnType<typeof addressMessage.decode>;
export type RouteMessage = ReturnType<typeof routeMessage.decode>;
export type RuleMessage = ReturnType<typeof ruleMessage.decode>;
