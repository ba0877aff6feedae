/**
 * Table `links`: pairs of kind veth or netkit, the near end in the node's namespace, the far end there or in a pod's.
 *
 * - A pair comes into being by one message, both ends with name, address and MTU; the far end cannot be born up.
 * - A pair is ours when its near end is in our link group. Attributes that differ are changed in place.
 * - A known pair that is down is not dumped: so it is put again, which brings it up.
 */
import { closeSync, openSync, writeFileSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { isErrno, withNetns } from '../../native/index.ts';
import type { LinkRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll, kernelError, opName } from '../errors.ts';
import { OURS } from '../marks.ts';
import { messageFlags } from '../netlink/message.ts';
import { isNetnsGone, RouteSocket } from '../netlink/route-socket.ts';
import {
  type LinkMessage,
  linkFlags,
  linkMessage,
  NETKIT_L2,
  netkitInfo,
  rtm,
  vethInfo,
} from '../netlink/rtnetlink.ts';
import { openNamespace, withoutNamespace } from './namespaces.ts';

const NO_NETKIT = 'this kernel has no netkit (Linux 6.7, CONFIG_NETKIT): datapathMode veth needs none';
const LOOPBACK = 'lo';
/** Looked at before the event loop gets a turn. */
const PAIRS_PER_TURN = 32;

export class LinksDriver implements Driver {
  readonly tables = ['links'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;

  constructor(netns?: string) {
    this.#home = netns;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return attemptAll(ops, () => {
      using socket = new RouteSocket(this.#home);
      return ops.map((op) => attempt(op, () => (op.action === 'put' ? this.#put(socket, op) : remove(socket, op.key))));
    });
  }

  #put(socket: RouteSocket, op: Op): OpResult {
    const row = op.value as LinkRow;
    using far = openNamespace(row.peer.netns, this.#home);
    if (!far) return withoutNamespace(op, row.peer.netns);
    const near = socket.link(op.key);
    if (near && !isOurs(near)) {
      return kernelError('EEXIST', `${opName(op)}: a link of that name is there, which is not ours`, false);
    }
    if (row.peer.netns) raise(far, LOOPBACK);
    const peer = near && farEnd(socket, near);
    if (near && peer && near.attributes.linkInfo?.kind === row.kind && leadsTo(socket, near, row.peer.netns)) {
      adjustPair(socket, near, far, peer, op.key, row);
      return undefined;
    }
    // Its far end is in another namespace or gone, or it is of the other kind: no message can change that.
    if (near) remove(socket, op.key);
    try {
      create(socket, far, this.#home, op.key, row);
    } catch (error) {
      if (row.kind !== 'netkit' || !isErrno(error, 'EOPNOTSUPP')) throw error;
      return kernelError('EOPNOTSUPP', `${opName(op)}: ${NO_NETKIT}`, false);
    }
    return undefined;
  }

  async dump(_table: string, known: ReadonlyMap<string, unknown>): Promise<Map<string, LinkRow>> {
    using socket = new RouteSocket(this.#home);
    const rows = known as ReadonlyMap<string, LinkRow>;
    const pairs = socket.links().filter(isOurs);
    const nsids = new Map<string, number | undefined>();
    for (const { peer } of rows.values()) {
      if (nsids.size % PAIRS_PER_TURN === PAIRS_PER_TURN - 1) await setImmediate();
      nsids.set(peer.netns, nsidOf(socket, peer.netns));
    }
    const found = new Map<string, LinkRow>();
    for (const [i, near] of pairs.entries()) {
      if (i % PAIRS_PER_TURN === PAIRS_PER_TURN - 1) await setImmediate();
      const name = near.attributes.name ?? '';
      const peer = farEnd(socket, near);
      const believed = rows.get(name);
      const isDown = !peer || (near.flags & peer.flags & linkFlags.up) === 0;
      if (believed && isDown) continue;
      found.set(name, rowOf(near, peer, believed, namespaceOf(near, believed, nsids)));
    }
    return found;
  }
}

const isPair = (kind: string | undefined): kind is LinkRow['kind'] => kind === 'veth' || kind === 'netkit';
const isOurs = ({ attributes }: LinkMessage): boolean => isPair(attributes.linkInfo?.kind) && attributes.group === OURS;

const farEnd = (socket: RouteSocket, { attributes }: LinkMessage): LinkMessage | undefined =>
  attributes.link === undefined ? undefined : socket.linkByIndex(attributes.link, attributes.linkNetnsid);

/** The id of the namespace at a path, undefined for the node's own and for one that no link of the node leads to. */
function nsidOf(socket: RouteSocket, netns: string): number | undefined {
  if (netns === '') return undefined;
  try {
    return socket.nsidOf(netns);
  } catch (error) {
    if (isNetnsGone(error) || isErrno(error, 'EINVAL')) return undefined;
    throw error;
  }
}

function leadsTo(socket: RouteSocket, { attributes }: LinkMessage, netns: string): boolean {
  const nsid = attributes.linkNetnsid;
  return netns === '' ? nsid === undefined : nsid !== undefined && nsid === nsidOf(socket, netns);
}

/** As a path that rows name it by; `#7` when none does. */
function namespaceOf(
  { attributes }: LinkMessage,
  believed: LinkRow | undefined,
  nsids: ReadonlyMap<string, number | undefined>,
): string {
  const nsid = attributes.linkNetnsid;
  if (nsid === undefined) return '';
  if (believed && nsids.get(believed.peer.netns) === nsid) return believed.peer.netns;
  for (const [path, id] of nsids) if (id === nsid) return path;
  return `#${nsid}`;
}

function rowOf(near: LinkMessage, far: LinkMessage | undefined, believed: LinkRow | undefined, netns: string): LinkRow {
  // Of two MTUs the one that is not as believed, so that the difference is seen.
  const mtus = [near.attributes.mtu, far?.attributes.mtu].filter((mtu) => mtu !== undefined);
  const kind = near.attributes.linkInfo?.kind;
  return {
    kind: isPair(kind) ? kind : 'veth',
    mac: near.attributes.address ?? '',
    mtu: mtus.find((mtu) => mtu !== believed?.mtu) ?? mtus[0] ?? 0,
    peer: { name: far?.attributes.name ?? '', mac: far?.attributes.address ?? '', netns },
  };
}

function create(
  socket: RouteSocket,
  farSocket: RouteSocket,
  netns: string | undefined,
  name: string,
  row: LinkRow,
): void {
  const netnsFd = row.peer.netns ? openSync(row.peer.netns, 'r') : undefined;
  try {
    const peer = linkMessage.encodeBody({
      attributes: { name: row.peer.name, address: row.peer.mac, mtu: row.mtu, netnsFd },
    });
    const data = row.kind === 'veth' ? vethInfo.encode({ peer }) : netkitInfo.encode({ peer, mode: NETKIT_L2 });
    const linkInfo = { kind: row.kind, data };
    const attributes = { name, address: row.mac, mtu: row.mtu, group: OURS, linkInfo };
    const up = { flags: linkFlags.up, change: linkFlags.up };
    socket.change(linkMessage.encode(rtm.newLink, messageFlags.create | messageFlags.excl, { ...up, attributes }));
  } finally {
    if (netnsFd !== undefined) closeSync(netnsFd);
  }
  try {
    settleAtOnce(netns, name);
    raise(farSocket, row.peer.name);
  } catch (error) {
    remove(socket, name);
    throw error;
  }
}

/**
 * The link-local address, which the node asks for the pod's MAC under, is not probed for duplicates: nobody else is on the link, and
 * for the second or two that it takes the node could not reach the pod. Before the far end is up, when the address comes.
 */
function settleAtOnce(netns: string | undefined, name: string): void {
  const set = (): void => writeFileSync(`/proc/sys/net/ipv6/conf/${name}/accept_dad`, '0');
  try {
    if (netns === undefined) set();
    else withNetns(netns, set);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error; // no IPv6 here
  }
}

/** Both ends or none: when the near end refuses, the far end gets back what it had. */
function adjustPair(
  socket: RouteSocket,
  near: LinkMessage,
  farSocket: RouteSocket,
  far: LinkMessage,
  name: string,
  row: LinkRow,
): void {
  adjust(farSocket, far, { name: row.peer.name, address: row.peer.mac, mtu: row.mtu });
  try {
    adjust(socket, near, { name, address: row.mac, mtu: row.mtu });
  } catch (error) {
    const { name: hadName = '', address = '', mtu = 0 } = far.attributes;
    adjust(farSocket, farSocket.linkByIndex(far.index) ?? far, { name: hadName, address, mtu });
    throw error;
  }
}

function adjust(socket: RouteSocket, link: LinkMessage, wanted: { name: string; address: string; mtu: number }): void {
  const { name, address, mtu } = link.attributes;
  const up = linkFlags.up;
  const set = (flags: number, attributes: Parameters<typeof linkMessage.encodeBody>[0]['attributes']): void =>
    socket.change(
      linkMessage.encode(rtm.setLink, 0, { index: link.index, flags, change: up, attributes: attributes ?? {} }),
    );
  if (name !== wanted.name) {
    set(0, {}); // before Linux 6.2 a link that is up cannot be renamed
    set(0, { name: wanted.name });
  } else if (address === wanted.address && mtu === wanted.mtu && (link.flags & up) !== 0) {
    return;
  }
  set(up, {
    address: address === wanted.address ? undefined : wanted.address,
    mtu: mtu === wanted.mtu ? undefined : wanted.mtu,
  });
}

function raise(socket: RouteSocket, name: string): void {
  const link = socket.link(name);
  if (!link || (link.flags & linkFlags.up) !== 0) return;
  const { index } = link;
  socket.change(linkMessage.encode(rtm.setLink, 0, { index, flags: linkFlags.up, change: linkFlags.up }));
}

/** A link of that name that is not ours stays. */
function remove(socket: RouteSocket, name: string): undefined {
  const link = socket.link(name);
  if (!link || !isOurs(link)) return;
  try {
    socket.change(linkMessage.encode(rtm.delLink, 0, { index: link.index }));
  } catch (error) {
    if (!isErrno(error, 'ENODEV')) throw error;
  }
}
