// SPDX-License-Identifier: Apache-2.0
/**
 * The programs on a bench: loaded unpinned, rows written as the agent writes them, packets put in one by one.
 *
 * - A namespace of its own stands for the node: lxca and lxcb for the pods, eth0 with an address, a default route and a
 *   known neighbour for the network. Nothing ever leaves it: a test run does not carry out a redirect.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Codecs, encode, type Fields } from '../../datapath/codec.ts';
import type { DatapathEvent } from '../../datapath/events.ts';
import { namedMaps } from '../../datapath/runtime-config.ts';
import {
  type BpfMap,
  type BpfObject,
  type BpfProgram,
  btfOfObject,
  createMap,
  createNetns,
  deleteNetns,
  ifNameToIndex,
  openObject,
  possibleCpus,
  type RingBuffer,
  readSkbContext,
  ringBuffer,
  type SkbFields,
  skbContext,
  withNetns,
} from '../../native/index.ts';
import { dropReasons } from '../../state/drop-reasons.ts';
import { families, identities, macs } from './cast.ts';

export { type Family, families, flags, identities, macs } from './cast.ts';

export type Verdict = 'pass' | 'drop' | 'redirect';
export type Program =
  | 'from_endpoint'
  | 'to_endpoint'
  | 'from_netdev'
  | 'to_netdev'
  | 'from_overlay'
  | 'from_host'
  | 'from_wireguard';
/** The last three stand for the devices between nodes, and are there if asked for. */
export type Link = 'lxca' | 'lxcb' | 'eth0' | 'overlay' | 'chost' | 'wg';
const links: readonly Link[] = ['lxca', 'lxcb', 'eth0'];
const verdicts = new Map<number, Verdict>([
  [0, 'pass'],
  [2, 'drop'],
  [7, 'redirect'],
]);

const hostEndpointId = 65_536;

export interface Outcome {
  verdict: Verdict;
  data: Buffer;
  events: DatapathEvent[];
  /** Names of drop reasons of the events, as Hubble has them. */
  drops: string[];
  /** skb->mark afterwards. */
  mark: number;
}

export interface BenchOptions {
  config?: Fields;
  maxEntries?: Record<string, number>;
  /** Only these are loaded. Default: all. */
  programs?: readonly Program[];
  links?: readonly Link[];
  /** Folder on a bpffs where all maps are pinned, for another object to use them; it goes when the bench closes. */
  pinFolder?: string;
}

const datapath = join(import.meta.dirname, '../build/datapath.o');

/** Capacities, and where each map of the object is pinned. */
export function mapOptions(
  maxEntries: Record<string, number>,
  pinFolder?: string,
): Record<string, { maxEntries?: number; pinPath?: string }> {
  const options: Record<string, { maxEntries?: number; pinPath?: string }> = {};
  if (pinFolder)
    for (const { name } of namedMaps(btfOfObject(datapath))) options[name] = { pinPath: join(pinFolder, name) };
  for (const [map, entries] of Object.entries(maxEntries)) options[map] = { ...options[map], maxEntries: entries };
  return options;
}

export class Bench {
  readonly object: BpfObject;
  readonly codecs: Codecs;
  readonly netns: string;
  readonly #pinFolder: string | undefined;
  readonly #events: DatapathEvent[] = [];
  readonly #inner = new Map<number, BpfMap>();
  readonly #ifindex: ReadonlyMap<string, number>;
  readonly #ring: RingBuffer;

  constructor(
    name: string,
    { config = {}, maxEntries = {}, pinFolder, programs, links: more = [] }: BenchOptions = {},
  ) {
    this.netns = `/run/netns/axt-${process.pid}-${name}`;
    this.#pinFolder = pinFolder;
    deleteNetns(this.netns);
    const maps = mapOptions({ conntrack: 4096, nat: 4096, ...maxEntries }, pinFolder);
    this.object = openObject(datapath, { maps, ...(programs && { programs }) });
    try {
      this.codecs = new Codecs(this.object.btf());
      this.object.setRodata('config', this.configBytes(config));
      this.object.load();
      const codec = this.codecs.struct('event');
      this.#ring = ringBuffer(this.object.map('events'), (records) => {
        for (const record of records) {
          const event = codec.read(record, 0) as unknown as DatapathEvent;
          event.data = Buffer.from(event.data.subarray(0, event.lenCap));
          this.#events.push(event);
        }
      });
      this.#ifindex = this.#wire([...links, ...more]);
      this.#rows();
    } catch (error) {
      this.object.close();
      deleteNetns(this.netns);
      throw error;
    }
  }

  close(): void {
    this.#ring.close();
    for (const map of this.#inner.values()) map.close();
    this.object.close();
    if (this.#pinFolder) rmSync(this.#pinFolder, { recursive: true, force: true });
    deleteNetns(this.netns);
  }

  #wire(all: readonly Link[]): Map<string, number> {
    createNetns(this.netns, { loopbackUp: true });
    return withNetns(this.netns, () => {
      writeFileSync('/proc/sys/net/ipv4/ip_forward', '1');
      writeFileSync('/proc/sys/net/ipv6/conf/all/forwarding', '1');
      for (const link of all)
        ip(`link add ${link} type veth peer name ${link}-far`, `link set ${link}-far up`, `link set ${link} up`);
      ip(`link set eth0 address ${macs.eth0}`);
      for (const { node, router, bits } of families) {
        ip(`address add ${node}/${bits} dev eth0${bits === 128 ? ' nodad' : ''}`);
        ip(`${bits === 128 ? '-6 ' : ''}route add ${router} dev eth0`);
        ip(`${bits === 128 ? '-6 ' : ''}route add default via ${router} dev eth0`);
        ip(`neighbour add ${router} lladdr ${macs.router} dev eth0 nud permanent`);
      }
      return new Map(all.map((link) => [link, ifNameToIndex(link)]));
    });
  }

  /** What this bench's programs see as `config`. */
  configBytes(config: Fields = {}): Buffer {
    return encode(this.codecs.struct('config'), { ...defaultConfig, ...config });
  }

  #rows(): void {
    for (const pod of ['a', 'b'] as const) this.endpoint(pod);
    for (const { bits, a, b, gateway, remote, node, node2 } of families) {
      const identity = (address: string, value: number) => this.ipcache(`${address}/${bits}`, value);
      identity(a, identities.a);
      identity(b, identities.b);
      identity(gateway, identities.host);
      identity(node, identities.host);
      identity(node2, identities.node2);
      identity(remote, identities.remote);
    }
    this.put('netdevs', this.ifindex('eth0'), {
      ipv4: families[0].node,
      ipv6: families[1].node,
      mac: macs.eth0,
      flags: 0,
    });
  }

  ifindex(link: Link): number {
    const index = this.#ifindex.get(link);
    if (index === undefined) throw new Error(`this bench has no link ${link}`);
    return index;
  }

  put(map: string, key: unknown, value: Fields): void {
    const codec = this.codecs.map(map);
    this.object.map(map).put(encode<unknown>(codec.key, key), encode(codec.value as never, value as never));
  }

  encodeKey(map: string, key: unknown): Buffer {
    return encode<unknown>(this.codecs.map(map).key, key);
  }

  get(map: string, key: unknown): Fields | undefined {
    const codec = this.codecs.map(map);
    const bytes = this.object.map(map).get(encode<unknown>(codec.key, key));
    return bytes && (codec.value.read(bytes, 0) as Fields);
  }

  entries(map: string): { key: Fields; value: Fields }[] {
    const codec = this.codecs.map(map);
    return this.object
      .map(map)
      .entries()
      .map(([key, value]) => ({ key: codec.key.read(key, 0) as Fields, value: codec.value.read(value, 0) as Fields }));
  }

  /** Changes every entry of a map. */
  patch(map: string, fields: Fields): void {
    for (const { key, value } of this.entries(map)) this.put(map, key, { ...value, ...fields });
  }

  clear(...maps: string[]): void {
    for (const map of maps) for (const key of this.object.map(map).keys()) this.object.map(map).delete(key);
  }

  ipcache(cidr: string, identity: number, { tunnelEndpoint = '', encryptKey = 0 } = {}): void {
    this.put('ipcache', cidr, { identity, tunnelEndpoint, encryptKey, flags: 0 });
  }

  clearIpcache(cidr: string): void {
    this.object.map('ipcache').delete(this.encodeKey('ipcache', cidr));
  }

  /** The rows of a pod, one per family. */
  endpoint(pod: 'a' | 'b', fields: Partial<{ flags: number; policyRevision: number; identity: number }> = {}): void {
    const ids = { a: 1, b: 2 };
    for (const family of families) {
      this.put('endpoints', family[pod], {
        ifindex: this.ifindex(pod === 'a' ? 'lxca' : 'lxcb'),
        identity: identities[pod],
        id: ids[pod],
        flags: 0,
        policyRevision: 1,
        mac: macs[pod].pod,
        hostMac: macs[pod].host,
        ...fields,
      });
    }
  }

  /** The row of the node itself. */
  host(flags: number): void {
    const mac = '00:00:00:00:00:00';
    const row = { ifindex: 0, identity: identities.host, id: hostEndpointId, flags, policyRevision: 1 };
    this.put('endpoints', '0.0.0.0', { ...row, mac, hostMac: mac });
  }

  policyRevision(revision: number): void {
    const value = Buffer.alloc(4);
    value.writeUInt32LE(revision);
    this.object.map('policy_revision').put(Buffer.alloc(4), value);
  }

  /** Replaces the policy of a pod, or of the node. */
  policy(pod: 'a' | 'b' | 'host', entries: readonly PolicyEntry[]): void {
    const id = { a: 1, b: 2, host: hostEndpointId }[pod];
    const key = this.codecs.struct('policy_key');
    const value = this.codecs.struct('policy_entry');
    const inner = createMap({
      type: 'lpm_trie',
      name: 'policy_inner',
      keySize: key.size,
      valueSize: value.size,
      maxEntries: 16384,
      flags: 1,
    });
    for (const entry of entries) {
      const {
        direction,
        identity = 0,
        proto = 0,
        dport = 0,
        portBits = dport ? 16 : 0,
        deny = false,
        precedence,
        cookie = 0,
        proxyPort = 0,
      } = entry;
      const prefixlen = proto ? 8 + portBits : 0;
      inner.put(
        encode(key, { prefixlen: 40 + prefixlen, identity, direction: direction === 'egress' ? 1 : 0, proto, dport }),
        encode(value, {
          precedence: precedence ?? (deny ? 255 : 1),
          cookie,
          proxyPort,
          flags: deny ? 1 : 0,
          prefixlen,
        }),
      );
    }
    const outer = Buffer.alloc(4);
    outer.writeUInt32LE(id);
    this.object.map('policy').put(outer, inner);
    this.#inner.get(id)?.close();
    this.#inner.set(id, inner);
  }

  /** The verdict and the packet, with the events left in the ring. */
  #run(
    program: Program | BpfProgram,
    link: Link,
    packet: Buffer,
    fields: Partial<SkbFields>,
  ): Omit<Outcome, 'events' | 'drops'> {
    const ifindex = this.ifindex(link);
    const given = skbContext({ ifindex, ingressIfindex: ifindex, ...fields });
    const loaded = typeof program === 'string' ? this.object.program(program) : program;
    const { retval, data, ctx } = withNetns(this.netns, () => loaded.testRun({ data: packet, ctx: given }));
    const verdict = verdicts.get(retval);
    if (!verdict) throw new Error(`${loaded.label} returned ${retval}`);
    return { verdict, data, mark: readSkbContext(ctx).mark };
  }

  runQuiet(program: Program, link: Link, packet: Buffer): Verdict {
    return this.#run(program, link, packet, {}).verdict;
  }

  run(program: Program | BpfProgram, link: Link, packet: Buffer, ctx: Partial<SkbFields> = {}): Outcome {
    const outcome = this.#run(program, link, packet, ctx);
    const events = this.events();
    const drops = events
      .filter(({ type }) => type === 1)
      .map(({ subtype }) => dropReasons.get(subtype)?.proto ?? String(subtype));
    return { ...outcome, events, drops };
  }

  /** Takes the events written so far. */
  events(): DatapathEvent[] {
    this.#ring.drain();
    return this.#events.splice(0);
  }

  /** Packets and bytes counted under a reason, over all CPUs. */
  metric(reason: number, direction: 'ingress' | 'egress'): { packets: number; bytes: number } {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(reason * 2 + (direction === 'egress' ? 1 : 0));
    const value = this.object.map('metrics').get(key) ?? Buffer.alloc(0);
    let [packets, bytes] = [0, 0];
    for (let cpu = 0; cpu < possibleCpus(); cpu++) {
      packets += Number(value.readBigUInt64LE(cpu * 16));
      bytes += Number(value.readBigUInt64LE(cpu * 16 + 8));
    }
    return { packets, bytes };
  }
}

export interface PolicyEntry {
  direction: 'ingress' | 'egress';
  identity?: number;
  proto?: number;
  dport?: number;
  /** Bits of the port that count, when the entry is a range. */
  portBits?: number;
  deny?: boolean;
  precedence?: number;
  cookie?: number;
  proxyPort?: number;
}

export const defaultConfig: Fields = {
  hz: 250,
  timeoutTcpSyn: 60,
  timeoutTcpEstablished: 8000,
  timeoutTcpClosing: 10,
  timeoutAny: 60,
  natPortMin: 32768,
  natPortMax: 65535,
  traceInterval: 5,
  traceFlags: 7,
  traceAggregation: 2,
  ipv4: 1,
  ipv6: 1,
  masqueradeIpv4: 1,
  masqueradeIpv6: 1,
  allowLocalhost: 1,
  allowIcmpFragNeeded: 1,
  services: 1,
  serviceReject: 1,
  serviceExternalClusterIp: 0,
  dsr: 0,
  hostFirewall: 0,
  tunnel: 0,
  encryption: 0,
  encryptionStrict: 0,
  nodeEncryption: 0,
  tunnelPort: 0,
  strictIpv4: '',
  strictIpv6: '',
  nodePortMin: 30000,
  nodePortMax: 32767,
  loopbackIpv4: families[0].loopback,
  loopbackIpv6: families[1].loopback,
  nativeRoutingIpv4: families[0].nativeCidr,
  nativeRoutingIpv6: families[1].nativeCidr,
};

function ip(...commands: string[]): void {
  for (const command of commands) execFileSync('ip', command.split(' '), { stdio: ['ignore', 'ignore', 'pipe'] });
}
