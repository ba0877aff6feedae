/** The whole: what users type, on the real kernel, with the real agent; and that nothing of it stays. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  commandPod,
  EmbeddedCluster,
  leftovers,
  namespaceOf,
  serverPod,
  until,
} from '../../simulations/stories/embedded.ts';
import { KUBERNETES_SERVICE, OUTSIDE } from './names.ts';

const name = `axt-${process.pid}-up`;
const other = `axt-${process.pid}-up-b`;
const axoneme = new URL('../axoneme', import.meta.url).pathname;
const plugin = new URL('../axoneme-cni', import.meta.url).pathname;
let cluster: EmbeddedCluster;

const hostPod = `apiVersion: v1
kind: Pod
metadata: {name: host, namespace: demo}
spec:
  hostNetwork: true
  containers: [{name: server, image: built-in, ports: [{containerPort: 8081}]}]
---
`;
const manifests = [
  namespaceOf('demo'),
  serverPod('demo', 'web'),
  commandPod('demo', 'client', ['sleep', 'infinity']),
  hostPod,
].join('');

interface PodView {
  metadata: { uid: string };
  status: { phase: string; podIPs: { ip: string }[]; hostIPs: { ip: string }[] };
}
async function pod(podName: string): Promise<PodView> {
  const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', podName, '-o', 'json');
  return JSON.parse(stdout) as PodView;
}
const literal = (ip: string) => (ip.includes(':') ? `[${ip}]` : ip);
const curl = async (url: string, ...flags: string[]) => {
  const { stdout, stderr } = await cluster.exec('demo/client', ['curl', '-sS', '--max-time', '5', ...flags, url]);
  return (stdout || stderr).trim();
};
const namespacesOf = (cluster: string) =>
  execFileSync('ip', ['netns', 'list'], { encoding: 'utf8' })
    .split('\n')
    .filter((line) => line.startsWith(`axo-${cluster}.`));

beforeAll(async () => {
  cluster = await EmbeddedCluster.up(name, manifests);
}, 120_000);
afterAll(async () => {
  const code = await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
  expect(code).toBe(0);
}, 60_000);

describe('packets', () => {
  test('pod to pod, over both families', async () => {
    const { podIPs } = (await pod('web')).status;
    expect(podIPs).toHaveLength(2);
    const { podIPs: own } = (await pod('client')).status;
    for (const [i, { ip }] of podIPs.entries()) {
      expect(await curl(`http://${literal(ip)}:8080/`)).toBe('web');
      expect(await curl(`http://${literal(ip)}:8080/client`)).toBe(own[i]?.ip);
    }
  });
  test('pod to pod over UDP', async () => {
    for (const { ip } of (await pod('web')).status.podIPs) {
      const asked = await cluster.exec('demo/client', ['sh', '-c', `echo hello | nc -u -w 1 ${ip} 8080`]);
      expect(asked.stdout.trim()).toBe('web');
    }
  });
  test('pod to its node, and node to pod', async () => {
    for (const { ip } of (await pod('host')).status.hostIPs)
      expect(await curl(`http://${literal(ip)}:8081/`)).toBe('host');
    for (const { ip } of (await pod('web')).status.podIPs) {
      const { stdout } = await cluster.exec('demo/host', [
        'curl',
        '-sS',
        '--max-time',
        '5',
        `http://${literal(ip)}:8080/`,
      ]);
      expect(stdout.trim()).toBe('web');
    }
  });
  test('pod to the API server, through its service', async () => {
    expect(await curl(`https://${KUBERNETES_SERVICE}/healthz`, '-k')).toBe('ok');
  });
  test('pod to the world outside, masqueraded', async () => {
    const [node4, node6] = (await pod('host')).status.hostIPs;
    expect(await curl(`http://${OUTSIDE.ipv4}/`)).toBe(node4?.ip);
    expect(await curl(`http://[${OUTSIDE.ipv6}]/`)).toBe(node6?.ip);
  });
});

describe('pods come and go', () => {
  test('kubectl apply brings one up, kubectl delete removes every trace', async () => {
    const before = namespacesOf(name).length;
    const file = join(cluster.dir, 'guest.yaml');
    writeFileSync(file, serverPod('demo', 'guest'));
    expect((await cluster.kubectl('apply', '-f', file)).code).toBe(0);
    expect(
      (await cluster.kubectl('wait', '-n', 'demo', '--for=condition=Ready', 'pod/guest', '--timeout=20s')).code,
    ).toBe(0);
    expect(namespacesOf(name)).toHaveLength(before + 1);
    const { podIPs } = (await pod('guest')).status;
    for (const { ip } of podIPs) expect(await curl(`http://${literal(ip)}:8080/`)).toBe('guest');

    expect((await cluster.kubectl('delete', 'pod', '-n', 'demo', 'guest')).code).toBe(0);
    expect(namespacesOf(name)).toHaveLength(before);
    const routes = execFileSync('ip', ['-n', `axo-${name}.node-1`, '-o', 'route', 'show', 'table', 'all'], {
      encoding: 'utf8',
    });
    for (const { ip } of podIPs) expect(routes).not.toContain(`${ip} dev lxc`);
  }, 60_000);
  test('a command that ends badly is restarted, and describe tells why', async () => {
    const file = join(cluster.dir, 'crash.yaml');
    writeFileSync(file, commandPod('demo', 'crash', ['sh', '-c', 'echo sorry; exit 3']));
    await cluster.kubectl('apply', '-f', file);
    const text = await until('crash loop', 20_000, async () => {
      const { stdout } = await cluster.kubectl('describe', 'pod', '-n', 'demo', 'crash');
      return stdout.includes('Back-off restarting') ? stdout : undefined;
    });
    expect(text).toMatch(/Exit Code:\s+3/);
    expect(text).toContain('sorry');
    await cluster.kubectl('delete', 'pod', '-n', 'demo', 'crash');
  }, 40_000);
  test('of two services with one external address the younger is told so, until the older is gone', async () => {
    const claim = (name: string) => `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: ${name}}
spec: {externalIPs: [192.0.2.200], ports: [{port: 80}]}
---
`;
    const file = join(cluster.dir, 'claims.yaml');
    writeFileSync(file, claim('older') + claim('other'));
    await cluster.kubectl('apply', '-f', file);
    const events = async () =>
      (await cluster.kubectl('get', 'events', '-n', 'demo', '--field-selector', 'reason=FrontendConflict')).stdout;
    const told = await until('conflict', 10_000, async () =>
      (await events()).includes('other') ? events() : undefined,
    );
    expect(told).toMatch(/Warning +FrontendConflict +service\/other +192\.0\.2\.200:80\/TCP is served for demo\/older/);
    await cluster.kubectl('delete', 'service', '-n', 'demo', 'older');
    await until('peace', 10_000, async () => ((await events()).includes('other') ? undefined : true));
    await cluster.kubectl('delete', 'service', '-n', 'demo', 'other');
  }, 40_000);
  test('exec passes exit codes through, and names what is not there', async () => {
    expect((await cluster.exec('demo/client', ['sh', '-c', 'exit 7'])).code).toBe(7);
    const { code, stderr } = await cluster.exec('demo/clint', ['true']);
    expect(code).toBe(1);
    expect(stderr).toContain(
      'has no pod demo/clint with a network namespace, did you mean demo/client?; it has demo/client',
    );
  });
});

describe('CNI, as another runtime would use it', () => {
  const ask = (
    command: string,
    env: Record<string, string>,
    stdin = `{"cniVersion":"1.1.0","name":"x","socket":"/run/axoneme/${name}/nodes/node-1/cni.sock"}`,
  ) =>
    new Promise<{ code: number; out: Record<string, unknown> }>((done) => {
      const child = execFile(
        plugin,
        { env: { PATH: process.env.PATH, CNI_COMMAND: command, CNI_IFNAME: 'eth0', ...env } },
        (error, stdout) => {
          done({ code: error ? 1 : 0, out: stdout ? JSON.parse(stdout) : {} });
        },
      );
      child.stdin?.end(stdin);
    });
  test('ADD twice for one container is refused, and the first one lives on', async () => {
    const { uid, status } = { ...(await pod('web')).metadata, ...(await pod('web')) };
    const table = await cluster.debug<{ rows: { value?: Record<string, string>; actual?: Record<string, string> }[] }>(
      '/v1/tables/local.endpoints?view=all',
    );
    const row = table.rows.map((entry) => entry.actual ?? entry.value).find((value) => value?.podName === 'web');
    const env = {
      CNI_CONTAINERID: row?.containerId ?? '',
      CNI_NETNS: row?.netns ?? '',
      CNI_ARGS: `K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web;K8S_POD_UID=${uid}`,
    };
    expect(await ask('ADD', env)).toMatchObject({
      code: 1,
      out: { code: 100, msg: expect.stringContaining('already has interface eth0') },
    });
    for (const { ip } of status.podIPs) expect(await curl(`http://${literal(ip)}:8080/`)).toBe('web');
  });
  test('garbage is answered with an error that names it, and the agent lives on', async () => {
    const env = { CNI_CONTAINERID: 'x', CNI_NETNS: '/etc/passwd', CNI_ARGS: 'K8S_POD_NAMESPACE=demo;K8S_POD_NAME=web' };
    expect((await ask('ADD', env, 'garbage')).out.code).toBe(6);
    expect((await ask('ADD', env)).out).toMatchObject({
      code: 6,
      msg: expect.stringContaining('netns is "/etc/passwd"'),
    });
    expect((await ask('DEL', { CNI_CONTAINERID: 'nobody' })).code).toBe(0);
    expect((await ask('STATUS', {})).code).toBe(0);
  });
});

describe('clusters', () => {
  test('a second one runs beside the first, and its end does not touch it', async () => {
    const second = await EmbeddedCluster.up(other, namespaceOf('demo') + serverPod('demo', 'web'), ['--nodes', '2']);
    try {
      expect(second.ready.nodes.map((node) => node.name)).toEqual(['node-1', 'node-2']);
      const { code, stderr } = await run('exec', 'demo/web', '--', 'true');
      expect([code, stderr]).toEqual([1, expect.stringContaining('choose one with --name')]);
      const again = await run('up', '--name', other, '--for', '0');
      expect([again.code, again.stderr]).toEqual([
        1,
        expect.stringContaining(`a cluster named ${other} is already running`),
      ]);
    } finally {
      expect(await second.down()).toBe(0);
    }
    expect(await leftovers(other)).toEqual([]);
    const [web] = (await pod('web')).status.podIPs;
    expect(await curl(`http://${web?.ip}:8080/`)).toBe('web');
  }, 120_000);
  test('one that was killed is swept by the next of its name', async () => {
    const killed = await EmbeddedCluster.up(other, namespaceOf('demo') + serverPod('demo', 'web'));
    const { pid } = JSON.parse(readFileSync(`/run/axoneme/${other}/cluster.json`, 'utf8')) as { pid: number };
    process.kill(pid, 'SIGKILL');
    await killed.down();
    expect(namespacesOf(other).length).toBeGreaterThan(0);
    const next = await run('up', '--name', other, '--manifests', tempManifest(namespaceOf('demo')), '--for', '0');
    expect(next.code).toBe(0);
    expect(await leftovers(other)).toEqual([]);
  }, 120_000);
  test('an invalid manifest is told with file, document, object and field, and nothing stays', async () => {
    const bad = tempManifest(
      `${namespaceOf('demo')}${serverPod('demo', 'web').replace('containerPort: 8080', 'containerPort: 99999')}`,
    );
    const { code, stderr } = await run('up', '--name', other, '--manifests', bad);
    expect(code).toBe(1);
    expect(stderr).toMatch(/document 2 \(Pod demo\/web\): spec\.containers\[0\]\.ports\[0\]\.containerPort: .*99999/);
    expect(await leftovers(other)).toEqual([]);
  }, 60_000);
});

const directories: string[] = [];
afterAll(() => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
  expect(existsSync(`/run/axoneme/${other}`)).toBe(false);
});
function tempManifest(text: string): string {
  const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-`));
  directories.push(directory);
  writeFileSync(join(directory, 'manifests.yaml'), text);
  return directory;
}
function run(...args: string[]): Promise<{ code: number; stderr: string }> {
  return new Promise((done) => {
    execFile(axoneme, args, (error, _stdout, stderr) => done({ code: error ? Number(error.code) : 0, stderr }));
  });
}
