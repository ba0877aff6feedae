/** Services in sockets of an embedded cluster: two clusters apart, agents that die, programs that go, datagrams whose pod is gone. */
import { spawn } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type BpfLink, isErrno, openPinnedLink } from '../../native/index.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, Traffic, until } from './embedded.ts';

const VIP = '10.96.200.1';
const VIP6 = 'fd00:10:96::c801';
const NODE_PORT = 30_123;
const KILLS = 5;
const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const UDP_CLIENT = new URL('udp-client.mjs', import.meta.url).pathname;

const service = (name: string) => `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: ${name}}
spec:
  type: NodePort
  clusterIP: ${VIP}
  clusterIPs: [${VIP}, '${VIP6}']
  ipFamilyPolicy: RequireDualStack
  selector: {service: ${name}}
  ports:
  - {name: http, port: 80, targetPort: 8080, protocol: TCP, nodePort: ${NODE_PORT}}
  - {name: udp, port: 80, targetPort: 8080, protocol: UDP, nodePort: ${NODE_PORT}}
---
`;
const manifests = (pods: readonly string[]) =>
  [
    namespaceOf('demo'),
    service('web'),
    ...pods.map((name) => serverPod('demo', name).replace(`{app: ${name}}`, `{app: ${name}, service: web}`)),
    commandPod('demo', 'client', ['sleep', 'infinity']),
  ].join('');

const names = { red: `axt-${process.pid}-red`, blue: `axt-${process.pid}-blue` };
let red: EmbeddedCluster;
let blue: EmbeddedCluster;

beforeAll(async () => {
  [red, blue] = await Promise.all([
    EmbeddedCluster.up(names.red, manifests(['red-1', 'red-2', 'red-3'])),
    EmbeddedCluster.up(names.blue, manifests(['blue-1'])),
  ]);
}, 180_000);
afterAll(async () => {
  await Promise.all([red?.down(), blue?.down()]);
  expect(await leftovers(names.red)).toEqual([]);
  expect(await leftovers(names.blue)).toEqual([]);
}, 120_000);

const curl = ['curl', '-sS', '-m', '2'];
const inPod = async (cluster: EmbeddedCluster, url: string) =>
  (await cluster.exec('demo/client', [...curl, url])).stdout.trim();
const onNode = async (cluster: EmbeddedCluster, url: string) =>
  (await cluster.onNode('node-1', [...curl, url])).stdout.trim();
/** Endpoints are ready a little after their pods. */
const served = (cluster: EmbeddedCluster) =>
  until('the service answers', 20_000, async () => (await inPod(cluster, `http://${VIP}/`)) || undefined);

describe('two clusters with the same service addresses on one machine', () => {
  it('each reaches its own pods, from pods and as a host process, also on loopback', async () => {
    for (const [cluster, pods] of [
      [red, /^red-\d$/],
      [blue, /^blue-1$/],
    ] as const) {
      await served(cluster);
      for (const url of [`http://${VIP}/`, `http://[${VIP6}]/`]) {
        expect(await inPod(cluster, url)).toMatch(pods);
        expect(await onNode(cluster, url)).toMatch(pods);
      }
      for (const loopback of ['127.0.0.1', '[::1]']) {
        expect(await onNode(cluster, `http://${loopback}:${NODE_PORT}/`)).toMatch(pods);
        expect((await cluster.exec('demo/client', [...curl, `http://${loopback}:${NODE_PORT}/`])).code).toBe(7);
      }
    }
  });

  it('a process outside of them is not translated', async () => {
    const { code } = await new Promise<{ code: number | null }>((done) =>
      spawn('curl', ['-sS', '-m', '1', `http://127.0.0.1:${NODE_PORT}/`], { stdio: 'ignore' }).on('exit', (status) =>
        done({ code: status }),
      ),
    );
    expect(code).toBe(7);
  });
});

describe('sockets while agents and programs come and go', () => {
  it('an agent that is killed leaves services working: no failed request', async () => {
    await served(red);
    const traffic = new Traffic(red, 'demo/client', [`http://${VIP}/`, `http://[${VIP6}]/`]);
    for (let i = 0; i < KILLS; i++) {
      await sleep(700);
      for (const pid of red.agentPids()) process.kill(pid, 'SIGKILL');
    }
    await sleep(1_500);
    const { asked, failed, failures } = await traffic.stop();
    expect(failures).toEqual([]);
    expect(failed).toBe(0);
    expect(asked).toBeGreaterThan(200);
  }, 60_000);

  it('a program that somebody detached is back within a resync', async () => {
    await served(blue);
    const path = `/sys/fs/bpf/axoneme/${names.blue}/node-1/cgroup-links/connect4`;
    const link = openPinnedLink(path);
    link.detach();
    link.close();
    await until('connect4 attached again', 45_000, () => {
      let again: BpfLink;
      try {
        again = openPinnedLink(path);
      } catch (error) {
        // The dead link's pin goes before the new one's comes.
        if (isErrno(error, 'ENOENT')) return undefined;
        throw error;
      }
      const { cgroupId } = again.info;
      again.close();
      return cgroupId || undefined;
    });
    expect(await inPod(blue, `http://${VIP}/`)).toBe('blue-1');
  }, 60_000);

  it('a datagram socket whose pod is deleted ends, and the next one reaches another pod', async () => {
    await served(red);
    const args = ['exec', '--name', names.red, 'demo/client', '--', process.execPath, UDP_CLIENT, VIP, '80'];
    const client = spawn(AXONEME, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let said = '';
    client.stdout.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    try {
      const first = await until('an answer', 10_000, () => /^(red-\d)$/m.exec(said)?.[1]);
      await red.kubectl('-n', 'demo', 'delete', 'pod', first, '--grace-period=1');
      const lines = await until('another pod answers', 20_000, () => {
        const all = said.trim().split('\n');
        return /^red-\d$/.test(all.at(-1) ?? '') && all.at(-1) !== first ? all : undefined;
      });
      expect(lines.filter((line) => /^(ECONNABORTED|EDESTADDRREQ)$/.test(line))).not.toEqual([]);
    } finally {
      client.stdin.end();
    }
  }, 60_000);
});
