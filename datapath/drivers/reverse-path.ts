/**
 * What comes out of a tunnel is from pods to whom the way back is by another link (`cilium_host`): a link that drops what it would not
 * send back (`rp_filter` 1, as some distributions have it) would drop all of it. The stricter of the link's setting and that of `all`
 * counts; the latter is a row of `sysctls`.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { isErrno, withNetns } from '../../native/index.ts';

/** For a link in the namespace; undefined: the process's own. */
export function acceptAnySource(name: string, netns: string | undefined): void {
  const set = (): void => writeFileSync(`/proc/sys/net/ipv4/conf/${name}/rp_filter`, '0');
  try {
    if (netns === undefined) set();
    else withNetns(netns, set);
  } catch (error) {
    // The link has gone meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !isErrno(error, 'ENOENT')) throw error;
  }
}

/** `rp_filter` 1: what would not be answered by the same link is dropped. */
const STRICT = '1';
/** Links whose settings are no business of the network between nodes. */
const OTHERS = /^(all|default|lo|lxc.*|cilium_.*)$/;

/** What a tunnel's user should know of links of this namespace. */
export function reversePathNotices(): string[] {
  const settings = '/proc/sys/net/ipv4/conf';
  const isStrict = (name: string): boolean => readFileSync(`${settings}/${name}/rp_filter`, 'utf8').trim() === STRICT;
  return readdirSync(settings)
    .filter((name) => !OTHERS.test(name) && isStrict(name))
    .map(
      (name) =>
        `net.ipv4.conf.${name}.rp_filter is 1: what pods of other nodes send to this node's own addresses is dropped there, since the answer goes through the tunnel; 2 lets it in`,
    );
}
