/** Names and hardware addresses made from what an endpoint is, so that a replay makes the same ones. */

/** 64 bits of FNV-1a (http://www.isthe.com/chongo/tech/comp/fnv/) as 16 hex digits. */
export function fnv1a(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash.toString(16).padStart(16, '0');
}

/** Host side of the veth pair; 14 of IFNAMSIZ's 15 characters. */
export const linkName = (containerId: string, ifname: string): string =>
  `lxc${fnv1a(`${containerId}/${ifname}`).slice(0, 11)}`;

/** A locally administered unicast address. */
export function macFor(text: string): string {
  const hex = fnv1a(text);
  return `02:${hex.slice(0, 10).match(/../g)?.join(':')}`;
}
