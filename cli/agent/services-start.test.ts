/** The agent as a process on a node without cgroup v2: strict mode refuses to start, partial mode starts and says what is off. */
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const name = `axt-${process.pid}-start`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const pinRoot = `/sys/fs/bpf/${name}`;
const AGENT = new URL('../axoneme', import.meta.url).pathname;
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  rmSync(pinRoot, { recursive: true, force: true });
});

/** Nobody listens there: services are refused or granted before the API server is asked. */
const kubeconfig = {
  apiVersion: 'v1',
  kind: 'Config',
  clusters: [{ name, cluster: { server: 'https://127.0.0.1:9', 'insecure-skip-tls-verify': true } }],
  users: [{ name, user: {} }],
  contexts: [{ name, context: { cluster: name, user: name } }],
  'current-context': name,
};

/** Runs the agent in namespaces of its own, where cgroup v2 is not mounted, until it ends or has said this. */
async function start(mode: 'strict' | 'partial', until: string): Promise<{ code: number | null; said: string }> {
  const path = (file: string): string => join(folder, `${mode}-${file}`);
  writeFileSync(path('kubeconfig'), JSON.stringify(kubeconfig));
  const config = {
    nodeName: name,
    stateDir: path('state'),
    pinRoot: join(pinRoot, mode),
    kubeconfig: path('kubeconfig'),
    cniSocket: path('cni.sock'),
    debugSocket: path('debug.sock'),
    devices: [],
    services: { mode },
  };
  writeFileSync(path('config.json'), JSON.stringify(config));
  const script = 'umount -R /sys/fs/cgroup && ip link set lo up && exec "$0" agent --config "$1"';
  const child = spawn('unshare', ['-m', '-n', 'sh', '-c', script, AGENT, path('config.json')], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let said = '';
  const hear = (chunk: Buffer): void => {
    said += chunk.toString();
    if (said.includes(until)) child.kill('SIGTERM');
  };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const code = await new Promise<number | null>((done) => child.on('close', done));
  return { code, said };
}

test('strict mode refuses, names what is missing and what to do, and has touched nothing', async () => {
  const { code, said } = await start('strict', 'started');
  expect(said.trim()).toBe(
    'axoneme agent: services.mode is strict: cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup); services.mode partial does without',
  );
  expect(code).toBe(1);
  expect(existsSync(join(pinRoot, 'strict'))).toBe(false);
}, 60_000);

test('partial mode starts, and says that sockets are left alone', async () => {
  const { said } = await start('partial', `agent of node ${name} started`);
  expect(said).toContain('socketLB off: cgroup v2 is not mounted');
  expect(said).toContain(`agent of node ${name} started`);
}, 60_000);
