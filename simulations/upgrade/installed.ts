/**
 * A node with pods and a network outside, whose datapath is of one release after another: programs, pinned maps and rows as its agent
 * leaves them, connections over all of it.
 *
 * - Loading, translation of maps, attachment and hand-over are the agent's own code; rows are written by the types of each release's object.
 */
import { execFileSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { BpfClock } from '../../datapath/clock.ts';
import { Codecs, encode, type Fields } from '../../datapath/codec.ts';
import type { Op } from '../../datapath/driver.ts';
import { AttachmentsDriver } from '../../datapath/drivers/attachments.ts';
import { linkNames } from '../../datapath/link-names.ts';
import { type Loaded, linksFolder, loadDatapath, objectPath, programsFolder } from '../../datapath/loader.ts';
import type { DatapathConfig } from '../../datapath/runtime-config.ts';
import { createMap, createNetns, deleteNetns, supportsTcx, withNetns } from '../../native/index.ts';
import type { AttachmentRow } from '../../state/tables.ts';
import { releasedObject } from '../releases/release.ts';
import { ip, type WiredNode, wireNode } from '../wired-node.ts';

export const CURRENT = 'current';
export const PORT = 8080;
export const SERVICE = { ipv4: '10.96.7.7', ipv6: 'fd00:96::7', port: 80 };
export const OUTSIDE = { ipv4: '198.51.100.2', ipv6: '2001:db8:99::2' };
const OWN = { ipv4: '198.51.100.1', ipv6: '2001:db8:99::1' };
const CLIENT = 0;
/** Both are behind the service: who forgets a flow asks the other one half of the time, which refuses. */
export const SERVERS = [1, 2] as const;
const IDENTITY = 1000;
const ENFORCE_INGRESS = 1;
const TCP = 6;
/** Prefix lengths of an IPv6 host, and of a policy entry for a port of a protocol. */
const PORT_BITS = 64;
const DEVICE = 'eth0';

export type Hook = Omit<AttachmentRow, 'build'>;

/** In place of whatever of ours is there. */
export async function attachPrograms(
  { programs, runtime: { build } }: Loaded,
  netns: string,
  pinRoot: string,
  hooks: readonly Hook[],
): Promise<void> {
  const driver = new AttachmentsDriver({
    ...{ build, programs, netns, links: linkNames(netns), tcx: supportsTcx() },
    ...{ linksFolder: linksFolder(pinRoot), programsFolder: programsFolder(pinRoot) },
  });
  const ops = hooks.map((hook): Op => {
    const key = `${hook.dev}/${hook.direction}`;
    return {
      table: 'attachments',
      action: 'put',
      key,
      value: { ...hook, build },
      before: undefined,
      revision: 1,
      owners: [],
    };
  });
  const [failed] = (await driver.apply(ops)).filter(Boolean);
  if (failed) throw new Error(failed.message);
  await driver.dump();
}

export class Installed {
  readonly node: WiredNode;
  readonly outside: string;
  readonly config: DatapathConfig;
  #loaded: Loaded | undefined;
  #clock: BpfClock | undefined;

  constructor(prefix: string, node: WiredNode = wireNode(prefix, 3)) {
    this.node = node;
    this.outside = `/run/netns/${prefix}outside`;
    this.config = {
      ...{ pinRoot: `/sys/fs/bpf/${prefix}pins`, ipv4: true, ipv6: true, masquerade: true },
      ...{ ipv4NativeRoutingCIDR: '', ipv6NativeRoutingCIDR: '', maps: { conntrack: 10_000, nat: 10_000 } },
    };
  }

  /** A node of its own, with a network outside. */
  static create(prefix: string): Installed {
    const installed = new Installed(prefix);
    const { node, outside } = installed;
    createNetns(outside, { loopbackUp: true });
    ip(node.netns, [`link add ${DEVICE} type veth peer name ${DEVICE} netns ${prefix}outside`]);
    for (const [netns, { ipv4, ipv6 }] of [
      [node.netns, OWN],
      [outside, OUTSIDE],
    ] as const)
      ip(netns, [
        `address add ${ipv4}/24 dev ${DEVICE}`,
        `address add ${ipv6}/64 dev ${DEVICE} nodad`,
        `link set ${DEVICE} up`,
      ]);
    return installed;
  }

  get client(): string {
    return this.pod(CLIENT).netns;
  }

  pod(index: number): WiredNode['pods'][number] {
    const pod = this.node.pods[index];
    if (!pod) throw new Error(`no pod ${index}`);
    return pod;
  }

  /** The next release: what its agent says of the start. */
  async install(version: string, config: Partial<DatapathConfig> = {}): Promise<readonly string[]> {
    const object = version === CURRENT ? objectPath('datapath') : releasedObject(version, 'datapath');
    this.#clock ??= new BpfClock();
    const loaded = loadDatapath({ ...this.config, ...config }, await this.#clock.hz(), object);
    this.#loaded?.close();
    this.#loaded = loaded;
    this.#putRows(loaded);
    loaded.handOver();
    await attachPrograms(loaded, this.node.netns, this.config.pinRoot, [
      { dev: DEVICE, direction: 'ingress', program: 'from_netdev' },
      { dev: DEVICE, direction: 'egress', program: 'to_netdev' },
      ...this.node.pods.flatMap(({ link }): Hook[] => [
        { dev: link, direction: 'ingress', program: 'from_endpoint' },
        { dev: link, direction: 'egress', program: 'to_endpoint' },
      ]),
    ]);
    loaded.handOver();
    return loaded.notices;
  }

  #putRows(loaded: Loaded): void {
    const codecs = new Codecs(loaded.btf, linkNames(this.node.netns));
    const put = (name: string, key: unknown, value: unknown): void => {
      const map = loaded.maps.get(name);
      if (!map) return; // of a later release
      const codec = codecs.map(name);
      map.put(
        encode<unknown>(name === 'netdevs' ? codecs.link() : codec.key, key),
        encode<unknown>(codec.value, value),
      );
    };
    this.node.pods.forEach(({ link, mac, hostMac, ipv4, ipv6 }, index) => {
      const identity = IDENTITY + index;
      for (const [address, bits] of [[ipv4, 32] as const, [ipv6, 128] as const]) {
        put('endpoints', address, {
          link,
          identity,
          id: index + 1,
          flags: ENFORCE_INGRESS,
          policyRevision: 1,
          mac,
          hostMac,
        });
        put('ipcache', `${address}/${bits}`, { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 });
      }
      this.#putPolicy(loaded, codecs, index);
    });
    const device = JSON.parse(
      withNetns(this.node.netns, () => execFileSync('ip', ['-json', 'link', 'show', DEVICE]).toString()),
    );
    put('netdevs', DEVICE, { ...OWN, mac: device[0].address, flags: 0 });
    put('policy_revision', 0, 1);
    for (const [set, family] of [
      [1, 'ipv4'],
      [2, 'ipv6'],
    ] as const) {
      SERVERS.forEach((index, slot) => {
        const backend = 10 * set + slot;
        put('backends', backend, { addr: this.pod(index)[family], port: PORT, proto: TCP });
        put('backend_slots', { set, slot }, backend);
      });
      put('backend_sets', set, { count: SERVERS.length, maglevSize: 0, affinityTimeout: 0 });
      const frontend = { id: set, internalSet: set, externalSet: set, flags: 0 } satisfies Fields;
      put('frontends', { addr: SERVICE[family], port: SERVICE.port, proto: TCP }, frontend);
    }
  }

  /** Into the client nobody may; into the server the client may, at one port. What was there before is looked at, not replaced. */
  #putPolicy(loaded: Loaded, codecs: Codecs, index: number): void {
    const outer = loaded.maps.get('policy');
    if (!outer) return;
    const id = Buffer.alloc(4);
    id.writeUInt32LE(index + 1);
    const there = outer.getInner(id);
    if (there) {
      there.close();
      return;
    }
    const [key, value] = [codecs.struct('policy_key'), codecs.struct('policy_entry')];
    const [keySize, valueSize] = [key.size, value.size];
    const options = { keySize, valueSize, maxEntries: 16_384, flags: 1 };
    const inner = createMap({ type: 'lpm_trie', name: 'policy_inner', ...options });
    if (index !== CLIENT)
      inner.put(
        encode(key, { prefixlen: PORT_BITS, identity: IDENTITY + CLIENT, direction: 0, proto: TCP, dport: PORT }),
        encode(value, { precedence: 1, cookie: 7, proxyPort: 0, flags: 0, prefixlen: 24 }),
      );
    outer.put(id, inner);
    inner.close();
  }

  /** What programs have learnt of connections: when each was made, by map and key. */
  learnt(): Record<string, number> {
    const loaded = this.#loaded;
    if (!loaded) return {};
    const codecs = new Codecs(loaded.btf);
    return Object.fromEntries(
      ['conntrack', 'nat', 'service_flows'].flatMap((name) => {
        const map = loaded.maps.get(name);
        if (!map) return [];
        const { key, value } = codecs.map(name);
        return map.entries().map(([keyBytes, bytes]) => {
          const { created } = value.read(bytes, 0) as { created: number };
          return [`${name} ${JSON.stringify(key.read(keyBytes, 0))}`, created];
        });
      }),
    );
  }

  handOver(): number {
    return this.#loaded?.handOver() ?? 0;
  }

  remove(): void {
    this.#loaded?.close();
    this.#clock?.close();
    this.node.remove();
    deleteNetns(this.outside);
    rmSync(this.config.pinRoot, { recursive: true, force: true });
  }
}
