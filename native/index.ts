// SPDX-License-Identifier: Apache-2.0
/** The kernel's face in TypeScript: BPF through libbpf, netlink, network namespaces and sockets in them. Every failure is a NativeError. */
export { type MapDifference, isErrno, NativeError } from './error.ts';
export { type Btf, type BtfMap, type BtfMember, type BtfRef, type BtfType, type BtfVariable, btfOfObject, btfStruct, kernelHasBtf } from './btf.ts';
export { BpfObject, type ObjectMapOptions, openObject, type OpenObjectOptions } from './object.ts';
export { BpfMap, createMap, type CreateMapOptions, mapFlags, type MapInfo, type MapType, openMapById, openPinnedMap, possibleCpus, putFlags } from './map.ts';
export { BpfProgram, openPinnedProgram, openProgramById, type ProgramInfo, readSkbContext, skbContext, type SkbFields, type TestRunOptions, type TestRunResult } from './program.ts';
export {
  attachCgroup, attachRawTracepoint, attachTc, attachTcx, attachTracepoint, attachXdp, BpfLink, type CgroupAttachType, detachTc,
  type Direction, type LinkInfo, type NetTarget, openPinnedLink, queryTc, queryTcx, supportsTcx,
} from './link.ts';
export { RingBuffer, ringBuffer } from './ring-buffer.ts';
export { type NetlinkEvent, type NetlinkOptions, type NetlinkProtocol, NetlinkSocket } from './netlink.ts';
export { createNetns, deleteNetns, ifIndexToName, ifNameToIndex, netnsCookie, netnsId, withNetns } from './netns.ts';
export { bindUdp, closeFd, connectTcp, type ConnectOptions, dialTcp, listenTcp, localAddress, peerCredentials, type SocketOptions } from './sockets.ts';
export { bootClock, monotonicNs, mountBpffs, setRlimitMemlock } from './system.ts';
