/** Where a WireGuard peer is reached: `10.0.0.2:51871` or `[fd00::2]:51871` as text, struct sockaddr_in or sockaddr_in6 as bytes. */
import { familyOf, formatAddress, parseAddress } from '../address.ts';
import { familyNumber } from '../netlink/rtnetlink.ts';

const FORM = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):([1-9]\d{0,4})$/;
const PORT_MAX = 65_535;

export function parseEndpoint(text: string): Buffer {
  const [, v6, v4, digits] = FORM.exec(text) ?? [];
  const address = v6 ?? v4 ?? '';
  const port = Number(digits);
  if (address === '' || port > PORT_MAX || (v6 !== undefined) !== (familyOf(address) === 6)) {
    throw new TypeError(`${JSON.stringify(text)} is no endpoint, expected ADDRESS:PORT or [ADDRESS]:PORT`);
  }
  const bytes = parseAddress(address);
  const isV6 = bytes.length === 16;
  const result = Buffer.alloc(isV6 ? 28 : 16);
  result.writeUInt16LE(familyNumber(isV6 ? 6 : 4), 0);
  result.writeUInt16BE(port, 2);
  bytes.copy(result, isV6 ? 8 : 4);
  return result;
}

export function formatEndpoint(bytes: Buffer): string {
  const port = bytes.readUInt16BE(2);
  return bytes.readUInt16LE(0) === familyNumber(6)
    ? `[${formatAddress(bytes.subarray(8, 24))}]:${port}`
    : `${formatAddress(bytes.subarray(4, 8))}:${port}`;
}
