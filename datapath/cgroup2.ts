/** cgroup v2: where it is mounted, and starting processes in one of its directories. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Alone at /sys/fs/cgroup, or beside version 1 somewhere below; undefined: nowhere. */
export function cgroup2Mount(mounts = readFileSync('/proc/mounts', 'utf8')): string | undefined {
  const line = mounts.split('\n').find((mount) => mount.split(' ')[2] === 'cgroup2');
  return line
    ?.split(' ')[1]
    ?.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** A command line whose process, and all that it starts, is in the cgroup; empty: the caller's. */
export function inCgroup(cgroup: string, argv: readonly string[]): string[] {
  if (!cgroup) return [...argv];
  return ['/bin/sh', '-c', 'echo 0 >"$0" && exec "$@"', join(cgroup, 'cgroup.procs'), ...argv];
}
