// SPDX-License-Identifier: Apache-2.0
/** Loads the compiled addon (built by `make -C native`) and states its raw functions; only files of this folder use it. */
import { createRequire } from 'node:module';
import type { Btf, MapTypes } from './btf.ts';
import { NativeError } from './error.ts';
import type { LinkInfo } from './link.ts';
import type { CreateMapOptions, MapInfo } from './map.ts';
import type { NetlinkEvent } from './netlink.ts';
import type { ProgramInfo, SkbFields, TestRunOptions, TestRunResult } from './program.ts';
import type { ConnectOptions, SocketOptions } from './sockets.ts';

declare const objectBrand: unique symbol;
declare const watchBrand: unique symbol;
/** A struct bpf_object; freed by objectClose or the garbage collector. */
export type ObjectPointer = { readonly [objectBrand]: true };
/** A descriptor watched by the event loop, or a request socket; freed by its close or the garbage collector. */
export type WatchPointer = { readonly [watchBrand]: true };

type Target = number | string;

/** Every function throws NativeError. A trailing `label` names the object in that error. */
export interface Addon {
  setErrorClass(errorClass: typeof NativeError): void;
  closeFd(fd: number): void;
  dupFd(fd: number): number;
  pin(fd: number, path: string, label: string): void;
  openPinned(path: string, kind: 'map' | 'program' | 'link'): number;

  objectOpen(path: string, kernelLogLevel: number): ObjectPointer;
  objectSetData(object: ObjectPointer, variable: string, bytes: Uint8Array): void;
  objectSetMaxEntries(object: ObjectPointer, map: string, maxEntries: number, inner: boolean): void;
  objectSetPin(object: ObjectPointer, map: string, path: string): void;
  objectSetAutoload(object: ObjectPointer, programs: readonly string[]): void;
  objectLoad(object: ObjectPointer): string;
  objectMapFd(object: ObjectPointer, name: string): number;
  objectProgramFd(object: ObjectPointer, name: string): number;
  objectMaps(object: ObjectPointer): string[];
  objectPrograms(object: ObjectPointer): Array<{ name: string; section: string }>;
  objectBtf(object: ObjectPointer): Btf;
  objectClose(object: ObjectPointer): void;
  btfOfObject(path: string): Btf;
  btfOfMap(fd: number): MapTypes | undefined;
  kernelHasBtf(): boolean;

  mapCreate(options: CreateMapOptions): number;
  mapInfo(fd: number): MapInfo;
  mapFdById(id: number): number;
  mapLookup(fd: number, key: Uint8Array, value: Uint8Array, label: string): boolean;
  mapUpdate(fd: number, key: Uint8Array, value: Uint8Array, flags: number, label: string): void;
  mapDelete(fd: number, key: Uint8Array, label: string): boolean;
  mapScan(fd: number, label: string): { keys: Buffer; values: Buffer; count: number };
  mapScanChunk(
    fd: number,
    cursor: Uint8Array | undefined,
    entries: number,
    label: string,
  ): { keys: Buffer; values: Buffer; count: number; next?: Buffer };
  mapUpdateBatch(fd: number, keys: Uint8Array, values: Uint8Array, count: number, flags: number, label: string): void;
  mapDeleteBatch(fd: number, keys: Uint8Array, count: number, label: string): number;
  mapFreeze(fd: number, label: string): void;
  possibleCpus(): number;

  programInfo(fd: number): ProgramInfo;
  programStats(fd: number): { runTimeNs: bigint; runCount: bigint };
  programFdById(id: number): number;
  programTestRun(fd: number, options: TestRunOptions, label: string): TestRunResult;
  skbEncode(fields: Partial<SkbFields>): Buffer;
  skbDecode(ctx: Uint8Array): SkbFields;

  linkInfo(fd: number): LinkInfo;
  linkUpdate(fd: number, programFd: number, label: string): void;
  linkDetach(fd: number, label: string): void;
  attachTcx(programFd: number, target: Target, direction: string, netns: string | undefined): number;
  queryTcx(target: Target, direction: string, netns: string | undefined): Array<{ progId: number; linkId: number }>;
  supportsTcx(): boolean;
  attachTc(programFd: number, target: Target, direction: string, netns: string | undefined): void;
  detachTc(target: Target, direction: string, netns: string | undefined): boolean;
  queryTc(target: Target, direction: string, netns: string | undefined): number | undefined;
  attachXdp(programFd: number, target: Target, generic: boolean, netns: string | undefined): number;
  attachCgroup(programFd: number, type: string, cgroupPath: string): number;
  attachTracepoint(programFd: number, category: string, name: string): number;
  attachRawTracepoint(programFd: number, name: string | undefined): number;

  watchClose(watch: WatchPointer): void;
  watchUnref(watch: WatchPointer): void;
  watchPause(watch: WatchPointer): void;
  watchResume(watch: WatchPointer): void;
  watchConnect(fd: number, label: string, callback: (error: NativeError | null) => void): WatchPointer;
  ringOpen(mapFd: number, label: string, callback: (block: Buffer, offsets: Uint32Array) => void): WatchPointer;
  ringDrain(watch: WatchPointer): number;
  ringRead(watch: WatchPointer): number;

  netlinkOpen(protocol: string, netns: string | undefined): WatchPointer;
  netlinkRequest(socket: WatchPointer, message: Uint8Array, dump: boolean): Buffer[];
  netlinkBatch(socket: WatchPointer, messages: readonly Uint8Array[]): Array<NativeError | null>;
  netlinkClose(socket: WatchPointer): void;
  netlinkWatch(protocol: string, netns: string | undefined, callback: (event: NetlinkEvent) => void): WatchPointer;
  netlinkJoin(watch: WatchPointer, group: number): void;

  netnsEnter(path: string): number;
  netnsRestore(previous: number): void;
  netnsCreate(path: string, loopbackUp: boolean): void;
  netnsDelete(path: string): boolean;
  netnsId(path: string): { dev: number; ino: number };
  netnsCookie(path: string | undefined): bigint;
  ifNameToIndex(name: string, netns: string | undefined): number;
  ifIndexToName(ifindex: number, netns: string | undefined): string;

  echoOpen(
    family: 4 | 6,
    netns: string | undefined,
    callback: (address: string, identifier: number, sequence: number, payload: Buffer) => void,
  ): WatchPointer;
  echoSend(watch: WatchPointer, address: string, identifier: number, sequence: number, payload: Uint8Array): void;

  listenTcp(options: SocketOptions): number;
  bindUdp(options: SocketOptions): number;
  connectTcp(options: ConnectOptions): number;
  localAddress(fd: number): { address: string; port: number };
  peerCredentials(fd: number): { pid: number; uid: number; gid: number };

  clockNs(boot: boolean): bigint;
  mountBpffs(path: string): boolean;
  setRlimitMemlock(): void;
}

let loaded: Addon | undefined;

/** Loaded on first use, so that pure code importing only types never needs the compiled file. */
export function addon(): Addon {
  if (loaded === undefined) {
    loaded = createRequire(import.meta.url)('./build/axoneme_native.node') as Addon;
    loaded.setErrorClass(NativeError);
  }
  return loaded;
}
