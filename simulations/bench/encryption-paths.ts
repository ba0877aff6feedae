/**
 * Two nodes on one wire with a pod each, in namespaces of their own (axb-…): ours with programs, rows and drivers, and the same by hand
 * with `ip` and forwarding alone.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Op } from '../../datapath/driver.ts';
import { WireguardDriver } from '../../datapath/drivers/wireguard.ts';
import { XfrmDriver } from '../../datapath/drivers/xfrm.ts';
import { Keyring } from '../../datapath/keyring.ts';
import { WireguardKeys } from '../../datapath/wireguard-keys.ts';
import { type BpfLink, createNetns, deleteNetns, withNetns } from '../../native/index.ts';
import {
  type TableName,
  type Tables,
  type XfrmPolicyRow,
  type XfrmStateRow,
  xfrmPolicyKey,
  xfrmStateKey,
} from '../../state/tables.ts';
import { attach, attachDatapath, type Datapath, ip, putRow, type WiredNode, wireNode } from '../wired-node.ts';

export type Kind = 'wireguard' | 'ipsec';
export interface EncryptedPath {
  name: 'ours' | 'by hand';
  /** Path of the client's namespace. */
  client: string;
  server: string;
  /** IPv4, of the server's pod. */
  address: string;
  /** Packets that the client's node has encrypted so far. */
  encrypted(): number;
  close(): void;
}

const objectPath = join(import.meta.dirname, '../../bpf/build/datapath.o');
const mtus = { wireguard: 1420, ipsec: 1438 } as const;
const encryptions = { wireguard: 1, ipsec: 2 } as const;
const WIREGUARD_ROLE = 2;
const WIREGUARD_KEY_ID = 255;
const nodeAddress = (n: number): string => `192.0.2.${n}`;
const secret = `1 rfc4106(gcm(aes)) ${'0123456789'.repeat(4)} 128`;
const reqid = 120;

/** What both ways have: two nodes on a wire, with keys. */
interface Wire {
  folder: string;
  keys: WireguardKeys[];
  undo: (() => void)[];
}

function apply<T extends TableName>(
  driver: WireguardDriver | XfrmDriver,
  table: T,
  rows: readonly [string, Tables[T]][],
): void {
  const ops = rows.map(
    ([key, value]): Op => ({ table, action: 'put', key, value, before: undefined, revision: 1, owners: [] }),
  );
  const failed = driver.apply(ops).find((result) => result !== undefined);
  if (failed) throw new Error(failed.message);
}

function encryptWith(
  kind: Kind,
  netns: string,
  n: number,
  wire: Wire,
  marks: boolean,
  subnets: readonly string[],
): void {
  const other = 3 - n;
  if (kind === 'wireguard') {
    const keys = wire.keys[n - 1] as WireguardKeys;
    const driver = new WireguardDriver(keys, netns);
    const mtu = mtus.wireguard;
    const device = { publicKey: keys.publicKey(), listenPort: 51_871, mtu, fwmark: marks ? 0x1e00 : 0 };
    apply(driver, 'wireguard.devices', [['cilium_wg0', device]]);
    const peer = { dev: 'cilium_wg0', node: 'other', endpoint: `${nodeAddress(other)}:51871`, keepaliveSeconds: 0 };
    const key = (wire.keys[other - 1] as WireguardKeys).publicKey();
    apply(driver, 'wireguard.peers', [[key, { ...peer, allowedIps: [subnets[other - 1] as string] }]]);
    return;
  }
  const keyring = new Keyring();
  const [{ fingerprint } = { fingerprint: '' }] = keyring.load(secret);
  const driver = new XfrmDriver(keyring, netns);
  const [own, far] = [nodeAddress(n), nodeAddress(other)];
  const out = { mark: marks ? 0x11e00 : 0, markMask: marks ? 0xffffff00 : 0 };
  const into = { mark: marks ? 0x10d00 : 0, markMask: marks ? 0xffff0f00 : 0 };
  const common = { spi: 1, reqid, mode: 'tunnel', fingerprint } as const;
  const states: XfrmStateRow[] = [
    {
      ...common,
      ...out,
      direction: 'out',
      src: own,
      dst: far,
      outputMark: marks ? 0xe00 : 0,
      outputMarkMask: marks ? 0xf00 : 0,
    },
    {
      ...common,
      ...into,
      direction: 'in',
      src: far,
      dst: own,
      outputMark: marks ? 0xd00 : 0,
      outputMarkMask: marks ? 0xffff0f00 : 0,
    },
  ];
  const anywhere = marks ? '0.0.0.0/0' : undefined;
  const accept = { templateSrc: '', templateDst: '', spi: 0, reqid, optional: true, action: 'allow' } as const;
  const decrypted = { mark: marks ? 0xd00 : 0, markMask: marks ? 0xf00 : 0 };
  const policies: XfrmPolicyRow[] = [
    ...(['in', 'fwd'] as const).map((direction) => ({
      ...accept,
      ...decrypted,
      direction,
      src: anywhere ?? (subnets[other - 1] as string),
      dst: anywhere ?? (subnets[n - 1] as string),
    })),
    {
      ...out,
      direction: 'out',
      src: anywhere ?? (subnets[n - 1] as string),
      dst: anywhere ?? (subnets[other - 1] as string),
      action: 'allow',
      templateSrc: own,
      templateDst: far,
      spi: 1,
      reqid,
      optional: false,
    },
  ];
  apply(
    driver,
    'xfrm.states',
    states.map((row) => [xfrmStateKey(row), row]),
  );
  apply(
    driver,
    'xfrm.policies',
    policies.map((row) => [xfrmPolicyKey(row), row]),
  );
}

function laidOut(): Wire {
  const folder = mkdtempSync(join(tmpdir(), 'axb-encryption-'));
  const keys = [1, 2].map((n) => {
    const own = mkdtempSync(join(folder, `${n}-`));
    return new WireguardKeys(own);
  });
  return { folder, keys, undo: [() => rmSync(folder, { recursive: true, force: true })] };
}

const closeAll = (wire: Wire): void => {
  for (const step of wire.undo.splice(0).reverse()) step();
};

function orClose<T>(wire: Wire, work: () => T): T {
  try {
    return work();
  } catch (error) {
    closeAll(wire);
    throw error;
  }
}

function encryptedBy(kind: Kind, netns: string): number {
  const args = kind === 'wireguard' ? ['-s', '-j', 'link', 'show', 'cilium_wg0'] : ['-s', 'xfrm', 'state'];
  const text = execFileSync('nsenter', [`--net=${netns}`, 'ip', ...args], { encoding: 'utf8' });
  if (kind === 'wireguard')
    return (JSON.parse(text) as [{ stats64: { tx: { packets: number } } }])[0].stats64.tx.packets;
  const counts = [...text.matchAll(/(\d+)\(packets\)/g)].map(([, count]) => Number(count));
  return counts.reduce((sum, count) => sum + count, 0);
}

/** Its device `eth0` on each node. */
function join2(one: string, two: string): void {
  ip(one, [`link add eth0 type veth peer name eth0 netns ${two}`]);
  [one, two].forEach((netns, i) => {
    ip(netns, ['link set eth0 up', `address add ${nodeAddress(i + 1)}/24 dev eth0`]);
  });
}

/** Marks that arrive with ESP packets are the node's own programs' to give; without them there are none. */
export function byHand(kind: Kind): EncryptedPath {
  const wire = laidOut();
  const prefix = `/run/netns/axb-${process.pid}-hand-${kind}-`;
  const subnets = ['10.113.0.0/24', '10.114.0.0/24'];
  return orClose(wire, () => {
    const nodes = [1, 2].map((n) => `${prefix}${n}`);
    for (const [i, node] of nodes.entries()) {
      const pod = `${node}-pod`;
      for (const netns of [node, pod]) {
        createNetns(netns, { loopbackUp: true });
        wire.undo.push(() => deleteNetns(netns));
      }
      withNetns(node, () => writeFileSync('/proc/sys/net/ipv4/ip_forward', '1'));
      const gateway = `10.${113 + i}.0.1`;
      ip(node, [
        `link add lxc type veth peer name eth0 netns ${pod}`,
        `address add ${gateway}/24 dev lxc`,
        'link set lxc up',
      ]);
      ip(pod, [
        `address add 10.${113 + i}.0.2/24 dev eth0`,
        'link set eth0 up',
        `route add default via ${gateway} mtu ${mtus[kind]}`,
      ]);
    }
    const [one = '', two = ''] = nodes;
    join2(one, two);
    for (const [i, node] of nodes.entries()) {
      encryptWith(kind, node, i + 1, wire, false, subnets);
      const way = kind === 'wireguard' ? 'dev cilium_wg0' : `via ${nodeAddress(2 - i)}`;
      ip(node, [`route add ${subnets[1 - i]} ${way}`]);
    }
    return {
      name: 'by hand',
      client: `${one}-pod`,
      server: `${two}-pod`,
      address: '10.114.0.2',
      encrypted: () => encryptedBy(kind, one),
      close: () => closeAll(wire),
    };
  });
}

export function ours(kind: Kind): EncryptedPath {
  const wire = laidOut();
  return orClose(wire, () => {
    const subnets = ['10.115.0.0/24', '10.116.0.0/24'];
    const nodes = [1, 2].map((n) => {
      const node = wireNode(`axb-${process.pid}-${kind}-${n}-`, 1, 114 + n);
      wire.undo.push(() => node.remove());
      return node;
    });
    const [one, two] = nodes as [WiredNode, WiredNode];
    join2(one.netns, two.netns);
    for (const [i, node] of nodes.entries()) programNode(kind, node, nodes[1 - i] as WiredNode, i + 1, wire, subnets);
    return {
      name: 'ours',
      client: one.pods[0]?.netns ?? '',
      server: two.pods[0]?.netns ?? '',
      address: two.pods[0]?.ipv4 ?? '',
      encrypted: () => encryptedBy(kind, one.netns),
      close: () => closeAll(wire),
    };
  });
}

function programNode(
  kind: Kind,
  node: WiredNode,
  other: WiredNode,
  n: number,
  wire: Wire,
  subnets: readonly string[],
): void {
  const datapath: Datapath = attachDatapath(node, objectPath, { encryption: encryptions[kind] }, 1000 * n);
  const links: BpfLink[] = [];
  wire.undo.push(() => {
    for (const link of links) link.close();
    datapath.close();
  });
  const { netns, gateway } = node;
  const put = (map: string, key: unknown, value: Record<string, unknown>): void =>
    putRow(datapath.object, netns, map, key, value as never);
  encryptWith(kind, netns, n, wire, true, subnets);
  const far = nodeAddress(3 - n);
  const [pod] = other.pods;
  const encryptKey = kind === 'wireguard' ? WIREGUARD_KEY_ID : 1;
  const there = { tunnelEndpoint: kind === 'ipsec' ? far : '', encryptKey, flags: 0 };
  const mac = '00:00:00:00:00:00';
  put('ipcache', `${pod?.ipv4}/32`, { ...there, identity: 1000 * (3 - n) });
  put('ipcache', `${far}/32`, { tunnelEndpoint: '', encryptKey: 0, flags: 0, identity: 6 });
  put('ipcache', `${nodeAddress(n)}/32`, { tunnelEndpoint: '', encryptKey: 0, flags: 0, identity: 1 });
  put('netdevs', 'eth0', { ipv4: nodeAddress(n), ipv6: '', mac, flags: 0 });
  if (kind === 'ipsec') put('nodes', far, { nodeId: 1, encryptKey: 1 });
  else {
    put('devices', WIREGUARD_ROLE, { link: 'cilium_wg0', mtu: mtus.wireguard });
    put('netdevs', 'cilium_wg0', { ...gateway, mac, flags: 0 });
    links.push(...attach(netns, 'cilium_wg0', datapath.object.program('from_wireguard'), 'ingress'));
  }
  links.push(
    ...attach(netns, 'eth0', datapath.object.program('from_netdev'), 'ingress'),
    ...attach(netns, 'eth0', datapath.object.program('to_netdev'), 'egress'),
  );
  ip(netns, [`route add ${subnets[2 - n]} via ${far}`]);
  for (const { netns: inside } of node.pods) {
    ip(inside, [`route change default via ${gateway.ipv4} dev eth0 mtu ${mtus[kind]}`]);
  }
}
