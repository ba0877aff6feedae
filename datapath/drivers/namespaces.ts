/** Rows that lie in pods' namespaces, taken one namespace at a time; the empty path is the node's own. */
import { setImmediate } from 'node:timers/promises';
import type { Op, OpResult } from '../driver.ts';
import { attemptAll, kernelError, opName } from '../errors.ts';
import { isNetnsGone, RouteSocket } from '../netlink/route-socket.ts';

/** Namespaces visited before the event loop gets a turn: each costs some 100 µs. */
const VISITS_PER_TURN = 16;

/** `home` is the node's namespace when it is not the process's own. Undefined when the namespace is gone. */
export function openNamespace(netns: string, home: string | undefined): RouteSocket | undefined {
  try {
    return new RouteSocket(netns || home);
  } catch (error) {
    if (netns !== '' && isNetnsGone(error)) return undefined;
    throw error;
  }
}

/** Calls `visit` in each namespace that is still there, in order of first mention. */
export async function visitNamespaces(
  paths: Iterable<string>,
  home: string | undefined,
  visit: (netns: string, socket: RouteSocket) => void,
): Promise<void> {
  let visits = 0;
  for (const netns of new Set(paths)) {
    using socket = openNamespace(netns, home);
    if (socket) visit(netns, socket);
    if (++visits % VISITS_PER_TURN === 0) await setImmediate();
  }
}

/** Applies ops one namespace after the other; results in the order of the ops. */
export function byNamespace(
  ops: readonly Op[],
  netnsOf: (op: Op) => string,
  apply: (netns: string, group: readonly Op[]) => OpResult[],
): OpResult[] {
  const results: OpResult[] = ops.map(() => undefined);
  for (const [netns, positions] of Map.groupBy(ops.keys(), (i) => netnsOf(ops[i] as Op))) {
    const group = positions.map((i) => ops[i] as Op);
    attemptAll(group, () => apply(netns, group)).forEach((result, at) => {
      results[positions[at] as number] = result;
    });
  }
  return results;
}

/** The result of an op in a namespace that is gone: a delete has what it wants. */
export function withoutNamespace(op: Op, netns: string): OpResult {
  return op.action === 'delete' ? undefined : kernelError('ENOENT', `${opName(op)}: netns ${netns} is gone`, false);
}
