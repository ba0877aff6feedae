/** Verbs of inspection, as users type them, against a simulated node: text, JSON, mistakes and exit codes. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openRecording } from '../../cluster/recording.ts';
import { type DebugServer, startDebugServer } from '../../observe/debug-server.ts';
import { isKernelTable } from '../../simulations/kernel.ts';
import { facts, World } from '../../simulations/node/world.ts';
import { engineDigest } from '../../simulations/replay.ts';

const AXONEME = new URL('../axoneme', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-verbs-`));
const socket = join(directory, 'debug.sock');
const recorded = join(directory, 'recording');
let world: World;
let server: DebugServer;
let address: string;
let machine: string;

beforeAll(async () => {
  world = new World(1);
  await world.start();
  await world.act({ do: 'create', pod: 1 });
  await world.settle();
  const engine = world.agent?.engine;
  if (!engine) throw new Error('no agent');
  address = world.runtime.sandboxes[0]?.result?.ips[0]?.address ?? '';
  machine = `endpoint/${world.runtime.sandboxes[0]?.containerId}/eth0`;
  const recording = openRecording(
    recorded,
    { build: '0', node: 'node-1', config: facts, kernel: '6' },
    { startedAt: 1 },
  );
  for (const entry of world.agent?.log ?? []) recording.write(entry);
  recording.close();
  server = await startDebugServer(
    { socketPath: socket, port: 0 },
    {
      inspector: engine,
      kernelRows: async (table) =>
        isKernelTable(table) ? world.kernel.dump(table, engine.actual(table)) : engine.actual(table),
      agent: {
        nodeName: 'node-1',
        version: '9',
        build: 'b1',
        startedAt: Date.now(),
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

interface Ran {
  code: number;
  out: string;
  err: string;
}

function axoneme(...args: string[]): Promise<Ran> {
  return new Promise((resolve) => {
    execFile(AXONEME, args, { encoding: 'utf8', timeout: 20_000 }, (error, out, err) => {
      resolve({ code: error ? Number(error.code ?? 128) : 0, out, err });
    });
  });
}
const ask = (...args: string[]): Promise<Ran> => axoneme(...args, '--socket', socket);
async function said(...args: string[]): Promise<string> {
  const { code, out, err } = await ask(...args);
  expect(err).toBe('');
  expect(code).toBe(0);
  // No colours, and nothing cut off: this is no terminal.
  expect(out).not.toContain('\x1b');
  return out;
}
async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await said(...args, '-o', 'json')) as T;
}

describe('verbs of inspection', () => {
  it('status: lines for people, an object for programs', async () => {
    const text = await said('status');
    for (const line of [
      /^Kubernetes: +Ok$/m,
      /^IPAM: +IPv4: 1\/29 allocated from 10\.0\.1\.0\/27, IPv6: 1\/29 allocated from fd00:1::\/64$/m,
      /^Attach Mode: +TCX$/m,
      /^Masquerading: +BPF {3}\[eth0\] {3}IPv4: Enabled, IPv6: Enabled$/m,
      /^Endpoints: +1 \(1 ready\)$/m,
      /^Controller Status: +(\d+)\/\1 healthy$/m,
      /^Digest: +sha256:[0-9a-f]{64} at event \d+$/m,
    ]) {
      expect(text).toMatch(line);
    }
    expect(await json('status')).toMatchObject({ node: 'node-1', engine: { driftRepaired: 0 } });
  });

  it('endpoint: the columns of the field, one by any name', async () => {
    expect(await said('endpoint', 'list')).toMatch(
      /^ENDPOINT +POLICY \(ingress\) +POLICY \(egress\) +IDENTITY +LABELS \(source:key\[=value\]\) +IPv6 +IPv4 +STATUS\n +ENFORCEMENT +ENFORCEMENT\n1 +Disabled +Disabled +\d+ +k8s:app=v1 +fd00:1::2 +10\.0\.1\.2 +ready\n/,
    );
    expect(JSON.parse(await said('endpoint', 'get', 'cep-name:demo/pod-1'))).toMatchObject({
      id: 1,
      pod: 'demo/pod-1',
    });
    expect(await json('endpoint', 'list')).toHaveLength(1);
  });

  it('identity: numbers and labels, one a line', async () => {
    expect(await said('identity', 'list')).toMatch(
      /^ID +LABELS \(source:key\[=value\]\)\n1 +reserved:host\n2 +reserved:world\n/,
    );
    expect(await json('identity', 'get', '1')).toMatchObject({ id: 1, labels: ['reserved:host'] });
  });

  it('machines: all, one, and their definitions', async () => {
    expect(await said('machines', 'list')).toMatch(/^KIND +STATE +ROWS +SINCE +MACHINE\n/);
    expect(await said('machines', 'get', machine)).toMatch(/^machine: endpoint\/c1\/eth0\nstate: +ready\n/);
    expect(await said('machines', 'diagram', 'endpoint')).toMatch(/^stateDiagram-v2\n/);
    expect(await json('machines', 'list', '--kind', 'endpoint')).toMatchObject([{ state: 'ready' }]);
  });

  it('bpf: what the kernel has', async () => {
    expect(await said('bpf', 'ipcache', 'list')).toMatch(
      /^10\.0\.1\.1\/32 +identity=1 encryptkey=0 tunnelendpoint=0\.0\.0\.0 flags=<none>$/m,
    );
    expect(await said('bpf', 'endpoint', 'list')).toMatch(/^10\.0\.1\.2 +id=1 sec_id=\d+ flags=0x0000 ifindex=lxc/m);
    const attached = (await json('bpf', 'attachments')) as { value: { program: string } }[];
    expect(attached.map(({ value }) => value.program).sort()).toEqual([
      'from_endpoint',
      'from_host',
      'from_netdev',
      'from_overlay',
      'to_endpoint',
      'to_netdev',
    ]);
    expect(await ask('bpf', 'ct', 'list')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/there is no datapath here/),
    });
  });

  it('explain: event, machine, row and op, with times', async () => {
    for (const [table, key] of [
      ['bpf.ipcache', address],
      ['bpf.endpoints', '10.0.1.2'],
      ['routes', address],
    ] as const) {
      const text = await said('explain', table, key);
      expect(text).toMatch(new RegExp(`^row: +${table} ${key} is as wanted$`, 'm'));
      expect(text).toMatch(/^found: +the same$/m);
      expect(text).toMatch(/^event: +#\d+ kube\.upserted .*, from kube, 20\d\d-.*Z$/m);
      expect(text).toMatch(/^machine: endpoint\/c1\/eth0 went awaiting-policy → addressed on fact, 20\d\d-.*Z$/m);
      expect(text).toMatch(
        /^op: +put of revision 1, planned 20\d\d-.*Z since the wish changed\n +done 20\d\d-.*Z, after \d+ms$/m,
      );
      expect(await json('explain', table, key)).toMatchObject({ op: { action: 'put' }, wanted: { machine } });
    }
  });

  it.each<[string[], number, RegExp]>([
    [['explain', 'routes', '10.0.1.2'], 1, /table routes has no row 10\.0\.1\.2, .*did you mean 10\.0\.1\.2\/32/],
    [['explain', 'routs', 'x'], 2, /no table is named routs, did you mean routes\?/],
    [['explain', 'routes'], 2, /KEY is missing\n\naxoneme explain TABLE KEY/],
    [['endpoint', 'lst'], 2, /unknown action lst, did you mean list\?/],
    [['endpoint', 'get', 'moon'], 1, /moon names no endpoint, expected ID, cep-name:/],
    [['status', '--outptu', 'json'], 2, /unknown flag --outptu, did you mean --output\?/],
    [['status', '-o', 'yaml'], 2, /flag --output is "yaml", expected json/],
    [['status', 'now'], 2, /unexpected argument now/],
    [['bpf', 'ipcahce'], 2, /unknown map ipcahce, did you mean ipcache\?/],
    [['monitor', '--type', 'drp'], 2, /flag --type is "drp", did you mean drop\?/],
    [['monitor', '--from', 'x'], 2, /flag --from is "x", expected a whole number/],
    [['identity', 'get', 'x'], 2, /expected a whole number/],
    [['machines', 'get', 'endpoint/c2/eth0'], 1, /did you mean endpoint\/c1\/eth0/],
  ])('%j ends with %d and says what was expected', async (args, code, message) => {
    const ran = await ask(...args);
    expect(ran.err).toMatch(message);
    expect(ran).toMatchObject({ code, out: '' });
  });

  it('a socket that is not there is named', async () => {
    expect(await axoneme('status', '--socket', '/nowhere/debug.sock')).toMatchObject({
      code: 1,
      err: expect.stringContaining('/nowhere/debug.sock: no such socket'),
    });
  });
});

describe('replay and simulate', () => {
  it('replay prints the digest of the live agent, twice the same', async () => {
    const live = world.agent && engineDigest(world.agent.engine).total;
    for (let i = 0; i < 2; i++)
      expect(await axoneme('replay', recorded, '--digest')).toEqual({ code: 0, out: `${live}\n`, err: '' });
    expect((await json<{ digest: { total: string } }>('status')).digest.total).toBe(live);
    expect((await axoneme('replay', recorded)).out).toMatch(/^Divergences: +none/m);
    expect((await axoneme('replay', recorded, '--ops')).out).toMatch(/^#\d+ \S+ put bpf\.ipcache 10\.0\.1\.2\/32 \{/m);
  });

  it('replay refuses what is no recording', async () => {
    expect(await axoneme('replay', AXONEME)).toMatchObject({
      code: 1,
      err: expect.stringMatching(/axoneme:1: this is neither a recording, .* nor what kubectl/),
    });
    expect(await axoneme('replay', '/nowhere')).toMatchObject({
      code: 1,
      err: expect.stringContaining('/nowhere: no such file or directory'),
    });
    expect(await axoneme('replay')).toMatchObject({ code: 2, err: expect.stringContaining('RECORDING is missing') });
    expect(await axoneme('replay', recorded, '--ops', '--digest')).toMatchObject({ code: 2 });
  });

  it('simulate says which law held, and takes the actions that a failure prints', async () => {
    expect(await axoneme('simulate', '--seed', '7', '--events', '30')).toMatchObject({
      code: 0,
      out: expect.stringMatching(/^seed 7: every law held in 1 runs, \d+ events/),
    });
    expect(
      await axoneme('simulate', '--seed', '7', '--actions', '[{"do":"create","pod":1}]', '-o', 'json'),
    ).toMatchObject({ code: 0, out: expect.stringContaining('"ok": true') });
    expect(await axoneme('simulate', '--actions', '[1]')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/expected a JSON list of \{"do"/),
    });
  });

  it('simulate upgrade sums up for a change ticket, and names the releases that there are', async () => {
    const flags = ['--seed', '3', '--runs', '1', '--events', '5', '-o', 'json'];
    const answer = await axoneme('simulate', 'upgrade', '--from', '0.1.0-279.740570b', ...flags);
    expect(JSON.parse(answer.out)).toMatchObject({
      ...{ ok: true, from: '0.1.0-279.740570b', runs: 1, seed: 3 },
      injected: { release: expect.any(Number), connect: expect.any(Number) },
      invariants: expect.arrayContaining([expect.stringContaining('connections')]),
    });
    expect(await axoneme('simulate', 'upgrade', '--from', '7')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/flag --from: there is no release 7; there are 0\.1\.0-90\.13ee16f, /),
    });
    expect(await axoneme('simulate', '--to', 'current')).toMatchObject({
      code: 2,
      err: expect.stringMatching(/--from and --to are of upgrades/),
    });
  });
});
