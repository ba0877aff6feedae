/** Services with direct server return and Maglev, as agents are configured for them: over real traffic from outside, both families. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import { EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-dsr`;
const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const NODE_PORT = 30_401;
const TABLE = 1_021;
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
let first: string[];

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  const services = { mode: 'strict', forwarding: 'dsr', algorithm: 'maglev', maglevTableSize: TABLE };
  writeFileSync(config, JSON.stringify({ services }));
  const manifests = [namespaceOf('demo'), far('far-1'), far('far-2'), service].join('');
  cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '2', '--agent-config', config]);
  const { stdout } = await cluster.kubectl('get', 'node', 'node-1', '-o', 'json');
  const { addresses } = (JSON.parse(stdout) as { status: { addresses: { type: string; address: string }[] } }).status;
  first = addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const outside = (...command: string[]): ReturnType<typeof run> =>
  run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]);

it('a pod on another node sees the client, and its answer comes from the address that was asked', async () => {
  for (const address of first) {
    const isSix = address.includes(':');
    const own = isSix ? OUTSIDE.ipv6 : OUTSIDE.ipv4;
    const url = `http://${isSix ? `[${address}]` : address}:${NODE_PORT}`;
    await until('the service answers', 20_000, async () => {
      const { stdout } = await outside('curl', '-sS', '-m', '2', '--interface', own, `${url}/`);
      return /^far-[12]$/m.test(stdout) || undefined;
    });
    const { stdout } = await outside('curl', '-sS', '-m', '3', '--interface', own, `${url}/client`);
    expect(stdout.trim()).toBe(own);
    const asked = `echo hello | nc -u -s ${own} -w 1 ${address} ${NODE_PORT} | head -1`;
    expect((await outside('sh', '-c', asked)).stdout.trim()).toMatch(/^far-[12]$/);
  }
}, 60_000);

it('both backends get their share, chosen by a Maglev table', async () => {
  const [address = ''] = first;
  const script = `for i in $(seq 40); do curl -sS -m 3 --interface ${OUTSIDE.ipv4} http://${address}:${NODE_PORT}/; done`;
  const answers = (await outside('sh', '-c', script)).stdout.trim().split('\n');
  expect(new Set(answers)).toEqual(new Set(['far-1', 'far-2']));
  const { stdout } = await run(AXONEME, ['bpf', 'lb', 'list', '--name', name, '--node', 'node-1', '-o', 'json']);
  const entries = JSON.parse(stdout) as { frontend: string; flags: string[] }[];
  const entry = entries.find(({ frontend }) => frontend === `${address}:${NODE_PORT}/TCP`);
  expect(entry?.flags).toEqual(expect.arrayContaining(['dsr', `maglev=${TABLE}`]));
}, 60_000);
