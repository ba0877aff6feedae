/**
 * Table `tunnels`: links that encapsulate, one for all peers (collect metadata), in the node's namespace.
 *
 * - A link is ours when it is in our link group. MAC and MTU are changed in place; another port or kind needs another link.
 * - A known link that is down is not dumped: so it is put again, which brings it up.
 */
import { isErrno } from '../../native/index.ts';
import type { TunnelRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll, invalid, kernelError, opName } from '../errors.ts';
import { OURS } from '../marks.ts';
import { messageFlags } from '../netlink/message.ts';
import { RouteSocket } from '../netlink/route-socket.ts';
import { geneveInfo, type LinkMessage, linkFlags, linkMessage, rtm, vxlanInfo } from '../netlink/rtnetlink.ts';
import { acceptAnySource } from './reverse-path.ts';

const PORT_MAX = 0xffff;
const UP = { flags: linkFlags.up, change: linkFlags.up };

export class TunnelsDriver implements Driver {
  readonly tables = ['tunnels'] as const;
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
    const refused = put(socket, op);
    if (!refused) acceptAnySource(op.key, this.#home);
    return refused;
  }

  dump(_table: string, known: ReadonlyMap<string, unknown>): Map<string, TunnelRow> {
    using socket = new RouteSocket(this.#home);
    const found = new Map<string, TunnelRow>();
    for (const link of socket.links()) {
      const { name = '' } = link.attributes;
      const row = isOurs(link) ? rowOf(link) : undefined;
      if (row && !(known.has(name) && (link.flags & linkFlags.up) === 0)) found.set(name, row);
    }
    return found;
  }
}

function put(socket: RouteSocket, op: Op): OpResult {
  const row = op.value as TunnelRow;
  if (row.port < 1 || row.port > PORT_MAX) return invalid(opName(op), `port is ${row.port}, expected 1 to ${PORT_MAX}`);
  const there = socket.link(op.key);
  if (there && !isOurs(there)) {
    return kernelError('EEXIST', `${opName(op)}: a link of that name is there, which is not ours`, false);
  }
  const was = there && rowOf(there);
  if (there && was?.kind === row.kind && was.port === row.port) {
    adjust(socket, there, was, row);
    return undefined;
  }
  if (there) remove(socket, op.key);
  try {
    create(socket, op.key, row);
  } catch (error) {
    if (!isErrno(error, 'EOPNOTSUPP')) throw error;
    return kernelError('EOPNOTSUPP', `${opName(op)}: this kernel has no ${row.kind} links`, false);
  }
  return undefined;
}

function create(socket: RouteSocket, name: string, { kind, mac, mtu, port }: TunnelRow): void {
  const data =
    kind === 'vxlan'
      ? vxlanInfo.encode({ learning: 0, port, collectMetadata: 1 })
      : geneveInfo.encode({ port, collectMetadata: true });
  const attributes = { name, address: mac, mtu, group: OURS, linkInfo: { kind, data } };
  socket.change(linkMessage.encode(rtm.newLink, messageFlags.create | messageFlags.excl, { ...UP, attributes }));
}

function adjust(socket: RouteSocket, { index, flags }: LinkMessage, was: TunnelRow, wanted: TunnelRow): void {
  if (was.mac === wanted.mac && was.mtu === wanted.mtu && (flags & linkFlags.up) !== 0) return;
  const attributes = {
    address: was.mac === wanted.mac ? undefined : wanted.mac,
    mtu: was.mtu === wanted.mtu ? undefined : wanted.mtu,
  };
  socket.change(linkMessage.encode(rtm.setLink, 0, { index, ...UP, attributes }));
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

const kindOf = ({ attributes }: LinkMessage): TunnelRow['kind'] | undefined => {
  const kind = attributes.linkInfo?.kind;
  return kind === 'vxlan' || kind === 'geneve' ? kind : undefined;
};

const isOurs = (link: LinkMessage): boolean => kindOf(link) !== undefined && link.attributes.group === OURS;

function rowOf(link: LinkMessage): TunnelRow | undefined {
  const kind = kindOf(link);
  if (!kind) return undefined;
  const { address: mac = '', mtu = 0, linkInfo } = link.attributes;
  const data = linkInfo?.data ?? Buffer.alloc(0);
  const { port = 0 } = kind === 'vxlan' ? vxlanInfo.decode(data) : geneveInfo.decode(data);
  return { kind, mac, mtu, port };
}
