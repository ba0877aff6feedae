/**
 * What this kernel can do: asked once at start, by trying and not by version where there is a way to try.
 *
 * - A missing required feature stops the agent with NotSupported; a missing optional one has a stated consequence.
 */
import { release } from 'node:os';
import { join } from 'node:path';
import { createMap, kernelHasBtf, type MapType, NativeError, openObject, supportsTcx } from '../native/index.ts';
import { canDestroySockets } from './sock-destroy.ts';
import { type SockHook, sockHooks } from './sock-hooks.ts';

/** The oldest kernel that has every required feature. */
export const KERNEL_FLOOR = '5.10';

export type FeatureName =
  | 'ringbuf'
  | 'lpm'
  | 'lru'
  | 'mapInMap'
  | 'redirectPeer'
  | 'tcx'
  | 'addressProtocol'
  | 'kernelBtf'
  | 'connectRefusal'
  | 'bindRefusal'
  | 'sockDestroy'
  | SockHook;

interface FeatureDef {
  /** First kernel that has it. */
  since: string;
  /** Undefined: required. */
  without: string | undefined;
  what: string;
  probe: () => boolean;
}

export interface Features {
  readonly kernel: string;
  readonly has: Readonly<Record<FeatureName, boolean>>;
  /** One line for each feature that is missing: what it is, since when, and what it disables. */
  readonly missing: readonly string[];
}

export class NotSupported extends Error {
  override readonly name = 'NotSupported';
  readonly feature: FeatureName;
  readonly since: string;

  constructor(feature: FeatureName, what: string, since: string) {
    const name = what.includes(feature) ? what : `${what} (${feature})`;
    super(`${name} needs Linux ${since}, this is ${release()}; the oldest kernel supported is ${KERNEL_FLOOR}`);
    this.feature = feature;
    this.since = since;
  }
}

/** A kernel that knows the type makes the map; any refusal but of the type itself is a failure to tell. */
function knowsMap(type: MapType, keySize: number, valueSize: number, maxEntries: number, flags = 0): boolean {
  try {
    createMap({ type, name: 'axoneme_probe', keySize, valueSize, maxEntries, flags }).close();
    return true;
  } catch (error) {
    if (error instanceof NativeError && error.code === 'EINVAL') return false;
    throw error;
  }
}

function knowsMapInMap(): boolean {
  const inner = createMap({ type: 'hash', name: 'axoneme_probe', keySize: 4, valueSize: 4, maxEntries: 1 });
  try {
    createMap({
      type: 'hash_of_maps',
      name: 'axoneme_probe',
      keySize: 4,
      valueSize: 4,
      maxEntries: 1,
      innerMapFd: inner.fd,
    }).close();
    return true;
  } catch (error) {
    if (error instanceof NativeError && error.code === 'EINVAL') return false;
    throw error;
  } finally {
    inner.close();
  }
}

const PROBES = join(import.meta.dirname, '../bpf/build/probe.o');

/** A program of bpf/probe.bpf.c that a kernel without the feature refuses to load. */
function loads(program: string): boolean {
  const object = openObject(PROBES, { programs: [program] });
  try {
    object.load();
    return true;
  } catch (error) {
    if (error instanceof NativeError && (error.code === 'EINVAL' || error.code === 'EOPNOTSUPP')) return false;
    throw error;
  } finally {
    object.close();
  }
}

/** `6.12.3-amd64` is at least `6.6`. */
export function isAtLeast(kernel: string, version: string): boolean {
  const [major = 0, minor = 0] = kernel.split(/[.-]/).map(Number);
  const [wantedMajor = 0, wantedMinor = 0] = version.split('.').map(Number);
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}

const NO_PREALLOC = 1;
const PAGE_BYTES = 4096;
const byVersion = (since: string) => (): boolean => isAtLeast(release(), since);

/** How lines about them begin. */
export const SOCK_HOOK = 'cgroup hook';

/** Without any of them strict mode does not start. */
function sockHook(hook: SockHook, since: string, without: string): FeatureDef {
  return { since, without, what: `${SOCK_HOOK} ${hook}`, probe: () => loads(`probe_${hook}`) };
}
const NO_CONNECT = 'sockets are not translated when they connect';
const NO_SENDMSG = 'datagrams of unconnected sockets are not translated in the socket';
const NO_RECVMSG = 'unconnected sockets see answers come from the backend';
const NO_PEERNAME = 'getpeername shows the backend';
const NO_RELEASE = 'what closed sockets were translated from is forgotten only when the map is full';
const NO_BIND = 'host processes can bind a port that is a service’s node port';

const features: { readonly [Name in FeatureName]: FeatureDef } = {
  ringbuf: {
    since: '5.8',
    without: undefined,
    what: 'BPF ring buffers',
    probe: () => knowsMap('ringbuf', 0, 0, PAGE_BYTES),
  },
  lpm: {
    since: '4.11',
    without: undefined,
    what: 'BPF longest-prefix-match maps',
    probe: () => knowsMap('lpm_trie', 8, 4, 1, NO_PREALLOC),
  },
  lru: { since: '4.10', without: undefined, what: 'BPF LRU maps', probe: () => knowsMap('lru_hash', 4, 4, 64) },
  mapInMap: { since: '4.12', without: undefined, what: 'BPF maps in maps', probe: knowsMapInMap },
  redirectPeer: {
    since: '5.10',
    without: undefined,
    what: 'bpf_redirect_peer',
    probe: byVersion('5.10'),
  },
  tcx: {
    since: '6.6',
    without:
      'programs are attached as clsact filters: an agent that is killed while it replaces one leaves either, never none',
    what: 'tcx links',
    probe: supportsTcx,
  },
  addressProtocol: {
    since: '5.18',
    without: 'addresses cannot be marked: any address on a link of ours counts as ours',
    what: 'address protocols',
    probe: byVersion('5.18'),
  },
  kernelBtf: {
    since: '5.2',
    without: 'nothing today: no program reads kernel structures (CONFIG_DEBUG_INFO_BTF is off)',
    what: 'BTF of the kernel',
    probe: kernelHasBtf,
  },
  connect4: sockHook('connect4', '4.17', NO_CONNECT),
  connect6: sockHook('connect6', '4.17', NO_CONNECT),
  sendmsg4: sockHook('sendmsg4', '4.18', NO_SENDMSG),
  sendmsg6: sockHook('sendmsg6', '4.18', NO_SENDMSG),
  recvmsg4: sockHook('recvmsg4', '5.2', NO_RECVMSG),
  recvmsg6: sockHook('recvmsg6', '5.2', NO_RECVMSG),
  getpeername4: sockHook('getpeername4', '5.8', NO_PEERNAME),
  getpeername6: sockHook('getpeername6', '5.8', NO_PEERNAME),
  post_bind4: sockHook('post_bind4', '4.17', NO_BIND),
  post_bind6: sockHook('post_bind6', '4.17', NO_BIND),
  sock_release: sockHook('sock_release', '5.9', NO_RELEASE),
  connectRefusal: {
    since: '6.1',
    without: 'connecting to a service without backends fails with EPERM instead of ECONNREFUSED',
    what: 'bpf_set_retval at connect',
    probe: () => loads('probe_connect_retval'),
  },
  bindRefusal: {
    since: '6.1',
    without: 'binding a node port fails with EPERM instead of EADDRINUSE',
    what: 'bpf_set_retval at bind',
    probe: () => loads('probe_bind_retval'),
  },
  sockDestroy: {
    since: '4.9',
    without:
      'UDP sockets connected to a backend that goes stay connected to it until they are closed (CONFIG_INET_DIAG_DESTROY is off)',
    what: 'SOCK_DESTROY for UDP',
    probe: canDestroySockets,
  },
};

let probed: Features | undefined;

/** Asks the kernel once per process. Throws NotSupported for the first required feature that is missing. */
export function probeFeatures(): Features {
  if (probed) return probed;
  const has = {} as Record<FeatureName, boolean>;
  const missing: string[] = [];
  for (const [key, { since, without, what, probe }] of Object.entries(features)) {
    const name = key as FeatureName;
    has[name] = probe();
    if (has[name]) continue;
    if (without === undefined) throw new NotSupported(name, what, since);
    missing.push(`${what} (Linux ${since}): ${without}`);
  }
  probed = { kernel: release(), has, missing };
  return probed;
}

/** The hooks of sockets that this kernel has. */
export const sockHooksOf = ({ has }: Features): SockHook[] => sockHooks.filter((hook) => has[hook]);

/** For what cannot do without them: throws NotSupported for the first hook of sockets that is missing. */
export function requireSockHooks({ has }: Features): void {
  const missing = sockHooks.find((hook) => !has[hook]);
  if (missing) throw new NotSupported(missing, features[missing].what, features[missing].since);
}
