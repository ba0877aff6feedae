/**
 * A pod whose labels change while it talks to a pod on another node, under a policy that allows it before and after: no packet is dropped,
 * on a tunnel that carries the identity, and without one.
 *
 * - The new identity is used when it is GRACE_MS old, so that the other node knows it however busy the machine is.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  commandPod,
  EmbeddedCluster,
  leftovers,
  namespaceOf,
  run,
  serverPod,
  sleep,
  until,
} from '../stories/embedded.ts';

const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
const CHANGES = 8;
const GRACE_MS = 2_000;
const RATE = 200;
const on = (node: string, pod: string): string => pod.replace('spec:\n', `spec:\n  nodeName: ${node}\n`);
const folder = mkdtempSync(join(tmpdir(), `axt-${process.pid}-relabel-`));
const CLIENT = join(folder, 'http-ask');
execFileSync('cc', [
  '-O2',
  '-Wall',
  '-Werror',
  '-o',
  CLIENT,
  new URL('../stories/http-ask.c', import.meta.url).pathname,
]);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const manifests = [
  namespaceOf('demo'),
  on('node-2', serverPod('demo', 'web')),
  on('node-1', commandPod('demo', 'client', ['sleep', 'infinity'])),
  on('node-1', commandPod('demo', 'stranger', ['sleep', 'infinity'])),
  `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: from-client}
spec:
  endpointSelector: {matchLabels: {app: web}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: to-web}
spec:
  endpointSelector: {matchLabels: {app: client}}
  egress:
  - toEndpoints: [{matchLabels: {app: web}}]
---
`,
].join('');

interface Tally {
  asked: number;
  failed: number;
  failures: string[];
}

describe.each(['native', 'vxlan'])('routing %s', (routing) => {
  const name = `axt-${process.pid}-re-${routing}`;
  let cluster: EmbeddedCluster;
  let urls: string[];

  beforeAll(async () => {
    const config = join(folder, 'agent.json');
    writeFileSync(config, JSON.stringify({ policy: { identityChangeGraceMs: GRACE_MS } }));
    const options = ['--nodes', '2', '--routing', routing, '--agent-config', config];
    cluster = await EmbeddedCluster.up(name, manifests, options);
    type Pod = { status: { podIPs: { ip: string }[] } };
    const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', 'web', '-o', 'json');
    const ips = (JSON.parse(stdout) as Pod).status.podIPs.map(({ ip }) => ip);
    urls = ips.map((ip) => `http://${ip.includes(':') ? `[${ip}]` : ip}:8080/`);
    await until('the pod answers', 20_000, async () => {
      const { code } = await cluster.exec('demo/client', ['curl', '-sSf', '-m', '1', ...urls]);
      return code === 0 || undefined;
    });
  }, 120_000);
  afterAll(async () => {
    await cluster?.down();
    expect(await leftovers(name)).toEqual([]);
  }, 60_000);

  /** Of the pod's labels, as its endpoint has told other nodes. */
  async function version(pod: string): Promise<string | undefined> {
    const { stdout } = await cluster.kubectl('get', 'ciliumendpoint', '-n', 'demo', pod, '-o', 'json');
    const { identity } = (JSON.parse(stdout) as { status: { identity: { labels: string[] } } }).status;
    return identity.labels.find((label) => label.startsWith('k8s:version='))?.split('=')[1];
  }

  it(`${CHANGES} changes of labels at both ends drop no packet`, async () => {
    const command = ['exec', '--name', name, 'demo/client', '--', CLIENT, String(RATE), '-', '-', ...urls];
    const child: ChildProcess = spawn(AXONEME, command, { stdio: ['pipe', 'pipe', 'inherit'] });
    let tally: Tally = { asked: 0, failed: 0, failures: [] };
    let rest = '';
    child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      const line = lines.at(-1);
      if (line) tally = JSON.parse(line) as Tally;
    });
    try {
      await until('load', 20_000, () => tally.asked > RATE || undefined);
      for (let change = 0; change < CHANGES; change++) {
        const pod = change % 2 === 0 ? 'client' : 'web';
        const words = ['label', 'pod', '-n', 'demo', pod, `version=v${change}`, '--overwrite'];
        expect((await cluster.kubectl(...words)).stderr).toBe('');
        await until(
          'the new identity is in use',
          30_000,
          async () => (await version(pod)) === `v${change}` || undefined,
        );
      }
      await sleep(400);
    } finally {
      child.stdin?.end();
      if (child.exitCode === null) await once(child, 'exit');
    }
    expect(tally.failures).toEqual([]);
    expect(tally.failed).toBe(0);
    expect(tally.asked).toBeGreaterThan(RATE * 3);
    for (const node of ['node-1', 'node-2']) {
      const { stdout } = await run(AXONEME, ['bpf', 'metrics', 'list', '--name', name, '--node', node, '-o', 'json']);
      const denied = (JSON.parse(stdout) as { text: string }[]).filter(({ text }) => /denied/i.test(text));
      expect(denied, `drops on ${node}`).toEqual([]);
    }
    const stranger = await cluster.exec('demo/stranger', ['curl', '-sS', '-m', '1', ...urls]);
    expect(stranger.stdout).toBe('');
    const { stdout } = await run(AXONEME, ['bpf', 'metrics', 'list', '--name', name, '--node', 'node-2', '-o', 'json']);
    expect(stdout).toMatch(/Policy denied/i);
  }, 90_000);
});
