/** The verb about nodes, as users type it, against a node among others without a kernel. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type DebugServer, startDebugServer } from '../../observe/debug-server.ts';
import { ciliumEndpoint, ciliumNode, NodesWorld, wireguardKeyOf } from '../../simulations/cluster-nodes.ts';

const AXONEME = new URL('../axoneme', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-node-`));
const socket = join(directory, 'debug.sock');
let server: DebugServer;

beforeAll(async () => {
  const world = new NodesWorld().among({
    routing: { mode: 'vxlan' },
    encryption: { type: 'wireguard' },
    health: { enabled: true },
  });
  world.say({ type: 'wireguard.keyed', publicKey: wireguardKeyOf(1) });
  world.upsert('ciliumnodes', ciliumNode(2, { wireguardKey: wireguardKeyOf(2) }));
  world.upsert('ciliumnodes', ciliumNode(3));
  world.upsert('ciliumendpoints', ciliumEndpoint(2, 9, 300));
  const results = ['ICMP', 'TCP'].map((protocol) => ({ probe: `node-2/node/${protocol}/192.0.2.2`, error: 'timeout' }));
  world.say({ type: 'health.probed', node: 'node-2', results });
  server = await startDebugServer(
    { socketPath: socket, port: 0 },
    {
      inspector: world.engine,
      kernelRows: (table) => Promise.resolve(world.engine.actual(table)),
      datapath: {} as never,
      agent: { nodeName: 'node-1', version: 'test', build: 'b0', startedAt: 0, features: {} as never },
      hubble: { socket: '', listen: '', status: () => ({}) as never },
    },
  );
});
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true, force: true });
});

function ask(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise((resolve) => {
    execFile(AXONEME, [...args, '--socket', socket], { encoding: 'utf8', timeout: 60_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 128) : 0, out, err });
    });
  });
}

it('list: how each node is reached, and what is wrong with it', async () => {
  const { out, err } = await ask('node', 'list');
  expect(err).toBe('');
  expect(out).toMatch(/^NAME +STATE +ADDRESSES +POD CIDRS +TUNNEL +ENCRYPTION +PODS +REASON\n/);
  expect(out).toMatch(/^node-1 \(this\) +ready +192\.0\.2\.1 +10\.0\.1\.0\/24 +- +wireguard up +-/m);
  expect(out).toMatch(
    /^node-2 +unreachable +192\.0\.2\.2 +10\.0\.2\.0\/24 +192\.0\.2\.2 +wireguard known +2 +node ICMP 192\.0\.2\.2: timeout$/m,
  );
  expect(out).toMatch(/^node-3 +routed .* wireguard keyless +0 +node node-3 has told no key of wireguard$/m);
});

it('get -o json: all of one; and which there are, when it is none', async () => {
  const { out } = await ask('node', 'get', 'node-2', '-o', 'json');
  expect(JSON.parse(out)).toMatchObject({
    name: 'node-2',
    state: 'unreachable',
    podCidrs: ['10.0.2.0/24', 'fd00:2::/64'],
    tunnelEndpoint: '192.0.2.2',
    encryption: { type: 'wireguard', keyId: 255, publicKey: wireguardKeyOf(2), state: 'known' },
  });
  const { code, err } = await ask('node', 'get', 'node-9');
  expect([code, err]).toEqual([1, 'axoneme node: no node is node-9; known are node-1, node-2, node-3\n']);
});
