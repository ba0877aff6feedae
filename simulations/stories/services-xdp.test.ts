/**
 * Services with XDP, as agents are configured for it: clients outside and backends on another node, both families, over real traffic.
 *
 * - Sockets are connected: a reply from another address than the one asked would not reach them.
 * - The ports of the fabric are made to send as cards on a wire do, so that checksums count (`as-on-a-wire.c`).
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import { openPinnedProgram } from '../../native/index.ts';
import { EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-xdp`;
const NODE_PORT = 30_501;
const REQUESTS = 200;
const STATS = '/proc/sys/kernel/bpf_stats_enabled';
const LOAD = new URL('load.mjs', import.meta.url).pathname;
const families = ['ipv4', 'ipv6'] as const;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));

const far = (pod: string): string =>
  serverPod('demo', pod).replace(`{app: ${pod}}`, '{service: far}').replace('spec:\n', 'spec:\n  nodeName: node-2\n');
const service = `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: far}
spec:
  type: NodePort
  selector: {service: far}
  ipFamilyPolicy: RequireDualStack
  ports:
  - {name: tcp, port: 80, targetPort: 8080, nodePort: ${NODE_PORT}}
  - {name: udp, port: 80, targetPort: 8080, nodePort: ${NODE_PORT}, protocol: UDP}
---
`;
let cluster: EmbeddedCluster;
let node: Record<(typeof families)[number], string>;

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ services: { mode: 'strict', xdp: 'best-effort' } }));
  const manifests = [namespaceOf('demo'), far('far-1'), service].join('');
  cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '2', '--agent-config', config]);
  const tool = join(folder, 'as-on-a-wire');
  execFileSync('cc', ['-O2', '-Wall', '-Werror', '-o', tool, new URL('as-on-a-wire.c', import.meta.url).pathname]);
  execFileSync(tool, [netnsPath(fabricNetns(name)), 'node1', 'node2']);
  const { stdout } = await cluster.kubectl('get', 'node', 'node-1', '-o', 'json');
  const { addresses } = (JSON.parse(stdout) as { status: { addresses: { type: string; address: string }[] } }).status;
  const own = addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
  const of = (isSix: boolean) => own.find((address) => address.includes(':') === isSix) ?? '';
  node = { ipv4: of(false), ipv6: of(true) };
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const outside = (...command: string[]): ReturnType<typeof run> =>
  run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]);
const urlOf = (address: string): string => `http://${address.includes(':') ? `[${address}]` : address}:${NODE_PORT}/`;

/** How often these programs of the first node have run, while runs are counted. */
function runs(): { xdp: number; tc: number } {
  const programs = join('/sys/fs/bpf/axoneme', name, 'node-1/programs');
  const [build = ''] = readdirSync(programs);
  const count = (program: string): number => {
    const handle = openPinnedProgram(join(programs, build, program));
    try {
      return Number(handle.stats().runCount);
    } finally {
      handle.close();
    }
  };
  return { xdp: count('xdp_netdev'), tc: count('from_netdev') };
}

describe.each(families)('over %s', (family) => {
  it('new connections and datagrams are answered from the address that was asked', async () => {
    const own = OUTSIDE[family];
    await until('the service answers', 20_000, async () => {
      const { stdout } = await outside('curl', '-sS', '-m', '2', '--interface', own, urlOf(node[family]));
      return stdout.trim() === 'far-1' || undefined;
    });
    const script = `for i in $(seq 20); do curl -sS -m 3 --interface ${own} '${urlOf(node[family])}'; done`;
    expect((await outside('sh', '-c', script)).stdout.trim().split('\n')).toEqual(new Array(20).fill('far-1'));
    const asked = `echo hello | nc -u -s ${own} -w 1 ${node[family]} ${NODE_PORT} | head -1`;
    expect((await outside('sh', '-c', asked)).stdout.trim()).toBe('far-1');
  }, 60_000);

  it('the packets of a connection that has settled go by XDP, both ways', async () => {
    const before = readFileSync(STATS, 'utf8');
    const own = [OUTSIDE.ipv4, OUTSIDE.ipv6];
    const command = [process.execPath, LOAD, 'kept', '100', ...own, urlOf(node[family])];
    const client = spawn('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let tally = { asked: 0, failures: [] as string[] };
    client.stdout.on('data', (chunk: Buffer) => {
      const line = chunk.toString().trim().split('\n').at(-1);
      if (line) tally = JSON.parse(line) as typeof tally;
    });
    try {
      await until('the connection', 20_000, () => tally.asked > 5 || undefined);
      writeFileSync(STATS, '1');
      const [first, asked] = [runs(), tally.asked];
      await until('requests', 60_000, () => tally.asked >= asked + REQUESTS || undefined);
      const last = runs();
      const [xdp, tc] = [last.xdp - first.xdp, last.tc - first.tc];
      // A request and its acknowledgement, an answer and its own; tc sees one packet of a trace interval each way, and neighbours.
      expect(xdp).toBeGreaterThan(2 * REQUESTS);
      expect(tc).toBeLessThan(xdp / 4);
      expect(tally.failures).toEqual([]);
    } finally {
      writeFileSync(STATS, before);
      client.stdin.end();
      client.kill('SIGTERM');
    }
  }, 100_000);
});
