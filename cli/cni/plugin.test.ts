/** The CNI plugin as a runtime runs it: a process with an environment, stdin and stdout, against the real server. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { deleteQueueOf, readDeleteQueue } from '../../cluster/cni-delete-queue.ts';
import { type CniServer, startCniServer } from '../../cluster/cni-server.ts';
import type { CniAddResult, CniHandlers, CniReply } from '../../cluster/cni-types.ts';

const plugin = new URL('../axoneme-cni', import.meta.url).pathname;
const netns = `axt-${process.pid}-cni`;
const netnsPath = `/run/netns/${netns}`;
const ip = (...args: string[]) => execFileSync('ip', args, { encoding: 'utf8' });

const wired: CniAddResult = {
  link: 'lxc0123456789a',
  mac: '02:00:00:00:00:01',
  hostMac: '02:00:00:00:00:02',
  mtu: 1450,
  ips: [
    { address: '10.0.0.5/32', gateway: '10.0.0.1' },
    { address: 'fd00::5/128', gateway: 'fd00::1' },
  ],
  routes: [
    { dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1450 },
    { dst: '::/0', gw: 'fd00::1', mtu: 1450 },
  ],
};

let directory: string;
let socket: string;
let server: CniServer | undefined;
let calls: unknown[];
let reply: CniReply;
let status = { ready: true, reason: '' };
const answer = async (request: unknown) => {
  calls.push(request);
  return reply;
};
const handlers: CniHandlers = { add: answer, del: answer, check: answer, gc: answer, status: () => status };

async function start(): Promise<void> {
  server = await startCniServer({ path: socket, handlers });
}
const pod = {
  CNI_CONTAINERID: 'c0ffee',
  CNI_NETNS: netnsPath,
  CNI_IFNAME: 'eth0',
  CNI_PATH: '/opt/cni/bin',
  CNI_ARGS: 'IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=1-2;X=y',
};
interface Ran {
  exit: number | null;
  out: Record<string, unknown> | undefined;
}
function run(command: string, config: unknown = {}, env: Record<string, string> = pod): Promise<Ran> {
  const stdin =
    typeof config === 'string'
      ? config
      : JSON.stringify({ cniVersion: '1.1.0', name: 'axoneme', type: 'axoneme-cni', socket, ...(config as object) });
  return new Promise((done) => {
    const child = spawn(plugin, {
      env: { PATH: process.env.PATH, ...env, CNI_COMMAND: command },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (chunk) => {
      out += chunk;
    });
    child.on('close', (exit) => done({ exit, out: out ? JSON.parse(out) : undefined }));
    child.stdin.end(stdin);
  });
}

beforeAll(() => {
  ip('netns', 'add', netns);
});
afterAll(() => {
  ip('netns', 'delete', netns);
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-`));
  socket = join(directory, 'cni.sock');
  calls = [];
  reply = { result: wired };
  status = { ready: true, reason: '' };
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

describe('ADD', () => {
  test('1.1.0: both ends, addresses, routes and MTU', async () => {
    await start();
    expect(await run('ADD', { dns: { nameservers: ['10.96.0.10'] } })).toEqual({
      exit: 0,
      out: {
        cniVersion: '1.1.0',
        interfaces: [
          { name: 'lxc0123456789a', mac: '02:00:00:00:00:02', mtu: 1450 },
          { name: 'eth0', mac: '02:00:00:00:00:01', mtu: 1450, sandbox: netnsPath },
        ],
        ips: [
          { interface: 1, address: '10.0.0.5/32', gateway: '10.0.0.1' },
          { interface: 1, address: 'fd00::5/128', gateway: 'fd00::1' },
        ],
        routes: [
          { dst: '0.0.0.0/0', gw: '10.0.0.1', mtu: 1450 },
          { dst: '::/0', gw: 'fd00::1', mtu: 1450 },
        ],
        dns: { nameservers: ['10.96.0.10'] },
      },
    });
    expect(calls).toEqual([
      {
        containerId: 'c0ffee',
        ifname: 'eth0',
        netns: netnsPath,
        podNamespace: 'default',
        podName: 'web-0',
        podUid: '1-2',
      },
    ]);
  });
  test.each(['0.3.0', '0.3.1', '0.4.0'])('%s: addresses bear their version', async (cniVersion) => {
    await start();
    const { out } = await run('ADD', { cniVersion });
    expect(out).toMatchObject({ cniVersion, ips: [{ version: '4' }, { version: '6' }] });
    expect(JSON.stringify(out)).not.toContain('mtu');
  });
  test.each(['0.1.0', '0.2.0'])('%s: one address of each family', async (cniVersion) => {
    await start();
    expect((await run('ADD', { cniVersion })).out).toEqual({
      cniVersion,
      ip4: { ip: '10.0.0.5/32', gateway: '10.0.0.1', routes: [{ dst: '0.0.0.0/0', gw: '10.0.0.1' }] },
      ip6: { ip: 'fd00::5/128', gateway: 'fd00::1', routes: [{ dst: '::/0', gw: 'fd00::1' }] },
      dns: {},
    });
  });
  test('waits for an agent that is restarting', async () => {
    const adding = run('ADD');
    setTimeout(start, 700);
    expect((await adding).exit).toBe(0);
  });
  test('without an agent: try again later', async () => {
    expect(await run('ADD')).toMatchObject({
      exit: 1,
      out: { code: 11, msg: 'the axoneme agent is not running', cniVersion: '1.1.0' },
    });
  }, 10_000);
  test('passes the agent’s refusal on', async () => {
    reply = { error: { code: 101, msg: 'pod CIDR 10.0.0.0/24 is exhausted', details: 'all 254 in use' } };
    await start();
    expect(await run('ADD')).toEqual({ exit: 1, out: { cniVersion: '1.1.0', ...reply.error } });
  });
});

describe('bad input is named', () => {
  const without = (name: string) => Object.fromEntries(Object.entries(pod).filter(([key]) => key !== name));
  test.each<[string, string, unknown, Record<string, string>, number, RegExp]>([
    ['command', 'FROB', {}, pod, 4, /CNI_COMMAND is "FROB", expected one of ADD/],
    ['missing variable', 'ADD', {}, without('CNI_NETNS'), 4, /missing: CNI_NETNS/],
    ['container id', 'ADD', {}, { ...pod, CNI_CONTAINERID: '../x' }, 4, /CNI_CONTAINERID is "..\/x", expected/],
    ['link name', 'ADD', {}, { ...pod, CNI_IFNAME: 'a/b' }, 4, /CNI_IFNAME is "a\/b", expected a link name/],
    ['args', 'ADD', {}, { ...pod, CNI_ARGS: 'K8S_POD_NAMESPACE=default;X=1' }, 4, /CNI_ARGS X is "1"/],
    ['pod name', 'ADD', {}, { ...pod, CNI_ARGS: 'K8S_POD_NAMESPACE=default' }, 4, /K8S_POD_NAME is missing/],
    ['stdin', 'ADD', 'garbage', pod, 6, /not JSON/],
    ['stdin', 'ADD', '[]', pod, 6, /expected a JSON object/],
    ['version', 'ADD', { cniVersion: '9.9.9' }, pod, 1, /cniVersion is "9.9.9", expected one of 0.1.0/],
    ['version', 'CHECK', { cniVersion: '0.3.1' }, pod, 1, /expected "0.4.0" or later for CHECK/],
    ['version', 'STATUS', { cniVersion: '1.0.0' }, pod, 1, /expected "1.1.0" or later for STATUS/],
    ['name', 'ADD', { name: '' }, pod, 7, /name is "", expected a network name/],
    ['socket', 'ADD', { socket: 'cni.sock' }, pod, 7, /socket is "cni.sock", expected the absolute path/],
    ['prevResult', 'CHECK', {}, pod, 7, /prevResult is missing/],
    ['prevResult', 'ADD', { prevResult: {} }, pod, 7, /first in its list/],
    [
      'attachments',
      'GC',
      { 'cni.dev/valid-attachments': [{ containerID: 'a' }] },
      pod,
      7,
      /valid-attachments\[0\].ifname is missing/,
    ],
    [
      'netns',
      'ADD',
      {},
      { ...pod, CNI_NETNS: '/run/netns/none' },
      6,
      /netns is "\/run\/netns\/none", expected the path of an existing/,
    ],
  ])('%s of %s', async (_what, command, config, env, code, msg) => {
    await start();
    expect(await run(command, config, env)).toMatchObject({ exit: 1, out: { code, msg: expect.stringMatching(msg) } });
    expect(calls).toEqual([]);
  });
});

describe('DEL', () => {
  test('needs no namespace and prints nothing', async () => {
    await start();
    expect(await run('DEL', {}, { ...pod, CNI_NETNS: '' })).toEqual({ exit: 0, out: undefined });
    expect(calls).toEqual([{ containerId: 'c0ffee', ifname: 'eth0' }]);
  });
  test('without an agent succeeds, and the agent hears of it once it starts', async () => {
    expect(await run('DEL')).toEqual({ exit: 0, out: undefined });
    expect(await run('DEL')).toEqual({ exit: 0, out: undefined });
    expect(readDeleteQueue(deleteQueueOf(socket)).requests).toEqual([{ containerId: 'c0ffee', ifname: 'eth0' }]);
    await start();
    await expect.poll(() => readDeleteQueue(deleteQueueOf(socket)).requests).toEqual([]);
    expect(calls).toEqual([{ containerId: 'c0ffee', ifname: 'eth0' }]);
  });
});

describe('CHECK', () => {
  test('asks the agent for what ADD promised', async () => {
    await start();
    const prevResult = (await run('ADD')).out;
    calls = [];
    expect(await run('CHECK', { prevResult })).toEqual({ exit: 0, out: undefined });
    expect(calls).toEqual([
      { containerId: 'c0ffee', ifname: 'eth0', netns: netnsPath, addresses: ['10.0.0.5/32', 'fd00::5/128'] },
    ]);
  });
  test('fails as the agent says', async () => {
    await start();
    const prevResult = (await run('ADD')).out;
    reply = { error: { code: 5, msg: 'missing: routes 10.0.0.5/32', details: '' } };
    expect((await run('CHECK', { prevResult })).out).toMatchObject({ code: 5, msg: 'missing: routes 10.0.0.5/32' });
  });
});

describe('GC, STATUS and VERSION', () => {
  test('GC hands over what is still valid', async () => {
    await start();
    reply = {};
    const config = { 'cni.dev/valid-attachments': [{ containerID: 'a', ifname: 'eth0' }] };
    expect(await run('GC', config, {})).toEqual({ exit: 0, out: undefined });
    expect(calls).toEqual([{ validAttachments: [{ containerId: 'a', ifname: 'eth0' }] }]);
  });
  test('STATUS is silent when ready, 50 when not or not there', async () => {
    expect((await run('STATUS', {}, {})).out).toMatchObject({ code: 50 });
    await start();
    expect(await run('STATUS', {}, {})).toEqual({ exit: 0, out: undefined });
    status = { ready: false, reason: 'no pod CIDR yet' };
    expect(await run('STATUS', {}, {})).toMatchObject({ exit: 1, out: { code: 50, details: 'no pod CIDR yet' } });
  });
  test('VERSION lists all versions of the spec', async () => {
    const supportedVersions = ['0.1.0', '0.2.0', '0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0'];
    expect(await run('VERSION', '{"cniVersion":"1.0.0"}', {})).toEqual({
      exit: 0,
      out: { cniVersion: '1.0.0', supportedVersions },
    });
    expect((await run('VERSION', '', {})).out).toEqual({ cniVersion: '1.1.0', supportedVersions });
  });
});
