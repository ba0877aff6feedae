// SPDX-License-Identifier: Apache-2.0
/** Network namespaces: create, delete, name, and run code inside one. */
import { addon } from './addon.ts';

/**
 * Runs `fn` with the JavaScript thread inside the namespace at `path`, and always comes back: also after a
 * throw (should returning fail, the process aborts, for it would work on the wrong network).
 *
 * `fn` must be synchronous; sockets, netlink and BPF links made natively inside belong to the namespace, and so
 * do child processes spawned inside. Node's own sockets resolve on other threads or later: use `sockets.ts` for them.
 */
export function withNetns<T>(path: string, fn: () => T): T {
  if (fn.constructor.name === 'AsyncFunction')
    throw new TypeError('withNetns: an async function would go on outside the namespace');
  const previous = addon().netnsEnter(path);
  let result: T;
  try {
    result = fn();
  } finally {
    addon().netnsRestore(previous);
  }
  if (isThenable(result)) throw new TypeError('withNetns: a promise would go on outside the namespace');
  return result;
}

function isThenable(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/** Creates a namespace and mounts it at `path`, for names under /run/netns just as `ip netns add`. EEXIST when the path exists. */
export function createNetns(path: string, options: { readonly loopbackUp?: boolean } = {}): void {
  addon().netnsCreate(path, options.loopbackUp ?? false);
}

/** Unmounts and removes; false when it was absent. The namespace lives on while processes or sockets use it. */
export function deleteNetns(path: string): boolean {
  return addon().netnsDelete(path);
}

/** The identity of a namespace: two paths with equal dev and ino are the same namespace. Without a path: the caller's. */
export function netnsId(path?: string): { readonly dev: number; readonly ino: number } {
  return addon().netnsId(path ?? '/proc/thread-self/ns/net');
}

/** The cookie bpf_get_netns_cookie shows to programs (Linux 5.14). */
export function netnsCookie(path?: string): bigint {
  return addon().netnsCookie(path);
}

/** The number of a network link; ENODEV when there is none of that name. */
export function ifNameToIndex(name: string, netns?: string): number {
  return addon().ifNameToIndex(name, netns);
}

/** The name of a network link; ENXIO when there is none of that number. */
export function ifIndexToName(ifindex: number, netns?: string): string {
  return addon().ifIndexToName(ifindex, netns);
}
