/**
 * Table `routes`: routes to pods in the node's namespace, and default routes in pods' namespaces.
 *
 * - All bear our protocol number; a route of anybody else is neither dumped nor replaced.
 * - The table of routing is part of a route's key; it comes into being with its first route.
 * - A put of an existing route replaces it in one step.
 */
import { isErrno } from '../../native/index.ts';
import { type RouteRow, routeKey } from '../../state/tables.ts';
import { familyOf, formatAddress, parsePrefix } from '../address.ts';
import type { Driver, Op, OpError, OpResult } from '../driver.ts';
import { driverError, kernelError, opName } from '../errors.ts';
import { OURS } from '../marks.ts';
import { messageFlags } from '../netlink/message.ts';
import { type RouteSocket, tableOf } from '../netlink/route-socket.ts';
import {
  familyNumberOf,
  familyOfNumber,
  type RouteMessage,
  routeFlags,
  routeMessage,
  routeTables,
  routeTypes,
  rtm,
  scopes,
} from '../netlink/rtnetlink.ts';
import { byNamespace, openNamespace, visitNamespaces, withoutNamespace } from './namespaces.ts';

/** What the kernel gives IPv6 routes without a metric; IPv4 ones have 0. Part of a route's identity. */
const IPV6_METRIC = 1024;

export class RoutesDriver implements Driver {
  readonly tables = ['routes'] as const;
  readonly lane = 'kernel';
  readonly #home: string | undefined;

  constructor(netns?: string) {
    this.#home = netns;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return byNamespace(ops, netnsOf, (netns, group) => {
      using socket = openNamespace(netns, this.#home);
      return socket ? applyIn(socket, group) : group.map((op) => withoutNamespace(op, netns));
    });
  }

  async dump(_table: string, known: ReadonlyMap<string, unknown>): Promise<Map<string, RouteRow>> {
    const found = new Map<string, RouteRow>();
    const paths = [...known.values()].map((row) => (row as RouteRow).netns);
    await visitNamespaces(['', ...paths], this.#home, (netns, socket) => {
      for (const row of ourRoutes(socket, netns)) found.set(routeKey(row), row);
    });
    return found;
  }
}

function applyIn(socket: RouteSocket, ops: readonly Op[]): OpResult[] {
  const indexes = new Map<string, number>();
  const indexOf = (dev: string): number | undefined => {
    const index = indexes.get(dev) ?? socket.link(dev)?.index;
    if (index !== undefined) indexes.set(dev, index);
    return index;
  };
  const messages = ops.map((op) => messageFor(op, indexOf));
  const answers = socket.changes(messages.filter((message) => Buffer.isBuffer(message)));
  let at = 0;
  return messages.map((message, i) => {
    if (!Buffer.isBuffer(message)) return message;
    const error = answers[at++];
    const op = ops[i] as Op;
    if (!error) return undefined;
    if (op.action === 'put' && error.code === 'EEXIST') return replace(socket, op, indexOf(rowOf(op).dev) ?? 0);
    if (op.action === 'delete' && isErrno(error, 'ESRCH', 'ENOENT')) return undefined;
    return driverError(error, opName(op));
  });
}

function messageFor(op: Op, indexOf: (dev: string) => number | undefined): Buffer | OpError {
  try {
    if (op.action === 'delete') return deleteMessage(placeOf(op.key));
    const { type, dev } = rowOf(op);
    const oif = type === 'unreachable' ? 0 : indexOf(dev);
    if (oif === undefined) return kernelError('ENODEV', `${opName(op)}: link ${dev} does not exist`, true);
    return putMessage(rowOf(op), oif, messageFlags.excl);
  } catch (error) {
    return driverError(error, opName(op));
  }
}

/** Something is there under this destination already. */
function replace(socket: RouteSocket, op: Op, oif: number): OpResult {
  const wanted = rowOf(op);
  const there = socket
    .routes(familyOf(wanted.dst), 0, lookupOf(wanted))
    .find((route) => destinationOf(route) === wanted.dst && (route.attributes.priority ?? 0) === metricOf(wanted.dst));
  if (there && there.protocol !== OURS) {
    return kernelError(
      'EEXIST',
      `${opName(op)}: a route of protocol ${there.protocol} is there, which is not ours`,
      false,
    );
  }
  try {
    socket.change(putMessage(wanted, oif, messageFlags.replace));
    return undefined;
  } catch (error) {
    return driverError(error, opName(op));
  }
}

function putMessage(row: RouteRow, oif: number, flags: number): Buffer {
  const { bytes, length } = parsePrefix(row.dst);
  const table = tableOf(lookupOf(row));
  return routeMessage.encode(rtm.newRoute, messageFlags.create | flags, {
    family: familyNumberOf(row.dst),
    dstLength: length,
    ...table,
    protocol: OURS,
    scope: row.type === 'unicast' && !row.via ? scopes.link : scopes.universe,
    type: routeTypes[row.type],
    flags: row.via ? routeFlags.onlink : 0,
    attributes: {
      ...table.attributes,
      dst: length > 0 ? formatAddress(bytes) : undefined,
      oif: row.type === 'unicast' ? oif : undefined,
      gateway: row.via || undefined,
      prefSrc: row.src || undefined,
      priority: metricOf(row.dst) || undefined,
      metrics: row.mtu > 0 ? { mtu: row.mtu } : undefined,
    },
  });
}

function deleteMessage({ dst, lookup }: Place): Buffer {
  const { bytes, length } = parsePrefix(dst);
  const table = tableOf(lookup);
  return routeMessage.encode(rtm.delRoute, 0, {
    family: familyNumberOf(dst),
    dstLength: length,
    ...table,
    protocol: OURS,
    scope: scopes.nowhere, // IPv4: any
    attributes: {
      ...table.attributes,
      dst: length > 0 ? formatAddress(bytes) : undefined,
      priority: metricOf(dst) || undefined,
    },
  });
}

function* ourRoutes(socket: RouteSocket, netns: string): Generator<RouteRow> {
  const names = new Map(socket.links().map(({ index, attributes }) => [index, attributes.name ?? '']));
  for (const family of [4, 6] as const) {
    for (const route of socket.routes(family, OURS, routeTables.all)) {
      const dst = destinationOf(route);
      const type = typeName(route);
      if (!type || (route.attributes.priority ?? 0) !== metricOf(dst)) continue;
      const { oif = 0, gateway = '', prefSrc = '', metrics, table = route.table } = route.attributes;
      const lookup = table === routeTables.main ? {} : { lookup: table };
      // IPv6 routes without a device lie on lo.
      const dev = type === 'unreachable' ? '' : (names.get(oif) ?? `#${oif}`);
      yield { ...lookup, type, netns, dst, dev, via: gateway, src: prefSrc, mtu: metrics?.mtu ?? 0 };
    }
  }
}

const typeName = ({ type }: RouteMessage): RouteRow['type'] | undefined =>
  type === routeTypes.unicast ? 'unicast' : type === routeTypes.unreachable ? 'unreachable' : undefined;

function destinationOf({ family, dstLength, attributes }: RouteMessage): string {
  const anywhere = familyOfNumber(family) === 4 ? '0.0.0.0' : '::';
  return `${attributes.dst ?? anywhere}/${dstLength}`;
}

const metricOf = (dst: string): number => (familyOf(dst) === 6 ? IPV6_METRIC : 0);
const rowOf = (op: Op): RouteRow => op.value as RouteRow;
const lookupOf = ({ lookup = routeTables.main }: RouteRow): number => lookup;

interface Place {
  dst: string;
  lookup: number;
}

/** Of a key `[netns|][lookup@]dst`. */
function placeOf(key: string): Place {
  const [dst = '', lookup] = key
    .slice(key.lastIndexOf('|') + 1)
    .split('@')
    .reverse();
  return { dst, lookup: lookup === undefined ? routeTables.main : Number(lookup) };
}

const netnsOf = (op: Op): string =>
  op.action === 'put' ? rowOf(op).netns : op.key.slice(0, Math.max(0, op.key.lastIndexOf('|')));
