/** Verbs about services, as users type them, against services without a kernel: text, JSON, mistakes and exit codes. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DatapathView } from '../../observe/debug/sources.ts';
import { type DebugServer, startDebugServer } from '../../observe/debug-server.ts';
import { kubeObject, ServiceWorld, sliceObject } from '../../simulations/services.ts';

const AXONEME = new URL('../axoneme', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-service-`));
const socket = join(directory, 'debug.sock');
let server: DebugServer;
let flushed = 0;

beforeAll(async () => {
  const world = new ServiceWorld().start({ algorithm: 'maglev' }).synced();
  const port = { name: 'http', port: 80, protocol: 'TCP' };
  world.upsert(
    'services',
    kubeObject('Service', 'demo/web', {
      spec: {
        type: 'LoadBalancer',
        clusterIPs: ['10.96.0.10'],
        clusterIP: '10.96.0.10',
        ipFamilies: ['IPv4'],
        ports: [{ ...port, nodePort: 30_080 }],
        externalTrafficPolicy: 'Local',
        healthCheckNodePort: 31_000,
        sessionAffinity: 'ClientIP',
        sessionAffinityConfig: { clientIP: { timeoutSeconds: 60 } },
        loadBalancerSourceRanges: ['198.51.100.0/24'],
      },
      status: { loadBalancer: { ingress: [{ ip: '203.0.113.80' }] } },
    }),
  );
  world.upsert(
    'endpointslices',
    sliceObject('demo/web', 'web-1', {
      ports: [{ ...port, port: 8080 }],
      endpoints: [
        { addresses: ['10.0.1.5'], nodeName: 'node-1', conditions: { ready: true } },
        { addresses: ['10.0.2.5'], nodeName: 'node-2', conditions: { ready: true } },
        { addresses: ['10.0.2.6'], nodeName: 'node-2', conditions: { ready: false, serving: true, terminating: true } },
        { addresses: ['10.0.2.7'], nodeName: 'node-2', conditions: { ready: false } },
      ],
    }),
  );
  world.upsert(
    'services',
    kubeObject('Service', 'demo/idle', {
      spec: { clusterIPs: ['10.96.0.11'], clusterIP: '10.96.0.11', ipFamilies: ['IPv4'], ports: [port] },
    }),
  );
  const datapath: Partial<DatapathView> = { flushConntrack: () => ++flushed };
  server = await startDebugServer(
    { socketPath: socket, port: 0 },
    {
      inspector: world.engine,
      kernelRows: async (table) => world.engine.actual(table),
      datapath: datapath as DatapathView,
      agent: {
        nodeName: 'node-1',
        version: '9',
        build: 'b1',
        startedAt: Date.now(),
        features: { kernel: '6.18', has: {}, missing: [] },
      },
    },
  );
});
afterAll(async () => {
  await server?.close();
  rmSync(directory, { recursive: true, force: true });
});

interface Ran {
  code: number;
  out: string;
  err: string;
}

function ask(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(AXONEME, [...args, '--socket', socket], { encoding: 'utf8', timeout: 20_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 128) : 0, out, err });
    });
  });
}
async function said(...args: string[]): Promise<string> {
  const { code, out, err } = await ask(...args);
  expect(err).toBe('');
  expect(code).toBe(0);
  return out;
}

describe('service', () => {
  it('list: a frontend with its type and its backends, one a line', async () => {
    const text = await said('service', 'list');
    expect(text).toMatch(/^FRONTEND +SERVICE TYPE +SERVICE +BACKEND\n/);
    expect(text).toMatch(/^10\.96\.0\.11:80\/TCP +ClusterIP +demo\/idle:http +<none>$/m);
    expect(text).toMatch(
      /^10\.96\.0\.10:80\/TCP +ClusterIP +demo\/web:http +1 => 10\.0\.1\.5:8080\/TCP \(active\)\n +2 => 10\.0\.2\.5:8080\/TCP \(active\)$/m,
    );
    expect(text).toMatch(
      /^203\.0\.113\.80:80\/TCP +LoadBalancer +demo\/web:http +1 => 10\.0\.1\.5:8080\/TCP \(active\) from this node\n.*from this node\n +1 => 10\.0\.1\.5:8080\/TCP \(active\) from outside$/m,
    );
  });

  it.each([['demo/web'], ['203.0.113.80:80/TCP'], ['203.0.113.80:80'], ['203.0.113.80']])(
    'get %s: all of one',
    async (word) => {
      const text = await said('service', 'get', word);
      expect(text).toMatch(/^Service: +demo\/web\nState: +balancing\n/);
      expect(text).toMatch(/^ +10\.0\.2\.6:8080\/TCP \(terminating\)\n +10\.0\.2\.7:8080\/TCP \(unready\)$/m);
      expect(text).toMatch(/^203\.0\.113\.80:80\/TCP +LoadBalancer +http +Local +60s +198\.51\.100\.0\/24 +1 => /m);
      expect(JSON.parse(await said('service', 'get', word, '-o', 'json'))).toMatchObject([
        { service: 'demo/web', state: 'balancing' },
      ]);
    },
  );

  it('bpf lb: frontends in the kernel with their backends', async () => {
    const text = await said('bpf', 'lb', 'list');
    expect(text).toMatch(/^SERVICE ADDRESS +SERVICE +TYPE +BACKEND ADDRESS +FLAGS\n/);
    expect(text).toMatch(/^10\.96\.0\.11:80\/TCP +demo\/idle:http +ClusterIP +<none> +/m);
    expect(text).toMatch(
      /^203\.0\.113\.80:80\/TCP +demo\/web:http +LoadBalancer +10\.0\.1\.5:8080\/TCP \(internal\) +external-local$/m,
    );
    expect(text).toMatch(/from=198\.51\.100\.0\/24$/m);
    const entries = JSON.parse(await said('bpf', 'lb', 'list', '-o', 'json')) as { frontend: string }[];
    expect(entries.find(({ frontend }) => frontend === '203.0.113.80:80/TCP')).toMatchObject({
      external: ['10.0.1.5:8080/TCP'],
      sourceRanges: ['198.51.100.0/24'],
    });
  });

  it('bpf ct flush: says how many connections are forgotten', async () => {
    expect(await said('bpf', 'ct', 'flush')).toBe('1 connections forgotten\n');
    expect(JSON.parse(await said('bpf', 'ct', 'flush', '-o', 'json'))).toEqual({ deleted: 2 });
  });

  it.each<[string[], number, RegExp]>([
    [['service'], 2, /action is missing, expected list, get/],
    [['service', 'lst'], 2, /unknown action lst, did you mean list\?/],
    [['service', 'get'], 2, /SERVICE is missing\n\naxoneme service list/],
    [['service', 'get', 'demo/wbe'], 1, /no service is demo\/wbe, expected NAMESPACE\/NAME, .*did you mean demo\/web/],
    [['service', 'get', '10.96.0.10:81'], 1, /no service is 10\.96\.0\.10:81, .*did you mean 10\.96\.0\.10:80\/TCP/],
    [['service', 'list', '-o', 'yaml'], 2, /flag --output is "yaml", expected json/],
    [['bpf', 'nat', 'flush'], 2, /unknown action flush.*known are list/],
    [['bpf', 'lb', 'list', 'all'], 2, /unexpected argument all/],
  ])('%j ends with %d and says what was expected', async (args, code, message) => {
    const ran = await ask(...args);
    expect(ran.err).toMatch(message);
    expect(ran).toMatchObject({ code, out: '' });
  });
});
