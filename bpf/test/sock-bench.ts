// SPDX-License-Identifier: Apache-2.0
/**
 * Sockets on a bench: the socket programs at a cgroup of their own, rows as the agent writes them, and processes in the cgroup.
 *
 * - Two namespaces: `host` is the node's, with the backends' addresses on its loopback; `pod` is wired to it.
 * - Backends answer from this process, which is not in the cgroup: what they send is never translated.
 */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import type { Fields } from '../../datapath/codec.ts';
import { translatedSockets } from '../../datapath/sock-destroy.ts';
import { bindUdp, createNetns, deleteNetns, listenTcp, type RingBuffer, ringBuffer } from '../../native/index.ts';
import type { ServiceRows } from './service-rows.ts';
import { SockProcess } from './sock-process.ts';
import { SockPrograms } from './sock-programs.ts';

export const HOST = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };
export const POD = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
/** Where backends listen, on the host's loopback. */
export const BACKENDS = ['10.0.1.5', '10.0.1.6', '10.0.1.7', 'fd00::5', 'fd00::6', 'fd00::7'] as const;
export const BACKEND_PORT = 8080;

const MAX_ENTRIES = { frontends: 1024, sock_revnat: 4096, sock_flows: 4096, affinity: 1024 };

export class SockBench {
  readonly netns: { host: string; pod: string };
  programs!: SockPrograms;
  host!: SockProcess;
  pod!: SockProcess;
  readonly #name: string;
  readonly #servers: { close(): void }[] = [];
  readonly #events: Fields[] = [];
  #ring: RingBuffer | undefined;

  static async create(name: string): Promise<SockBench> {
    const bench = new SockBench(name);
    try {
      bench.#open();
      await Promise.all([bench.host.ready, bench.pod.ready]);
      return bench;
    } catch (error) {
      await bench.close();
      throw error;
    }
  }

  private constructor(name: string) {
    this.#name = `axt-${process.pid}-${name}`;
    this.netns = { host: `/run/netns/${this.#name}-host`, pod: `/run/netns/${this.#name}-pod` };
  }

  #open(): void {
    this.#wire();
    this.programs = new SockPrograms(this.#name, this.netns.host, MAX_ENTRIES);
    const { object, codecs, cgroup } = this.programs;
    const codec = codecs.struct('sock_event');
    this.#ring = ringBuffer(object.map('events'), (records) => {
      for (const record of records) this.#events.push(codec.read(record, 0));
    });
    for (const address of BACKENDS) this.#serve(address);
    this.host = new SockProcess(this.netns.host, cgroup);
    this.pod = new SockProcess(this.netns.pod, cgroup);
  }

  get rows(): ServiceRows {
    return this.programs.rows;
  }

  /** Events since the last call. */
  events(): Fields[] {
    this.#ring?.drain();
    return this.#events.splice(0);
  }

  /** How many sockets are noted with what they were translated from. */
  translations(): { streams: number; datagrams: number } {
    const { object, codecs } = this.programs;
    const { value } = codecs.map('sock_peers');
    const buckets = object.map('sock_peers').entries();
    const cookies = buckets.flatMap(([, bytes]) => (value.read(bytes, 0) as { cookie: bigint[] }).cookie);
    return {
      streams: cookies.filter((cookie) => cookie > 0).length,
      datagrams: object.map('sock_revnat').scan().count,
    };
  }

  /** Did a socket reach this address through a service? */
  get isTranslated(): ReturnType<typeof translatedSockets> {
    const { object } = this.programs;
    return translatedSockets(object.map('sock_revnat'), object.btf());
  }

  async close(): Promise<void> {
    await Promise.all([this.host?.stop(), this.pod?.stop()]);
    for (const server of this.#servers) server.close();
    this.#ring?.close();
    this.programs?.close();
    deleteNetns(this.netns.host);
    deleteNetns(this.netns.pod);
  }

  #wire(): void {
    const { host, pod } = this.netns;
    for (const path of [host, pod]) createNetns(path, { loopbackUp: true });
    const ip = (netns: string, command: string) =>
      execFileSync('nsenter', [`--net=${netns}`, 'ip', ...command.split(' ')], { stdio: ['ignore', 'ignore', 'pipe'] });
    ip(host, 'link add pod type veth peer name eth0');
    ip(host, `link set eth0 netns ${pod.slice('/run/netns/'.length)}`);
    for (const [netns, dev, { ipv4, ipv6 }] of [
      [host, 'pod', HOST],
      [pod, 'eth0', POD],
    ] as const) {
      ip(netns, `address add ${ipv4}/24 dev ${dev}`);
      ip(netns, `address add ${ipv6}/64 dev ${dev} nodad`);
      ip(netns, `link set ${dev} up`);
    }
    ip(pod, `route add default via ${HOST.ipv4}`);
    ip(pod, `-6 route add default via ${HOST.ipv6}`);
    for (const address of BACKENDS) ip(host, `address add ${address}/${address.includes(':') ? 128 : 32} dev lo`);
  }

  /** Says the backend's address, to whoever connects or sends. */
  #serve(address: string): void {
    const place = { netns: this.netns.host, address, port: BACKEND_PORT };
    const server = createServer((socket) => socket.on('error', () => {}).end(address));
    this.#servers.push(server.listen({ fd: listenTcp({ ...place, v6Only: true }) }));
    const datagrams = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    datagrams.on('message', (_, from) => datagrams.send(address, from.port, from.address, () => {}));
    datagrams.on('error', () => {});
    datagrams.bind({ fd: bindUdp({ ...place, v6Only: true }) });
    this.#servers.push({ close: () => datagrams.close() });
  }
}
