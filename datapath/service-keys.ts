/** Keys of backends and frontends as text and in parts: `10.96.0.10:53/UDP`, `[fd00::a]:53/UDP`. */
import { type BackendRow, backendKey, type Protocol } from '../state/tables.ts';

const numbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };
const names = new Map(Object.entries(numbers).map(([name, number]) => [number, name as Protocol]));

export const protocolNumber = (protocol: Protocol): number => {
  const number = Object.hasOwn(numbers, protocol) ? numbers[protocol] : undefined;
  if (number === undefined) throw new TypeError(`protocol ${JSON.stringify(protocol)} is none of TCP, UDP, SCTP`);
  return number;
};
/** Of a number that no row has: the number, so that an entry of others can be named. */
export const protocolOf = (number: number): Protocol => names.get(number) ?? (String(number) as Protocol);

const KEY = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d{1,5})\/([A-Z0-9]+)$/;

/** Throws a TypeError unless it is the one text for that address, port and protocol. */
export function parseServiceKey(key: string): BackendRow {
  const [, v6, v4, port, protocol] = KEY.exec(key) ?? [];
  const row = { address: v6 ?? v4 ?? '', port: Number(port), protocol: protocol as Protocol };
  if (port === undefined || backendKey(row) !== key)
    throw new TypeError(`${JSON.stringify(key)} is no ADDRESS:PORT/PROTOCOL`);
  return row;
}
