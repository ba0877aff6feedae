/** The pods of this node by the cookies of their network namespaces, which is what the kernel says of a socket. */

import type { EndpointContext } from '../machines/endpoint-context.ts';
import { netnsCookie } from '../native/index.ts';
import type { Inspector } from '../reconcilers/inspect.ts';

interface PodAddresses {
  ipv4: string;
  ipv6: string;
}

/** A cookie that is not known is looked for no more often than this: those of the node's own processes never are. */
const REFRESH_MS = 500;

/** A cookie is never given twice, so what is known of one stays right. */
export function podsByNetns(
  inspector: Inspector,
  now: () => number = Date.now,
  cookieOf: (path: string) => bigint = netnsCookie,
): (cookie: bigint) => PodAddresses | undefined {
  let known = new Map<bigint, PodAddresses>();
  let cookies = new Map<string, bigint>();
  let refreshedAt = Number.NEGATIVE_INFINITY;
  const refresh = (): void => {
    const contexts = inspector.contexts('endpoint') as EndpointContext[];
    const before = cookies;
    known = new Map();
    cookies = new Map();
    for (const { containerId, netns, ipv4, ipv6 } of contexts) {
      const place = `${containerId} ${netns}`;
      const cookie = before.get(place) ?? cookieIn(netns, cookieOf);
      if (cookie === undefined) continue;
      cookies.set(place, cookie);
      known.set(cookie, { ipv4, ipv6 });
    }
  };
  return (cookie) => {
    if (!known.has(cookie) && now() - refreshedAt >= REFRESH_MS) {
      refreshedAt = now();
      refresh();
    }
    return known.get(cookie);
  };
}

/** Undefined: the namespace is gone, or the kernel (before Linux 5.14) has no cookies. */
function cookieIn(netns: string, cookieOf: (path: string) => bigint): bigint | undefined {
  try {
    return netns === '' ? undefined : cookieOf(netns);
  } catch {
    return undefined;
  }
}
