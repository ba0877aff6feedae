/** Ports, ICMP types and L7 rules of an element: checked in full, though what is for a proxy is only marked so. */
import type { Fields, Reader } from './fields.ts';
import { readL7 } from './parse-l7.ts';
import { type PortMatch, protocolNumbers, type RuleProtocol } from './rule.ts';

const PORT_LAST = 65_535;
/** As in the CRD. */
const MEMBERS_MAX = 40;
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;
const portProtocols = ['TCP', 'UDP', 'SCTP', 'ANY'];
const ruleProtocols = [...Object.keys(protocolNumbers), 'ANY'];

/** Of one member of toPorts. */
export interface PortRule {
  path: string;
  ports: PortMatch[] | undefined;
  needsL7: string[];
}

export function readToPorts(reader: Reader, value: unknown, path: string, deny: boolean, egress: boolean) {
  return reader.each(value, path, (member, at) => readPortRule(reader, member, at, deny, egress));
}

const allowFields = ['ports', 'rules', 'listener', 'originatingTLS', 'terminatingTLS', 'serverNames'];

function readPortRule(
  reader: Reader,
  value: unknown,
  path: string,
  deny: boolean,
  egress: boolean,
): PortRule | undefined {
  const fields = reader.fields(value, path, deny ? ['ports'] : allowFields);
  if (!fields) return undefined;
  const ports = reader.each(fields.ports, `${path}.ports`, (port, at) => readPort(reader, port, at), MEMBERS_MAX);
  const needsL7 = deny ? [] : readL7(reader, fields, path, { ports, egress });
  return { path, ports, needsL7 };
}

function readPort(reader: Reader, value: unknown, path: string): PortMatch | undefined {
  const fields = reader.fields(value, path, ['port', 'endPort', 'protocol']);
  if (!fields) return undefined;
  const protocol = readProtocol(reader, fields.protocol, `${path}.protocol`);
  if (protocol === undefined) return undefined;
  const port = reader.text(fields.port, `${path}.port`, 'must be a text: "0" to "65535", or the name of a port');
  if (!portProtocols.includes(protocol)) {
    if (port === undefined || port === '' || port === '0')
      return { kind: 'range', protocol, first: 0, last: PORT_LAST };
    return reader.bad(`${path}.port`, port, `must be "0" or empty: ${protocol} has no ports`);
  }
  if (port === undefined || port === '')
    return reader.bad(`${path}.port`, fields.port, 'must be "0" (all ports) to "65535", or the name of a port');
  if (/^\d+$/.test(port)) return readNumber(reader, fields, port, protocol, path);
  const name = port.toLowerCase();
  if (PORT_NAME.test(name)) return { kind: 'named', protocol, name };
  return reader.bad(
    `${path}.port`,
    port,
    'must be "0" to "65535", or a name of at most 15 letters, digits and single "-", with a letter in it',
  );
}

function readNumber(reader: Reader, fields: Fields, text: string, protocol: RuleProtocol, path: string) {
  const first = Number(text);
  if (first > PORT_LAST) return reader.bad(`${path}.port`, text, 'must be at most 65535');
  const end = fields.endPort ?? 0;
  if (typeof end !== 'number' || !Number.isInteger(end) || end < 0 || end > PORT_LAST)
    return reader.bad(`${path}.endPort`, fields.endPort, 'must be a whole number from 0 to 65535');
  if (first === 0 && end > 0) return reader.bad(`${path}.endPort`, end, 'needs a port: "0" is all ports already');
  if (first === 0) return { kind: 'range' as const, protocol, first, last: PORT_LAST };
  return { kind: 'range' as const, protocol, first, last: Math.max(first, end) };
}

/** Case does not matter; absent is ANY. */
function readProtocol(reader: Reader, value: unknown, path: string): RuleProtocol | undefined {
  if (value === undefined || value === null || value === '') return 'ANY';
  const wanted = typeof value === 'string' ? value.toUpperCase() : '';
  const found = ruleProtocols.find((name) => name.toUpperCase() === wanted);
  if (found && found !== 'ICMP' && found !== 'ICMPv6') return found as RuleProtocol;
  return reader.bad(
    path,
    value,
    `must be one of ${ruleProtocols.join(', ')} (ICMP types have a list of their own: icmps)`,
  );
}

const icmpFamilies = { IPv4: 'ICMP', IPv6: 'ICMPv6' } as const;

/** RFC 792 and 4443 and their successors, by the names that Cilium gives them. */
const icmpTypes: Readonly<Record<'ICMP' | 'ICMPv6', Readonly<Record<string, number>>>> = {
  ICMP: {
    EchoReply: 0,
    DestinationUnreachable: 3,
    Redirect: 5,
    Echo: 8,
    EchoRequest: 8,
    RouterAdvertisement: 9,
    RouterSelection: 10,
    TimeExceeded: 11,
    ParameterProblem: 12,
    Timestamp: 13,
    TimestampReply: 14,
    Photuris: 40,
    ExtendedEchoRequest: 42,
    ExtendedEchoReply: 43,
  },
  ICMPv6: {
    DestinationUnreachable: 1,
    PacketTooBig: 2,
    TimeExceeded: 3,
    ParameterProblem: 4,
    EchoRequest: 128,
    EchoReply: 129,
    MulticastListenerQuery: 130,
    MulticastListenerReport: 131,
    MulticastListenerDone: 132,
    RouterSolicitation: 133,
    RouterAdvertisement: 134,
    NeighborSolicitation: 135,
    NeighborAdvertisement: 136,
    RedirectMessage: 137,
    RouterRenumbering: 138,
    ICMPNodeInformationQuery: 139,
    ICMPNodeInformationResponse: 140,
    InverseNeighborDiscoverySolicitation: 141,
    InverseNeighborDiscoveryAdvertisement: 142,
    HomeAgentAddressDiscoveryRequest: 144,
    HomeAgentAddressDiscoveryReply: 145,
    MobilePrefixSolicitation: 146,
    MobilePrefixAdvertisement: 147,
    DuplicateAddressRequestCodeSuffix: 157,
    DuplicateAddressConfirmationCodeSuffix: 158,
    ExtendedEchoRequest: 160,
    ExtendedEchoReply: 161,
  },
};
const ICMP_TYPE_LAST = 255;

export function readIcmps(reader: Reader, value: unknown, path: string): PortMatch[] | undefined {
  const lists = reader.each(value, path, (member, at) => {
    const fields = reader.fields(member, at, ['fields']);
    return (
      fields && reader.each(fields.fields, `${at}.fields`, (field, of) => readIcmp(reader, field, of), MEMBERS_MAX)
    );
  });
  return lists?.flat();
}

function readIcmp(reader: Reader, value: unknown, path: string): PortMatch | undefined {
  const fields = reader.fields(value, path, ['family', 'type']);
  if (!fields) return undefined;
  const family = fields.family ?? 'IPv4';
  if (family !== 'IPv4' && family !== 'IPv6') return reader.bad(`${path}.family`, family, 'must be IPv4 or IPv6');
  const protocol = icmpFamilies[family];
  const { type } = fields;
  const isNumber = typeof type === 'number' || (typeof type === 'string' && /^\d+$/.test(type));
  const number = isNumber
    ? Number(type)
    : typeof type === 'string' && Object.hasOwn(icmpTypes[protocol], type)
      ? icmpTypes[protocol][type]
      : undefined;
  if (number !== undefined && Number.isInteger(number) && number >= 0 && number <= ICMP_TYPE_LAST)
    return { kind: 'icmp', protocol, type: number };
  return reader.bad(
    `${path}.type`,
    type,
    `must be a number from 0 to 255 or a name of ${protocol}, such as EchoRequest`,
  );
}
