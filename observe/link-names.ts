/** Names of links by number, asked of the kernel seldom. */
import { linkNames } from '../datapath/link-names.ts';

/** Events name the same few links over and over. */
const KEPT_MS = 5000;

export function keptLinkNames(now: () => number): (ifindex: number) => string | undefined {
  const links = linkNames();
  let known = new Map<number, string | undefined>();
  let knownAt = Number.NEGATIVE_INFINITY;
  return (ifindex) => {
    if (now() - knownAt > KEPT_MS) {
      known = new Map();
      knownAt = now();
    }
    if (!known.has(ifindex)) known.set(ifindex, links.nameOf(ifindex));
    return known.get(ifindex);
  };
}
