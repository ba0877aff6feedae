/** The debug endpoint over a simulated node: every path answers, refuses clearly, hides secrets and sheds what is too much. */
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { get, type IncomingMessage, request } from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Subject } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DatapathEvent } from '../datapath/events.ts';
import { isKernelTable } from '../simulations/kernel.ts';
import { World } from '../simulations/node/world.ts';
import { tableNames } from '../state/tables.ts';
import type { DatapathView } from './debug/sources.ts';
import { type DebugServer, startDebugServer } from './debug-server.ts';

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-debug-`));
const socketPath = join(directory, 'debug.sock');
const flowEvents$ = new Subject<DatapathEvent>();
let world: World;
let server: DebugServer;
let port: number;

const datapath: DatapathView = {
  flowEvents$,
  metrics: () => [{ reason: 133, direction: 'ingress', packets: 3, bytes: 180 }],
  mapPressure: () => [{ map: 'ipcache', entries: 5, capacity: 10, ratio: 0.5 }],
  conntrackNow: () => 100,
  dumpConntrack: () => [
    { key: { a: '10.0.1.2', b: '10.0.1.3', portA: 1, portB: 2, proto: 6 }, value: { expires: 160, flags: 2 } },
  ],
  flushConntrack: () => 7,
  dumpNat: () => [
    {
      key: { saddr: '10.0.1.2', daddr: '192.0.2.9', sport: 1, dport: 2, proto: 6, direction: 1 },
      value: { addr: '192.0.2.2', port: 9, created: 40 },
    },
  ],
};

beforeAll(async () => {
  world = new World(1);
  await world.start();
  world.api.upsert('pods', {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name: 'pod-9', namespace: 'demo', uid: 'u9', labels: { app: 'web' } },
    spec: { containers: [{ env: [{ name: 'DB_PASSWORD', value: 'PLANTED' }] }] },
  });
  await world.act({ do: 'create', pod: 1 });
  await world.settle();
  const { agent } = world;
  if (!agent) throw new Error('no agent');
  port = await freePort();
  server = await startDebugServer(
    { socketPath, port },
    {
      inspector: agent.engine,
      kernelRows: async (table) =>
        isKernelTable(table) ? world.kernel.dump(table, agent.engine.actual(table)) : agent.engine.actual(table),
      datapath,
      agent: {
        nodeName: 'node-1',
        version: '1',
        build: 'b1',
        startedAt: 0,
        features: { kernel: '6.18', has: { tcx: true }, missing: [] },
      },
    },
  );
});
afterAll(async () => {
  await server?.close();
  world?.close();
  rmSync(directory, { recursive: true, force: true });
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}

interface Reply {
  status: number;
  text: string;
}

function ask(path: string, options: object = { socketPath }): Promise<Reply> {
  return new Promise((resolve, reject) => {
    request({ path, ...options }, (response) => {
      let text = '';
      response.on('data', (chunk: Buffer) => {
        text += chunk.toString();
      });
      response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
    })
      .on('error', reject)
      .end();
  });
}

async function body<T>(path: string): Promise<T> {
  const { status, text } = await ask(path);
  expect(status, text).toBe(200);
  return JSON.parse(text) as T;
}

function follow(path: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => get({ socketPath, path }, resolve).on('error', reject));
}

describe('the debug endpoint', () => {
  it('is for root only', () => {
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
  });

  it('tells what there is to ask', async () => {
    const paths = (await body<{ path: string }[]>('/')).map(({ path }) => path);
    expect(paths).toEqual(expect.arrayContaining(['/v1/status', '/v1/machines/*', '/v1/explain/*', '/v1/monitor']));
  });

  it('gives the state of the node', async () => {
    expect(await body('/v1/status')).toMatchObject({
      node: 'node-1',
      health: { status: 'ok', reasons: [] },
      ipam: [
        { family: 'IPv4', cidr: '10.0.1.0/27', used: 2, total: 29 },
        { family: 'IPv6', used: 2, total: 29 },
      ],
      endpoints: { total: 2, byState: { ready: 2 } },
      machines: { failing: [] },
      masquerading: { enabled: true, devices: ['eth0'] },
      digest: { total: expect.stringMatching(/^[0-9a-f]{64}$/) },
    });
    expect(await body('/v1/health')).toEqual({ status: 'ok', reasons: [] });
  });

  it('gives endpoints by any of their names', async () => {
    const [first] =
      await body<{ id: number; pod: string; ipv6: string; containerId: string; labels: string[] }[]>('/v1/endpoints');
    if (!first) throw new Error('no endpoint');
    for (const name of [
      first.id,
      `cep-name:${first.pod}`,
      `ipv6:${first.ipv6}`,
      `cni-attachment-id:${first.containerId}:eth0`,
    ]) {
      expect(await body(`/v1/endpoints/${encodeURIComponent(name)}`)).toMatchObject({
        id: first.id,
        details: { history: expect.any(Array) },
      });
    }
    const identities = await body<{ id: number; labels: string[] }[]>('/v1/identities');
    expect(identities).toContainEqual({
      id: 1,
      labels: ['reserved:host'],
      reserved: true,
      endpoints: 0,
      state: 'allocated',
    });
    expect(identities.some(({ labels }) => labels.join() === first.labels.join())).toBe(true);
  });

  it('gives machines, with what they want and how they came to be, and their definitions', async () => {
    const all = await body<{ key: string }[]>('/v1/machines?kind=endpoint');
    expect(all).toHaveLength(2);
    const one = await body<{ history: { to: string }[]; rows: unknown[]; pending: unknown[] }>(
      `/v1/machines/${all[0]?.key}`,
    );
    expect(one.history.map(({ to }) => to)).toEqual(
      expect.arrayContaining(['identity', 'addressed', 'programmed', 'ready']),
    );
    expect(one).toMatchObject({ pending: [], state: 'ready' });
    expect((await ask('/v1/kinds/endpoint.mmd')).text).toMatch(/^stateDiagram-v2\n/);
  });

  it('gives every table in every view', async () => {
    for (const table of tableNames) {
      for (const view of ['all', 'desired', 'actual', 'kernel'])
        expect(await body(`/v1/tables/${table}?view=${view}`)).toMatchObject({ table, view });
    }
    const { rows } = await body<{ rows: { key: string; desired: unknown; kernel: unknown }[] }>(
      '/v1/tables/bpf.ipcache',
    );
    expect(rows.length).toBeGreaterThan(5);
    for (const row of rows) expect(row).toMatchObject({ state: 'in-sync', kernel: row.desired });
  });

  it('shows what the kernel has and nobody knows of', async () => {
    world.kernel.meddle('bpf.ipcache', '198.51.100.7/32', { identity: 9 });
    const { rows } = await body<{ rows: { key: string; state: string }[] }>('/v1/tables/bpf.ipcache');
    expect(rows.find(({ key }) => key === '198.51.100.7/32')).toMatchObject({
      state: 'unknown',
      kernel: { identity: 9 },
    });
    world.kernel.meddle('bpf.ipcache', '198.51.100.7/32', undefined);
  });

  it('explains an ipcache row, an endpoint row and a route, from event to op', async () => {
    const [endpoint] = await body<{ ipv4: string }[]>('/v1/endpoints');
    for (const name of [
      `bpf.ipcache/${endpoint?.ipv4}/32`,
      `bpf.endpoints/${endpoint?.ipv4}`,
      `routes/${encodeURIComponent(`${endpoint?.ipv4}/32`)}`,
    ]) {
      expect(await body(`/v1/explain/${name}`)).toMatchObject({
        row: { state: 'in-sync', owners: [expect.stringMatching(/^endpoint\//)] },
        wanted: {
          machine: expect.stringMatching(/^endpoint\//),
          to: 'addressed',
          cause: { seq: expect.any(Number), at: expect.any(Number) },
        },
        op: { action: 'put', plannedAt: expect.any(Number), doneAt: expect.any(Number) },
        kernel: expect.any(Object),
      });
    }
  });

  it('gives the contents of maps', async () => {
    expect(await body('/v1/bpf/ct')).toMatchObject({ now: 100, entries: [{ key: { a: '10.0.1.2' } }] });
    expect(await body('/v1/bpf/nat')).toMatchObject({ entries: [{ pod: expect.stringMatching(/^demo\/pod-/) }] });
    expect(await body('/v1/bpf/metrics')).toEqual([
      { reason: 133, direction: 'ingress', packets: 3, bytes: 180, text: 'Policy denied' },
    ]);
    expect(await body('/v1/bpf/maps')).toEqual([{ map: 'ipcache', entries: 5, capacity: 10, ratio: 0.5 }]);
    expect((await body<unknown[]>('/v1/bpf/endpoints')).length).toBe(4);
  });

  it.each([
    ['/v1/nothing', 404, /no such path/],
    ['/v1/machines/endpoint', 404, /no machine has the key endpoint/],
    ['/v1/machines?kind=moon', 400, /"expected":"one of ip-pool, /],
    ['/v1/tables/routs', 404, /"nearest":\["routes"/],
    ['/v1/tables/routes?view=moon', 400, /"expected":"one of all, desired, actual, kernel"/],
    ['/v1/explain/routes/10.0.1.1', 404, /"nearest":\["10\.0\.1\.\d+\/\d+"/],
    ['/v1/explain/routes', 400, /TABLE\/KEY/],
    ['/v1/endpoints/moon', 400, /cep-name:NAMESPACE\/POD/],
    ['/v1/endpoints/77', 404, /no endpoint is 77/],
    ['/v1/bpf/moon', 404, /one of ipcache, /],
    ['/v1/monitor', 400, /\?follow/],
    ['/v1/machines/%zz', 400, /broken escape/],
  ])('refuses %s with %d, and says what was expected', async (path, status, message) => {
    const reply = await ask(path);
    expect(reply.status).toBe(status);
    expect(reply.text).toMatch(message);
    expect(JSON.parse(reply.text)).toMatchObject({ error: expect.any(String), expected: expect.any(String) });
  });

  it('changes nothing but what a path says, and that on the unix socket alone', async () => {
    expect((await ask('/v1/status', { socketPath, method: 'POST' })).status).toBe(405);
    expect((await ask('/v1/bpf/ct/flush', { socketPath })).status).toBe(405);
    expect((await ask('/v1/bpf/ct/flush', { socketPath, method: 'POST' })).text).toBe('{"deleted":7}\n');
    expect((await ask('/v1/bpf/ct/flush', { host: '127.0.0.1', port, method: 'POST' })).status).toBe(405);
  });

  it('answers on loopback to local names only', async () => {
    const local = { host: '127.0.0.1', port };
    expect((await ask('/v1/health', local)).status).toBe(200);
    expect((await ask('/v1/health', { ...local, headers: { host: 'evil.example' } })).status).toBe(403);
  });

  it('never shows a secret', async () => {
    for (const path of ['/v1/machines', '/v1/tables/kube.objects', '/v1/transitions', '/v1/ops']) {
      expect((await ask(path)).text).not.toContain('PLANTED');
    }
    for (const { key } of await body<{ key: string }[]>('/v1/machines')) {
      expect((await ask(`/v1/machines/${encodeURIComponent(key)}`)).text).not.toContain('PLANTED');
    }
  });

  it('refuses a socket that another agent serves on', async () => {
    await expect(
      startDebugServer(
        { socketPath, port: 0 },
        {
          inspector: world.agent!.engine,
          kernelRows: async () => new Map(),
          agent: { nodeName: '', version: '', build: '', startedAt: 0, features: { kernel: '', has: {}, missing: [] } },
        },
      ),
    ).rejects.toThrow(/served by another process/);
    expect((await ask('/v1/health')).status).toBe(200);
  });
});

describe('streams', () => {
  it('give transitions and ops as they happen', async () => {
    const streams = await Promise.all([follow('/v1/transitions?follow'), follow('/v1/ops?follow&table=bpf.endpoints')]);
    const firsts = streams.map(
      (stream) => new Promise<string>((resolve) => stream.once('data', (chunk: Buffer) => resolve(chunk.toString()))),
    );
    await world.act({ do: 'create', pod: 3 });
    await world.settle();
    const [transition = '', op = ''] = await Promise.all(firsts);
    expect(JSON.parse(transition.split('\n')[0] ?? '')).toMatchObject({
      machine: expect.any(String),
      cause: expect.any(Object),
    });
    expect(JSON.parse(op.split('\n')[0] ?? '')).toMatchObject({ table: 'bpf.endpoints', action: 'put' });
    for (const stream of streams) stream.destroy();
  });

  it('drop what a slow reader cannot take, and say how much', async () => {
    const stream = await follow('/v1/monitor?follow');
    stream.pause();
    const event = packetEvent();
    for (let round = 0; round < 20; round++) {
      for (let i = 0; i < 1_000; i++) flowEvents$.next(event);
      await new Promise((resolve) => setImmediate(resolve));
    }
    let lines = 0;
    let dropped = 0;
    let rest = '';
    await new Promise<void>((resolve) => {
      stream.on('data', (chunk: Buffer) => {
        const parts = (rest + chunk.toString()).split('\n');
        rest = parts.pop() ?? '';
        for (const part of parts.filter(Boolean)) {
          const line = JSON.parse(part) as { dropped?: number; type?: string };
          if (line.dropped) dropped += line.dropped;
          else lines++;
          if (line.type)
            expect(line).toMatchObject({
              type: 'trace',
              subtype: 'to-endpoint',
              source: { address: '10.0.1.2', pod: expect.stringMatching(/^demo\//) },
            });
        }
        if (lines + dropped === 20_000) resolve();
      });
      stream.resume();
    });
    expect(dropped).toBeGreaterThan(1_000);
    expect(lines).toBeGreaterThan(500);
    stream.destroy();
  });
});

function packetEvent(): DatapathEvent {
  const data = Buffer.from(
    '0200000000010200000000020800450000280001000040060000' +
      '0a0001020a000103' +
      '9c4000500000000100000000' +
      '5002ffff00000000',
    'hex',
  );
  return {
    ...{
      timestamp: 1_000_000_000n,
      type: 2,
      subtype: 0,
      direction: 0,
      ctState: 0,
      proto: 6,
      tcpFlags: 2,
      policyMatch: 0,
      reason: 0,
    },
    ...{
      endpointId: 1,
      ifindex: 0,
      srcIdentity: 0,
      dstIdentity: 0,
      flowHash: 7,
      policyCookie: 0,
      lenOrig: 54,
      lenCap: data.length,
    },
    ...{ sourceFile: 0, sourceLine: 0, origEnd: 0, origPort: 0, origAddr: '::', data },
  };
}
