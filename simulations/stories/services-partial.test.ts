/**
 * Services beside kube-proxy: agents do only what is asked of them (partial mode), and rules in kube-proxy's nftables layout do the
 * rest; pods, host processes and clients from outside reach a service by whoever serves it, over both families.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricNetns, netnsPath, nodeNetns, OUTSIDE } from '../../cli/up/names.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-partial`;
const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];
type ByFamily = Record<Family, string>;
const clusterIP: ByFamily = { ipv4: '10.96.202.1', ipv6: 'fd00:10:96::da01' };
const NODE_PORT = 30_777;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const service = `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: web}
spec:
  type: NodePort
  selector: {app: web}
  ipFamilyPolicy: RequireDualStack
  clusterIP: ${clusterIP.ipv4}
  clusterIPs: ["${clusterIP.ipv4}", "${clusterIP.ipv6}"]
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: ${NODE_PORT}}]
---
`;
let cluster: EmbeddedCluster;
let node: ByFamily;

const byFamily = (addresses: readonly string[]): ByFamily => ({
  ipv4: addresses.find((address) => !address.includes(':')) ?? '',
  ipv6: addresses.find((address) => address.includes(':')) ?? '',
});

/** What kube-proxy programs for the service, in the chains and hooks that it uses (pkg/proxy/nftables). */
function rulesOf(family: Family, pod: string): string {
  const [table, daddr] = family === 'ipv4' ? ['ip', 'ip daddr'] : ['ip6', 'ip6 daddr'];
  const target = family === 'ipv4' ? `${pod}:8080` : `[${pod}]:8080`;
  return `table ${table} kube-proxy {
  chain mark-for-masquerade {
    meta mark set meta mark | 0x4000
  }
  chain service-web {
    meta l4proto tcp dnat to ${target}
  }
  chain external-web {
    jump mark-for-masquerade
    goto service-web
  }
  chain services {
    ${daddr} ${clusterIP[family]} tcp dport 80 goto service-web
    fib daddr type local tcp dport ${NODE_PORT} goto external-web
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat;
    jump services
  }
  chain nat-output {
    type nat hook output priority -100;
    jump services
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat;
    meta mark & 0x4000 == 0x4000 meta mark set meta mark & 0xffffbfff masquerade fully-random
  }
}
`;
}

async function nft(...words: string[]): Promise<void> {
  const command = [`--net=${netnsPath(nodeNetns(name, 'node-1'))}`, 'nft', ...words];
  const child = spawn('nsenter', command, { stdio: ['ignore', 'ignore', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number];
  if (code !== 0) throw new Error(`nft ${words.join(' ')}: exit code ${code}`);
}

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  const parts = { socketLB: false, nodePort: false, externalIPs: false, hostPort: false };
  writeFileSync(config, JSON.stringify({ services: { mode: 'partial', ...parts } }));
  const manifests = [
    namespaceOf('demo'),
    serverPod('demo', 'web'),
    commandPod('demo', 'client', ['sleep', 'infinity']),
    service,
  ];
  cluster = await EmbeddedCluster.up(name, manifests.join(''), ['--agent-config', config]);
  type Node = { status: { addresses: { type: string; address: string }[] } };
  const { addresses } = (JSON.parse((await cluster.kubectl('get', 'node', 'node-1', '-o', 'json')).stdout) as Node)
    .status;
  node = byFamily(addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address));
  type Pod = { status: { podIPs: { ip: string }[] } };
  const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', 'web', '-o', 'json');
  const pod = byFamily((JSON.parse(stdout) as Pod).status.podIPs.map(({ ip }) => ip));
  const rules = join(folder, 'kube-proxy.nft');
  writeFileSync(rules, families.map((family) => rulesOf(family, pod[family])).join(''));
  await nft('-f', rules);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const url = (address: string, port: number): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;
const ask = (address: string, port: number): string[] => ['curl', '-sS', '-m', '3', url(address, port)];
const askOutside = (family: Family, path = ''): ReturnType<typeof run> => {
  const command = ['curl', '-sS', '-m', '3', '--interface', OUTSIDE[family], `${url(node[family], NODE_PORT)}${path}`];
  return run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]);
};

describe.each(families)('over %s', (family) => {
  it('a pod reaches the cluster address by its own programs, and the node port by kube-proxy', async () => {
    await until('the service answers', 20_000, async () => {
      const { stdout } = await cluster.exec('demo/client', ask(clusterIP[family], 80));
      return stdout.trim() === 'web' || undefined;
    });
    expect((await cluster.exec('demo/client', ask(node[family], NODE_PORT))).stdout.trim()).toBe('web');
  }, 30_000);

  it('a host process reaches both by kube-proxy', async () => {
    expect((await cluster.onNode('node-1', ask(clusterIP[family], 80))).stdout.trim()).toBe('web');
    expect((await cluster.onNode('node-1', ask(node[family], NODE_PORT))).stdout.trim()).toBe('web');
  }, 30_000);

  it('a client from outside reaches the node port by kube-proxy, whose masquerading the pod sees', async () => {
    expect((await askOutside(family)).stdout.trim()).toBe('web');
    // Over IPv6 masquerading takes the address of cilium_host.
    const seen = (await askOutside(family, 'client')).stdout.trim();
    expect(seen).toMatch(family === 'ipv4' ? /^[\d.]+$/ : /^[\da-f:]+$/);
    expect(seen).not.toBe(OUTSIDE[family]);
  }, 30_000);
});

it('the frontends that are left to kube-proxy are nowhere in the maps', async () => {
  const { stdout } = await run(new URL('../../cli/axoneme', import.meta.url).pathname, [
    ...['bpf', 'lb', 'list', '--name', name, '-o', 'json'],
  ]);
  const frontends = (JSON.parse(stdout) as { frontend: string }[]).map(({ frontend }) => frontend);
  expect(frontends).toEqual(
    expect.arrayContaining(families.map((family) => `${url(clusterIP[family], 80).slice(7, -1)}/TCP`)),
  );
  expect(frontends.filter((frontend) => frontend.includes(`:${NODE_PORT}/`))).toEqual([]);
});

it('without kube-proxy only what was asked for is served', async () => {
  for (const table of ['ip', 'ip6']) await nft('delete', 'table', table, 'kube-proxy');
  for (const family of families) {
    expect((await cluster.exec('demo/client', ask(clusterIP[family], 80))).stdout.trim()).toBe('web');
    expect((await cluster.onNode('node-1', ask(clusterIP[family], 80))).code).not.toBe(0);
    expect((await askOutside(family)).code).not.toBe(0);
  }
}, 60_000);
