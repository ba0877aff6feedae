// SPDX-License-Identifier: Apache-2.0
/** Services on the bench: rows written as the agent's drivers write them, numbers given by the test. */
import { encode } from '../../datapath/codec.ts';
import { createMap } from '../../native/index.ts';
import type { Bench } from './harness.ts';
import { protocols } from './packet.ts';

export const frontendFlags = {
  nodePort: 1,
  externalIp: 2,
  loadBalancer: 4,
  hostPort: 8,
  externalLocal: 16,
  sourceRanges: 32,
  dsr: 64,
} as const;
export const flowDirection = { forward: 0, reply: 1 } as const;
const MAGLEV_LINE = 16;
const SOURCE_RANGE_BITS = 160;

export type Proto = keyof typeof protocols;
export interface Backend {
  id: number;
  addr: string;
  port: number;
}

export function putBackend(bench: Bench, { id, addr, port }: Backend, proto: Proto): void {
  bench.put('backends', id, { addr, port, proto: protocols[proto] });
}

export interface SetOptions {
  affinityTimeout?: number;
  /** Backend ids by table index. */
  maglev?: readonly number[];
}

export function putSet(bench: Bench, set: number, ids: readonly number[], options: SetOptions = {}): void {
  const { affinityTimeout = 0, maglev } = options;
  ids.forEach((id, slot) => {
    bench.put('backend_slots', { set, slot }, id as never);
    if (affinityTimeout) bench.put('affinity_matches', { set, backend: id }, 1 as never);
  });
  if (maglev) putMaglev(bench, set, maglev);
  bench.put('backend_sets', set, { count: ids.length, maglevSize: maglev?.length ?? 0, affinityTimeout });
}

export function putMaglev(bench: Bench, set: number, table: readonly number[]): void {
  const line = bench.codecs.struct('maglev_line');
  const lines = Math.ceil(table.length / MAGLEV_LINE);
  const inner = createMap({
    type: 'array',
    name: 'maglev_inner',
    keySize: 4,
    valueSize: line.size,
    maxEntries: lines,
    flags: 0x1000, // BPF_F_INNER_MAP
  });
  for (let i = 0; i < lines; i++) {
    const backendId = Array.from({ length: MAGLEV_LINE }, (_, j) => table[i * MAGLEV_LINE + j] ?? 0);
    inner.put(u32(i), encode(line, { backendId }));
  }
  bench.object.map('maglev').put(u32(set), inner);
  inner.close();
}

export interface FrontendOptions {
  id?: number;
  flags?: number;
  internalSet?: number;
  externalSet?: number;
}

export interface Frontend {
  addr: string;
  port: number;
  proto: Proto;
}

export const frontendKey = ({ addr, port, proto }: Frontend) => ({ addr, port, proto: protocols[proto] });

export function putFrontend(bench: Bench, frontend: Frontend, options: FrontendOptions = {}): void {
  const { id = 7, flags = 0, internalSet = 1, externalSet = 1 } = options;
  bench.put('frontends', frontendKey(frontend), { id, flags, internalSet, externalSet });
}

export function putSourceRange(bench: Bench, frontend: number, addr: string, bits: number): void {
  const key = { prefixlen: SOURCE_RANGE_BITS - 128 + (addr.includes(':') ? 0 : 96) + bits, frontend, addr };
  bench.put('source_ranges', key, 1 as never);
}

/** Everything of services, and what programs learnt. */
export function clearServices(bench: Bench): void {
  bench.clear('frontends', 'backend_sets', 'backend_slots', 'backends', 'maglev', 'source_ranges', 'affinity');
  bench.clear('affinity_matches', 'service_flows', 'conntrack', 'nat', 'fragments');
}

/** MurmurHash3 of six words, as client_hash in lib/lb-choice.h. */
export function clientHash(words: readonly number[]): number {
  const rotl = (x: number, bits: number) => (x << bits) | (x >>> (32 - bits));
  let hash = 0;
  for (const word of words) {
    hash ^= Math.imul(rotl(Math.imul(word, 0xcc9e2d51), 15), 0x1b873593);
    hash = (Math.imul(rotl(hash, 13), 5) + 0xe6546b64) | 0;
  }
  hash ^= words.length * 4;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
