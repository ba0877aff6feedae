// SPDX-License-Identifier: Apache-2.0
/** Small services of the kernel that Node does not offer. */
import { addon } from './addon.ts';

/** Nanoseconds since boot, sleep included: the clock of bpf_ktime_get_boot_ns. */
export function bootClock(): bigint {
  return addon().clockNs(true);
}

/** Nanoseconds of CLOCK_MONOTONIC: the clock of bpf_ktime_get_ns. */
export function monotonicNs(): bigint {
  return addon().clockNs(false);
}

/** Mounts bpffs at a path unless it is mounted there; returns whether it had to. */
export function mountBpffs(path = '/sys/fs/bpf'): boolean {
  return addon().mountBpffs(path);
}

/** Lifts RLIMIT_MEMLOCK, which kernels before 5.11 charge maps and programs to. */
export function setRlimitMemlock(): void {
  addon().setRlimitMemlock();
}
