/** Contents of BPF maps in the lines of `cilium-dbg bpf`; pure. */
import type { PacketCount } from '../../datapath/metrics.ts';
import { protocolName } from '../../observe/packet.ts';
import type { LoadBalancerEntry } from '../../observe/services.ts';
import type { AttachmentRow, EndpointRow, IpcacheRow, NetdevRow } from '../../state/tables.ts';
import { formatTable } from './table.ts';

export interface Entry<V> {
  key: string;
  value: V;
}
export interface Flows {
  /** Seconds of the conntrack clock. */
  now: number;
  entries: { key: Record<string, unknown>; value: Record<string, unknown>; pod?: string }[];
}
export type NamedCount = PacketCount & { text: string };

const hex = (number: number, digits = 0): string => `0x${number.toString(16).padStart(digits, '0')}`;
const flagsText = (flags: number): string => (flags === 0 ? '<none>' : hex(flags));
const byKey = <V>(a: Entry<V>, b: Entry<V>): number => (a.key < b.key ? -1 : 1);

export function ipcacheText(entries: readonly Entry<IpcacheRow>[]): string {
  const rows = [...entries].sort(byKey).map(({ key, value }) => {
    const { identity, encryptKey, tunnelEndpoint, flags } = value;
    return [
      key,
      `identity=${identity} encryptkey=${encryptKey} tunnelendpoint=${tunnelEndpoint || '0.0.0.0'} flags=${flagsText(flags)}`,
    ];
  });
  return formatTable(['IP PREFIX/ADDRESS', 'IDENTITY'], rows);
}

export function endpointText(entries: readonly Entry<EndpointRow>[]): string {
  const rows = [...entries].sort(byKey).map(({ key, value }) => {
    const { id, identity, flags, link, mac, hostMac, policyRevision } = value;
    return [
      key,
      `id=${id} sec_id=${identity} flags=${hex(flags, 4)} ifindex=${link} mac=${mac} nodemac=${hostMac} policyrev=${policyRevision}`,
    ];
  });
  return formatTable(['IP ADDRESS', 'LOCAL ENDPOINT INFO'], rows);
}

export function netdevsText(entries: readonly Entry<NetdevRow>[]): string {
  return formatTable(
    ['DEVICE', 'IPv4', 'IPv6', 'MAC', 'FLAGS'],
    [...entries]
      .sort(byKey)
      .map(({ key, value }) => [key, value.ipv4 || '-', value.ipv6 || '-', value.mac, flagsText(value.flags)]),
  );
}

export function attachmentsText(entries: readonly Entry<AttachmentRow>[]): string {
  return formatTable(
    ['DEVICE', 'DIRECTION', 'PROGRAM', 'BUILD'],
    [...entries].sort(byKey).map(({ value }) => [value.dev, value.direction, value.program, value.build]),
  );
}

/** A line of the frontend, and one for each backend; the sets are shown apart where they differ. */
export function loadBalancerText(entries: readonly LoadBalancerEntry[]): string {
  const rows = entries.map((entry) => {
    const { frontend, type, service, portName, flags, sourceRanges, backends, external } = entry;
    const both = entry.internalSet === entry.externalSet;
    const shown = both
      ? orNone(backends)
      : [...orNone(backends).map((key) => `${key} (internal)`), ...orNone(external).map((key) => `${key} (external)`)];
    const notes = [...flags, ...sourceRanges.map((cidr) => `from=${cidr}`)];
    return [
      frontend,
      `${service}${portName ? `:${portName}` : ''}`,
      type,
      shown,
      notes.length > 0 ? notes : ['<none>'],
    ];
  });
  return formatTable(['SERVICE ADDRESS', 'SERVICE', 'TYPE', 'BACKEND ADDRESS', 'FLAGS'], rows);
}

const orNone = (keys: readonly string[]): readonly string[] => (keys.length > 0 ? keys : ['<none>']);

export function metricsText(counts: readonly NamedCount[]): string {
  return formatTable(
    ['REASON', 'DIRECTION', 'PACKETS', 'BYTES'],
    counts.map(({ text, direction, packets, bytes }) => [text, direction.toUpperCase(), packets, bytes]),
  );
}

/** enum ct_flags of bpf/lib/structs.h. */
const CT = { originB: 1, seenReply: 2, established: 4, closingOrigin: 8, closingReply: 16, service: 64 };
const CT_NAMES: readonly (readonly [bit: number, name: string])[] = [
  [CT.seenReply, 'SeenReply'],
  [CT.established, 'SeenNonSyn'],
  [CT.closingOrigin, 'TxClosing'],
  [CT.closingReply, 'RxClosing'],
  [CT.service, 'Service'],
];

export function conntrackText({ now, entries }: Flows): string {
  return entries
    .map(({ key, value }) => {
      const flags = Number(value['flags']);
      const ends = [end(key['a'], key['portA']), end(key['b'], key['portB'])];
      const [from, to] = flags & CT.originB ? [ends[1], ends[0]] : ends;
      const names = CT_NAMES.filter(([bit]) => flags & bit).map(([, name]) => name);
      const [tx = 0, rx = 0] = value['tcpFlags'] as number[];
      const identities = `SourceSecurityID=${value['srcIdentity']} DestinationSecurityID=${value['dstIdentity']}`;
      const left = Number(value['expires']) - now;
      return `${protocol(key)} ${from} -> ${to} ${left > 0 ? `expires=${left}s` : `expired=${-left}s`} TxFlagsSeen=${hex(tx, 2)} RxFlagsSeen=${hex(rx, 2)} Flags=${hex(flags, 4)} [ ${names.join(' ')} ] RevNAT=${value['revNat']} ${identities} BackendID=${value['backendId']}\n`;
    })
    .sort()
    .join('');
}

export function natText({ now, entries }: Flows): string {
  return entries
    .map(({ key, value, pod }) => {
      const isOut = Number(key['direction']) === 1;
      const flow = `${end(key['saddr'], key['sport'])} -> ${end(key['daddr'], key['dport'])}`;
      const change = `${isOut ? 'XLATE_SRC' : 'XLATE_DST'} ${end(value['addr'], value['port'])}`;
      return `${protocol(key)} ${isOut ? 'OUT' : 'IN'} ${flow} ${change} Created=${now - Number(value['created'])}sec ago${pod ? ` (${pod})` : ''}\n`;
    })
    .sort()
    .join('');
}

const protocol = (key: Readonly<Record<string, unknown>>): string => protocolName(Number(key['proto'])).toUpperCase();

function end(address: unknown, port: unknown): string {
  const text = String(address);
  return text.includes(':') ? `[${text}]:${port}` : `${text}:${port}`;
}
