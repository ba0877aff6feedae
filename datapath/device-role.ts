/** Keys of `bpf.devices`: what a link is for, `enum device_role` of bpf/lib/structs-nodes.h. */
import type { Codec } from './codec.ts';

const roles = ['overlay', 'wireguard'] as const;
const FIRST = 1;

export const deviceRole: Codec = {
  size: 4,
  write(value, into, offset) {
    const at = roles.indexOf(value as (typeof roles)[number]);
    if (at < 0) throw new TypeError(`${JSON.stringify(value)} is no device; known are ${roles.join(', ')}`);
    into.writeUInt32LE(FIRST + at, offset);
  },
  read: (from, offset) => roles[from.readUInt32LE(offset) - FIRST] ?? `#${from.readUInt32LE(offset)}`,
};
