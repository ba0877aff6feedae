/** IP protocols that policies name, by their names there. Others are numbers, in text too. */
export const protocolNumbers = {
  ICMP: 1,
  IGMP: 2,
  IPIP: 4,
  TCP: 6,
  UDP: 17,
  IPV6: 41,
  GRE: 47,
  ESP: 50,
  AH: 51,
  ICMPv6: 58,
  VRRP: 112,
  SCTP: 132,
} as const;
export type ProtocolName = keyof typeof protocolNumbers;
