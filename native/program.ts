// SPDX-License-Identifier: Apache-2.0
/** Loaded BPF programs: what the kernel knows of them, and running them on a packet without any network. */
import { addon } from './addon.ts';
import { Handle } from './handle.ts';

export interface ProgramInfo {
  readonly id: number;
  /** The kernel's hash of the instructions, 16 hex digits. */
  readonly tag: string;
  /** As bpftool prints it: `sched_cls`, `xdp`, `cgroup_sock_addr`. */
  readonly type: string;
  /** At most 15 bytes. */
  readonly name: string;
  readonly translatedBytes: number;
  readonly jitedBytes: number;
  /** Instructions the verifier walked; 0 before Linux 5.16. */
  readonly verifiedInstructions: number;
  readonly mapIds: readonly number[];
}

export interface TestRunOptions {
  /** The packet. tc and XDP programs need at least an Ethernet header (14 bytes). */
  readonly data?: Uint8Array;
  /** Runs so many times and reports the mean duration. Default 1. */
  readonly repeat?: number;
  /** The context: `skbContext({...})` for tc programs, a struct xdp_md for XDP. */
  readonly ctx?: Uint8Array;
  /** Room for the packet that comes out. Default: the input and 512 bytes. */
  readonly outSize?: number;
}

export interface TestRunResult {
  /** The program's return value as a signed number: TC_ACT_UNSPEC is -1. */
  readonly retval: number;
  /** Mean nanoseconds of a run. */
  readonly durationNs: number;
  /** The packet afterwards. */
  readonly data: Buffer;
  /** The context afterwards; empty when none was given. */
  readonly ctx: Buffer;
}

export class BpfProgram extends Handle {
  readonly info: ProgramInfo;
  readonly label: string;

  constructor(fd: number) {
    super(fd);
    this.info = addon().programInfo(fd);
    this.label = `program ${this.info.name || this.info.id}`;
  }

  testRun(options: TestRunOptions = {}): TestRunResult {
    return addon().programTestRun(this.fd, options, this.label);
  }

  /** Total run time and count, counted only while kernel.bpf_stats_enabled is 1. */
  stats(): { readonly runTimeNs: bigint; readonly runCount: bigint } {
    return addon().programStats(this.fd);
  }

  /** Pins under bpffs; missing folders are made. */
  pin(path: string): void {
    addon().pin(this.fd, path, this.label);
  }
}

export function openPinnedProgram(path: string): BpfProgram {
  return new BpfProgram(addon().openPinned(path, 'program'));
}

export function openProgramById(id: number): BpfProgram {
  return new BpfProgram(addon().programFdById(id));
}

/** The fields of struct __sk_buff that a test run may set (net/bpf/test_run.c refuses all others). */
export interface SkbFields {
  readonly mark: number;
  readonly priority: number;
  readonly ingressIfindex: number;
  /** A link of the caller's netns; 0 or loopback when left out. */
  readonly ifindex: number;
  readonly cb: readonly number[];
  readonly tstamp: bigint;
  readonly wireLen: number;
  readonly gsoSegs: number;
  readonly gsoSize: number;
}

/** A struct __sk_buff for `testRun({ctx})`. */
export function skbContext(fields: Partial<SkbFields>): Buffer {
  return addon().skbEncode(fields);
}

/** Reads back the struct __sk_buff a test run returned. */
export function readSkbContext(ctx: Uint8Array): SkbFields {
  return addon().skbDecode(ctx);
}
