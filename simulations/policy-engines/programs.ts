/**
 * The real programs as judges of policy: one node's rows are loaded, and each question is a packet of a new connection.
 *
 * - Rows are changed, not made anew, from one load to the next: the kernel takes its time to replace a policy map.
 */
import { Bench, type Link, type Program } from '../../bpf/test/harness.ts';
import type { Op } from '../../datapath/driver.ts';
import { PolicyDriver } from '../../datapath/drivers/policy.ts';
import type { PolicyEntry } from '../../policy/change.ts';
import { type PolicyEntryRow, policyEntryKey, type TableName } from '../../state/tables.ts';
import { protocols } from '../packet-model/packet.ts';
import { toBytes } from '../packet-model/wire.ts';

const ENFORCE = { ingress: 1, egress: 2 } as const;
const VERDICT_EVENT = 3;
const ENTRIES_MAX = 16_384;
const MAC = { mac: '02:00:00:00:0a:01', hostMac: '02:00:00:00:0a:02' };
const POD_LINK: Link = 'lxca';
const NETWORK_LINK: Link = 'eth0';
const SOURCE_PORT_MIN = 10_000;
const ECHO_REQUESTS: readonly number[] = [8, 128];
/** Room in the conntrack map; it is cleared before it is full. */
const CONNECTIONS_MAX = 3_000;

export interface LoadedEndpoint {
  id: number;
  identity: number;
  addresses: readonly string[];
  enforcement: { ingress: boolean; egress: boolean };
  entries: readonly PolicyEntry[];
}

export interface NodeRows {
  endpoints: readonly LoadedEndpoint[];
  /** CIDR to identity. */
  ipcache: ReadonlyMap<string, number>;
}

/** A pod's policy in one direction, for one packet. */
export interface PacketQuestion {
  direction: 'ingress' | 'egress';
  endpointId: number;
  from: string;
  to: string;
  /** IP protocol number. */
  proto: number;
  port: number;
  /** It comes from the node's own stack. */
  isFromHost: boolean;
}

export interface PacketAnswer {
  side: 'allowed' | 'denied' | 'not-enforced';
  /** Of the entry that decided; 0: none. */
  cookie: number;
}

export class Programs {
  readonly #bench: Bench;
  readonly #driver: PolicyDriver;
  #policy = new Map<string, PolicyEntryRow>();
  readonly #maps = new Set<number>();
  #ipcache = new Map<string, number>();
  #endpoints: string[] = [];
  #asked = 0;

  /** `name` tells it from others of this process. */
  constructor(name: string) {
    this.#bench = new Bench(name);
    const { object } = this.#bench;
    this.#driver = new PolicyDriver({
      policy: object.map('policy'),
      revision: object.map('policy_revision'),
      btf: object.btf(),
    });
    this.#bench.clear('endpoints', 'ipcache');
  }

  close(): void {
    this.#bench.close();
  }

  async load({ endpoints, ipcache }: NodeRows): Promise<void> {
    const wanted = new Map(endpoints.flatMap(({ id, entries }) => entries.map((entry) => rowOf(id, entry))));
    const newMaps = endpoints.filter(({ id }) => !this.#maps.has(id));
    for (const { id } of newMaps) this.#maps.add(id);
    await this.#apply(newMaps.map(({ id }) => opOf('bpf.policy-maps', String(id), { entriesMax: ENTRIES_MAX })));
    const gone = [...this.#policy.keys()].filter((key) => !wanted.has(key));
    await this.#apply(gone.map((key) => opOf('bpf.policy', key, undefined)));
    await this.#apply([...wanted].map(([key, value]) => opOf('bpf.policy', key, value)));
    this.#policy = wanted;
    for (const address of this.#endpoints) this.#delete('endpoints', address);
    this.#endpoints = endpoints.flatMap(({ addresses }) => [...addresses]);
    for (const { id, identity, addresses, enforcement } of endpoints) {
      const flags = (enforcement.ingress ? ENFORCE.ingress : 0) | (enforcement.egress ? ENFORCE.egress : 0);
      const row = { ifindex: this.#bench.ifindex(POD_LINK), identity, id, flags, policyRevision: 1, ...MAC };
      for (const address of addresses) this.#bench.put('endpoints', address, row);
    }
    for (const cidr of this.#ipcache.keys()) if (!ipcache.has(cidr)) this.#delete('ipcache', cidr);
    for (const [cidr, identity] of ipcache) this.#bench.ipcache(cidr, identity);
    this.#ipcache = new Map(ipcache);
    this.#forget();
  }

  ask({ direction, endpointId, from, to, proto, port, isFromHost }: PacketQuestion): PacketAnswer {
    const isIcmp = proto === protocols.icmp || proto === protocols.icmpv6;
    // Only an echo has an id that tells it from the one before.
    if (++this.#asked >= CONNECTIONS_MAX || (isIcmp && !ECHO_REQUESTS.includes(port))) this.#forget();
    const sport = SOURCE_PORT_MIN + this.#asked;
    const ends = { from, to, proto, ttl: 64 };
    const packet = isIcmp
      ? { ...ends, sport, dport: 0, icmpType: port, icmpCode: 0 }
      : { ...ends, sport, dport: port, tcpFlags: 2 };
    const [program, link]: [Program, Link] =
      direction === 'egress'
        ? ['from_endpoint', POD_LINK]
        : isFromHost
          ? ['to_endpoint', POD_LINK]
          : ['from_netdev', NETWORK_LINK];
    const { events, drops, verdict } = this.#bench.run(program, link, toBytes(packet));
    const wanted = direction === 'egress' ? 1 : 0;
    const said = events.find(
      (event) => event.type === VERDICT_EVENT && event.direction === wanted && event.endpointId === endpointId,
    );
    if (said) return { side: said.reason === 0 ? 'allowed' : 'denied', cookie: said.policyCookie };
    if (verdict === 'drop' && !events.some(({ type }) => type === VERDICT_EVENT))
      throw new Error(`${program} drops ${from} → ${to} before policy: ${drops.join(', ')}`);
    return { side: 'not-enforced', cookie: 0 };
  }

  #forget(): void {
    this.#asked = 0;
    this.#bench.clear('conntrack');
    this.#bench.events();
  }

  #delete(map: string, key: string): void {
    const codec = this.#bench.codecs.map(map).key;
    const bytes = Buffer.alloc(codec.size);
    codec.write(key as never, bytes, 0);
    this.#bench.object.map(map).delete(bytes);
  }

  async #apply(ops: readonly Op[]): Promise<void> {
    if (ops.length === 0) return;
    const failed = (await this.#driver.apply(ops)).find((result) => result !== undefined);
    if (failed) throw new Error(failed.message);
  }
}

function rowOf(endpointId: number, entry: PolicyEntry): [string, PolicyEntryRow] {
  const { direction, identity, protocol, port, deny, precedence, cookie, origins } = entry;
  const key = policyEntryKey(endpointId, direction, identity, protocol, port);
  return [key, { deny, precedence, cookie, origins: [...origins] }];
}

const opOf = (table: TableName, key: string, value: unknown): Op => ({
  table,
  action: value === undefined ? 'delete' : 'put',
  key,
  value,
  before: undefined,
  revision: 1,
  owners: [],
});
