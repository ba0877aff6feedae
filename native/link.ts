// SPDX-License-Identifier: Apache-2.0
/** Attaching programs: BPF links (tcx, XDP, cgroup, tracepoint), and clsact filters for kernels before tcx (Linux 6.6). */
import { addon } from './addon.ts';
import { Handle } from './handle.ts';
import type { BpfProgram } from './program.ts';

export type Direction = 'ingress' | 'egress';

/** A network link by number or by name, in the caller's netns or in the one at path `netns`. */
export type NetTarget = ({ readonly ifindex: number } | { readonly link: string }) & { readonly netns?: string };

export interface LinkInfo {
  readonly id: number;
  readonly type: 'tcx' | 'xdp' | 'cgroup' | 'perf_event' | 'raw_tracepoint' | 'tracing' | 'netns' | 'iter' | 'other';
  readonly progId: number;
  /** For tcx and xdp; 0 when the network link is gone and the BPF link hangs loose. */
  readonly ifindex: number | undefined;
  /** The kernel's number of the attach type, for tcx and cgroup. */
  readonly attachType: number | undefined;
  /** For cgroup: the inode number of its directory; 0 when that is gone and the BPF link hangs loose. */
  readonly cgroupId: number | undefined;
}

export class BpfLink extends Handle {
  readonly label: string;

  constructor(fd: number) {
    super(fd);
    this.label = `link ${addon().linkInfo(fd).id}`;
  }

  /** Read anew each time: the program and the ifindex change. */
  get info(): LinkInfo {
    return addon().linkInfo(this.fd);
  }

  /** Replaces the program atomically: no packet is missed in between. */
  update(program: BpfProgram): void {
    addon().linkUpdate(this.fd, program.fd, this.label);
  }

  /** Pins under bpffs, so the attachment outlives this process; missing folders are made. */
  pin(path: string): void {
    addon().pin(this.fd, path, this.label);
  }

  /** Detaches at once, even while pinned. Closing the last unpinned handle detaches too. */
  detach(): void {
    addon().linkDetach(this.fd, this.label);
  }
}

export function openPinnedLink(path: string): BpfLink {
  return new BpfLink(addon().openPinned(path, 'link'));
}

/** Appends a program to a link's tcx list. EINVAL before Linux 6.6: ask `supportsTcx` first. */
export function attachTcx(
  options: NetTarget & { readonly program: BpfProgram; readonly direction: Direction },
): BpfLink {
  return new BpfLink(addon().attachTcx(options.program.fd, target(options), options.direction, options.netns));
}

/** What is attached, in order of execution; linkId 0 means attached without a link. */
export function queryTcx(
  options: NetTarget & { readonly direction: Direction },
): Array<{ readonly progId: number; readonly linkId: number }> {
  return addon().queryTcx(target(options), options.direction, options.netns);
}

export function supportsTcx(): boolean {
  return addon().supportsTcx();
}

/** The direct-action clsact filter, handle 1 and priority 1: created or replaced atomically. It stays until `detachTc` or the network link's end. */
export function attachTc(options: NetTarget & { readonly program: BpfProgram; readonly direction: Direction }): void {
  addon().attachTc(options.program.fd, target(options), options.direction, options.netns);
}

/** Removes our clsact filter; false when it was absent. The qdisc stays, others may use it. */
export function detachTc(options: NetTarget & { readonly direction: Direction }): boolean {
  return addon().detachTc(target(options), options.direction, options.netns);
}

/** The program id of our clsact filter, or undefined. */
export function queryTc(options: NetTarget & { readonly direction: Direction }): number | undefined {
  return addon().queryTc(target(options), options.direction, options.netns);
}

export function attachXdp(
  options: NetTarget & { readonly program: BpfProgram; readonly mode: 'native' | 'generic' },
): BpfLink {
  return new BpfLink(addon().attachXdp(options.program.fd, target(options), options.mode === 'generic', options.netns));
}

/** Attach points of cgroup programs, named as libbpf sections name them. */
export type CgroupAttachType =
  | 'cgroup_skb/ingress'
  | 'cgroup_skb/egress'
  | 'cgroup/sock_create'
  | 'cgroup/sock_release'
  | 'cgroup/post_bind4'
  | 'cgroup/post_bind6'
  | 'cgroup/bind4'
  | 'cgroup/bind6'
  | 'cgroup/connect4'
  | 'cgroup/connect6'
  | 'cgroup/sendmsg4'
  | 'cgroup/sendmsg6'
  | 'cgroup/recvmsg4'
  | 'cgroup/recvmsg6'
  | 'cgroup/getpeername4'
  | 'cgroup/getpeername6'
  | 'cgroup/getsockname4'
  | 'cgroup/getsockname6'
  | 'sockops';

/** Attaches to a cgroup (v2); several programs may share one. */
export function attachCgroup(options: {
  readonly program: BpfProgram;
  readonly type: CgroupAttachType;
  readonly cgroupPath: string;
}): BpfLink {
  return new BpfLink(addon().attachCgroup(options.program.fd, options.type, options.cgroupPath));
}

/** Attaches to a kernel tracepoint, `category` and `name` as under /sys/kernel/tracing/events (Linux 5.15). */
export function attachTracepoint(options: {
  readonly program: BpfProgram;
  readonly category: string;
  readonly name: string;
}): BpfLink {
  return new BpfLink(addon().attachTracepoint(options.program.fd, options.category, options.name));
}

/** Attaches a raw_tracepoint program by name, or an fentry, fexit or tp_btf program to the target it was compiled for. */
export function attachRawTracepoint(options: { readonly program: BpfProgram; readonly name?: string }): BpfLink {
  return new BpfLink(addon().attachRawTracepoint(options.program.fd, options.name));
}

function target(options: NetTarget): number | string {
  return 'ifindex' in options ? options.ifindex : options.link;
}
