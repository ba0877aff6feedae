/**
 * The messages of NETLINK_XFRM that we speak (linux/xfrm.h): ESP associations with an AEAD, and policies with one template.
 *
 * - Structs are written field by field at the offsets of the C layout; the sizes are asserted in the tests.
 * - Addresses are 16 bytes, IPv4 in the first four; prefixes and masks beside them say the family.
 */
import { formatAddress, parseAddress, parsePrefix } from '../address.ts';
import { attributeSet, bytes, u32 } from './attributes.ts';
import { messageType } from './message.ts';
import { familyNumber, familyNumberOf } from './rtnetlink.ts';

export const xfrmTypes = {
  newState: 0x10,
  deleteState: 0x11,
  getState: 0x12,
  newPolicy: 0x13,
  deletePolicy: 0x14,
  getPolicy: 0x15,
  updatePolicy: 0x19,
} as const;
export const ESP = 50;
export const modes = ['transport', 'tunnel'] as const;
export const directions = ['in', 'out', 'fwd'] as const;
export const actions = ['allow', 'block'] as const;

const SELECTOR_BYTES = 56;
const LIFETIME_BYTES = 64;
const STATE_BYTES = 224;
const STATE_ID_BYTES = 24;
const POLICY_BYTES = 168;
const POLICY_ID_BYTES = 64;
const TEMPLATE_BYTES = 64;
const AEAD_HEAD_BYTES = 72;
const NAME_BYTES = 64;
/** XFRM_STATE_AF_UNSPEC. */
const AF_UNSPEC_FLAG = 32;
/** Limits of bytes and packets in struct xfrm_lifetime_cfg; the four that follow are seconds, where 0 is none. */
const LIMITS = 4;

const attributes = attributeSet({
  templates: [5, bytes],
  /** struct xfrm_replay_state: sequence numbers out and in, and a bitmap. */
  replay: [10, bytes],
  aead: [18, bytes],
  mark: [21, bytes],
  outputMark: [29, u32],
  outputMarkMask: [30, u32],
});
const framed = messageType({}, attributes);

export interface XfrmMark {
  value: number;
  mask: number;
}
export interface XfrmState {
  src: string;
  dst: string;
  spi: number;
  reqid: number;
  mode: (typeof modes)[number];
  mark: XfrmMark;
  outputMark: XfrmMark;
  aead: { algorithm: string; key: Buffer; icvBits: number };
}
export interface DumpedState extends XfrmState {
  proto: number;
  /** Packets sent, as the sequence number counts them. */
  sent: number;
}
export interface XfrmTemplate {
  /** Undefined: any. */
  src: string | undefined;
  dst: string | undefined;
  spi: number;
  reqid: number;
  mode: (typeof modes)[number];
  optional: boolean;
}
export interface XfrmPolicy {
  direction: (typeof directions)[number];
  src: string;
  dst: string;
  mark: XfrmMark;
  priority: number;
  action: (typeof actions)[number];
  template: XfrmTemplate | undefined;
}

function message(type: number, flags: number, body: Buffer, rest: Parameters<typeof attributes.encode>[0]): Buffer {
  const head = framed.encode(type, flags, {});
  const all = Buffer.concat([head, body, attributes.encode(rest)]);
  all.writeUInt32LE(all.length, 0);
  return all;
}

export function newState(state: XfrmState): Buffer {
  const body = Buffer.alloc(STATE_BYTES);
  const family = familyNumberOf(state.dst);
  // The selector takes all; a tunnel takes both families, whatever that of its ends.
  if (state.mode === 'tunnel') body.writeUInt8(AF_UNSPEC_FLAG, 216);
  else body.writeUInt16LE(family, 40);
  writeAddress(state.dst, body, 56);
  body.writeUInt32BE(state.spi, 72);
  body.writeUInt8(ESP, 76);
  writeAddress(state.src, body, 80);
  unlimited(body, 96);
  body.writeUInt32LE(state.reqid, 208);
  body.writeUInt16LE(family, 212);
  body.writeUInt8(modes.indexOf(state.mode), 214);
  const { value, mask } = state.outputMark;
  return message(xfrmTypes.newState, 0, body, {
    aead: aeadBytes(state.aead),
    ...markAttribute(state.mark),
    ...((value !== 0 || mask !== 0) && { outputMark: value, outputMarkMask: mask }),
  });
}

/** Names one association: for a delete or a look. */
export function stateId(type: number, { dst, spi, mark }: Pick<XfrmState, 'dst' | 'spi' | 'mark'>): Buffer {
  const body = Buffer.alloc(STATE_ID_BYTES);
  writeAddress(dst, body, 0);
  body.writeUInt32BE(spi, 16);
  body.writeUInt16LE(familyNumberOf(dst), 20);
  body.writeUInt8(ESP, 22);
  return message(type, 0, body, markAttribute(mark));
}

/** Undefined: one without AEAD, which is nobody's of us. */
export function decodeState(from: Buffer): DumpedState | undefined {
  const body = from.subarray(16, from.readUInt32LE(0));
  const rest = attributes.decode(body.subarray(STATE_BYTES));
  if (!rest.aead) return undefined;
  const family = body.readUInt16LE(212);
  return {
    src: readAddress(body, 80, family),
    dst: readAddress(body, 56, family),
    spi: body.readUInt32BE(72),
    proto: body.readUInt8(76),
    reqid: body.readUInt32LE(208),
    mode: modes[body.readUInt8(214)] ?? 'transport',
    mark: markOf(rest.mark),
    outputMark: { value: rest.outputMark ?? 0, mask: rest.outputMarkMask ?? 0 },
    aead: aeadOf(rest.aead),
    sent: rest.replay && rest.replay.length >= 4 ? rest.replay.readUInt32LE(0) : 0,
  };
}

export function newPolicy(policy: XfrmPolicy): Buffer {
  const body = Buffer.alloc(POLICY_BYTES);
  writeSelector(policy, body);
  unlimited(body, SELECTOR_BYTES);
  body.writeUInt32LE(policy.priority, 152);
  body.writeUInt8(directions.indexOf(policy.direction), 160);
  body.writeUInt8(actions.indexOf(policy.action), 161);
  return message(xfrmTypes.updatePolicy, 0, body, {
    ...markAttribute(policy.mark),
    ...(policy.template && { templates: templateBytes(policy.template, familyNumberOf(policy.dst)) }),
  });
}

export function policyId(type: number, policy: Pick<XfrmPolicy, 'direction' | 'src' | 'dst' | 'mark'>): Buffer {
  const body = Buffer.alloc(POLICY_ID_BYTES);
  writeSelector(policy, body);
  body.writeUInt8(directions.indexOf(policy.direction), 60);
  return message(type, 0, body, markAttribute(policy.mark));
}

export function decodePolicy(from: Buffer): XfrmPolicy | undefined {
  const body = from.subarray(16, from.readUInt32LE(0));
  const family = body.readUInt16LE(40);
  const direction = directions[body.readUInt8(160)];
  if (direction === undefined || familyLength(family) === 0) return undefined; // of a socket
  const rest = attributes.decode(body.subarray(POLICY_BYTES));
  return {
    direction,
    dst: `${readAddress(body, 0, family)}/${body.readUInt8(42)}`,
    src: `${readAddress(body, 16, family)}/${body.readUInt8(43)}`,
    mark: markOf(rest.mark),
    priority: body.readUInt32LE(152),
    action: actions[body.readUInt8(161)] ?? 'allow',
    template: rest.templates && rest.templates.length >= TEMPLATE_BYTES ? templateOf(rest.templates) : undefined,
  };
}

/** For dumps of everything. */
export const listAll = (type: number): Buffer => framed.encode(type, 0, {});

function templateBytes({ src, dst, spi, reqid, mode, optional }: XfrmTemplate, family: number): Buffer {
  const body = Buffer.alloc(TEMPLATE_BYTES);
  if (dst) writeAddress(dst, body, 0);
  body.writeUInt32BE(spi, 16);
  body.writeUInt8(ESP, 20);
  body.writeUInt16LE(dst ? familyNumberOf(dst) : src ? familyNumberOf(src) : family, 24);
  if (src) writeAddress(src, body, 28);
  body.writeUInt32LE(reqid, 44);
  body.writeUInt8(modes.indexOf(mode), 48);
  body.writeUInt8(optional ? 1 : 0, 50);
  body.fill(0xff, 52); // any algorithm
  return body;
}

function templateOf(body: Buffer): XfrmTemplate {
  const family = body.readUInt16LE(24);
  const end = (offset: number): string | undefined =>
    body.subarray(offset, offset + 16).every((byte) => byte === 0) ? undefined : readAddress(body, offset, family);
  return {
    src: end(28),
    dst: end(0),
    spi: body.readUInt32BE(16),
    reqid: body.readUInt32LE(44),
    mode: modes[body.readUInt8(48)] ?? 'transport',
    optional: body.readUInt8(50) !== 0,
  };
}

function aeadBytes({ algorithm, key, icvBits }: XfrmState['aead']): Buffer {
  const head = Buffer.alloc(AEAD_HEAD_BYTES);
  head.write(algorithm, 0, NAME_BYTES - 1, 'latin1');
  head.writeUInt32LE(key.length * 8, NAME_BYTES);
  head.writeUInt32LE(icvBits, NAME_BYTES + 4);
  return Buffer.concat([head, key]);
}

function aeadOf(body: Buffer): XfrmState['aead'] {
  const length = body.readUInt32LE(NAME_BYTES) / 8;
  return {
    algorithm: body.toString('latin1', 0, body.indexOf(0)),
    key: Buffer.from(body.subarray(AEAD_HEAD_BYTES, AEAD_HEAD_BYTES + length)),
    icvBits: body.readUInt32LE(NAME_BYTES + 4),
  };
}

function markAttribute({ value, mask }: XfrmMark): { mark?: Buffer } {
  if (value === 0 && mask === 0) return {};
  const mark = Buffer.alloc(8);
  mark.writeUInt32LE(value, 0);
  mark.writeUInt32LE(mask, 4);
  return { mark };
}

const markOf = (mark: Buffer | undefined): XfrmMark =>
  mark ? { value: mark.readUInt32LE(0), mask: mark.readUInt32LE(4) } : { value: 0, mask: 0 };

/** struct xfrm_selector: destination, source, ports, family, prefix lengths. */
function writeSelector({ src, dst }: { src: string; dst: string }, into: Buffer): void {
  const [to, from] = [parsePrefix(dst), parsePrefix(src)];
  if (to.bytes.length !== from.bytes.length) throw new TypeError(`${src} and ${dst} are of two families`);
  to.bytes.copy(into, 0);
  from.bytes.copy(into, 16);
  into.writeUInt16LE(familyNumber(to.bytes.length === 4 ? 4 : 6), 40);
  into.writeUInt8(to.length, 42);
  into.writeUInt8(from.length, 43);
}

/** struct xfrm_lifetime_cfg: 0 would be at once. */
const unlimited = (into: Buffer, offset: number): void =>
  void into.fill(0xff, offset, offset + LIMITS * (LIFETIME_BYTES / 8));

function writeAddress(text: string, into: Buffer, offset: number): void {
  parseAddress(text).copy(into, offset);
}
const familyLength = (family: number): 0 | 4 | 16 =>
  family === familyNumber(4) ? 4 : family === familyNumber(6) ? 16 : 0;
const readAddress = (from: Buffer, offset: number, family: number): string =>
  formatAddress(from.subarray(offset, offset + (familyLength(family) || 4)));
