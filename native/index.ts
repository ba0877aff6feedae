// SPDX-License-Identifier: Apache-2.0
/** The kernel's face in TypeScript: BPF through libbpf, netlink, network namespaces and sockets in them. Every failure is a NativeError. */

export {
  type Btf,
  type BtfMap,
  type BtfMember,
  type BtfRef,
  type BtfType,
  type BtfVariable,
  btfOfMap,
  btfOfObject,
  btfStruct,
  kernelHasBtf,
  type MapTypes,
} from './btf.ts';
export { type EchoReply, EchoSocket } from './echo.ts';
export { isErrno, type MapDifference, NativeError } from './error.ts';
export {
  attachCgroup,
  attachRawTracepoint,
  attachTc,
  attachTcx,
  attachTracepoint,
  attachXdp,
  BpfLink,
  type CgroupAttachType,
  type Direction,
  detachTc,
  type LinkInfo,
  type NetTarget,
  openPinnedLink,
  queryTc,
  queryTcx,
  supportsTcx,
} from './link.ts';
export {
  BpfMap,
  type CreateMapOptions,
  createMap,
  type MapInfo,
  type MapType,
  mapFlags,
  openMapById,
  openPinnedMap,
  possibleCpus,
  putFlags,
} from './map.ts';
export { type NetlinkEvent, type NetlinkOptions, type NetlinkProtocol, NetlinkSocket } from './netlink.ts';
export { createNetns, deleteNetns, ifIndexToName, ifNameToIndex, netnsCookie, netnsId, withNetns } from './netns.ts';
export { BpfObject, type ObjectMapOptions, type OpenObjectOptions, openObject } from './object.ts';
export {
  BpfProgram,
  openPinnedProgram,
  openProgramById,
  type ProgramInfo,
  readSkbContext,
  type SkbFields,
  skbContext,
  type TestRunOptions,
  type TestRunResult,
} from './program.ts';
export { RECORDS_MAX, RingBuffer, ringBlocks, ringBuffer } from './ring-buffer.ts';
export {
  bindUdp,
  type ConnectOptions,
  closeFd,
  connectTcp,
  dialTcp,
  listenTcp,
  localAddress,
  peerCredentials,
  type SocketOptions,
} from './sockets.ts';
export { bootClock, monotonicNs, mountBpffs, setRlimitMemlock } from './system.ts';
