/**
 * How long a user waits: from `kubectl apply` of a pod to its first answered packet, and from a label change to the map write.
 * Baselines of the same run: `kubectl apply` of a ConfigMap, and the API server's answer to the same label change.
 *
 * node simulations/bench/pod-latency.ts [PODS]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PatchStrategy, setHeaderOptions } from '@kubernetes/client-node';
import { dialTcp, openPinnedMap } from '../../native/index.ts';
import { commandPod, EmbeddedCluster, namespaceOf, serverPod, sleep, until } from '../stories/embedded.ts';

const pods = Number(process.argv[2] ?? 20);
const name = `axb-${process.pid}-wait`;

function quantile(samples: readonly number[], q: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}

function report(what: string, samples: readonly number[], baseline: readonly number[]): void {
  const [p50, p99] = [quantile(samples, 0.5), quantile(samples, 0.99)];
  const ratio = p50 / quantile(baseline, 0.5);
  process.stdout.write(
    `${what.padEnd(44)} p50 ${p50.toFixed(1)} ms  p99 ${p99.toFixed(1)} ms  p50 is ${ratio.toFixed(2)} x baseline\n`,
  );
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Where it is, on a terminal or wherever it hangs. */
const progress = (text: string): void => void process.stderr.write(`${text}\n`);

progress('bringing up a cluster');
/** The time of grace of a new identity is no latency. */
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const config = join(folder, 'agent.json');
writeFileSync(config, JSON.stringify({ policy: { identityChangeGraceMs: 0 } }));
const manifests = namespaceOf('demo') + commandPod('demo', 'client', ['sleep', 'infinity']);
const cluster = await EmbeddedCluster.up(name, manifests, ['--agent-config', config]);
try {
  const [node] = cluster.ready.nodes;
  if (!node) throw new Error('no node');
  const manifest = join(cluster.dir, 'one.yaml');
  const apply = async (yaml: string): Promise<void> => {
    writeFileSync(manifest, yaml);
    const { code, stderr } = await cluster.kubectl('apply', '-f', manifest);
    if (code !== 0) throw new Error(stderr);
  };
  const address = (pod: string): Promise<string> =>
    until(
      `${pod} has an address`,
      30_000,
      async () => (await cluster.core.readNamespacedPod({ namespace: 'demo', name: pod })).status?.podIP,
    );
  /** Connects from the node's namespace until the pod answers. */
  const answers = async (ip: string): Promise<void> => {
    for (;;) {
      try {
        (await dialTcp({ netns: `/run/netns/${node.netns}`, address: ip, port: 8080, timeoutMs: 200 })).destroy();
        return;
      } catch (error) {
        if (!['ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH'].includes((error as NodeJS.ErrnoException).code ?? ''))
          throw error;
        await sleep(2);
      }
    }
  };

  const baseline: number[] = [];
  const first: number[] = [];
  for (let i = 0; i < pods; i++) {
    progress(`pod ${i + 1} of ${pods}`);
    baseline.push(
      await timed(() => apply(`apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: demo, name: c${i}}\n`)),
    );
    first.push(
      await timed(async () => {
        await apply(serverPod('demo', `p${i}`));
        await answers(await address(`p${i}`));
      }),
    );
  }
  report('kubectl apply to first answer', first, baseline);

  const ipcache = openPinnedMap(`/sys/fs/bpf/axoneme/${name}/${node.name}/maps/ipcache`);
  const key = Buffer.alloc(20);
  key.writeUInt32LE(128, 0);
  key.fill(0xff, 14, 16);
  Buffer.from((await address('p0')).split('.').map(Number)).copy(key, 16);
  const identity = (): number => ipcache.get(key)?.readUInt32LE(0) ?? 0;
  const label = (value: string): Promise<unknown> =>
    cluster.core.patchNamespacedPod(
      { namespace: 'demo', name: 'p0', body: { metadata: { labels: { bench: value } } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
  const patched: number[] = [];
  const written: number[] = [];
  for (let i = 0; i < pods; i++) {
    const before = identity();
    const began = performance.now();
    const answered = label(`v${i}`).then(() => patched.push(performance.now() - began));
    while (identity() === before) await new Promise((resolve) => setImmediate(resolve));
    written.push(performance.now() - began);
    await answered;
    await sleep(50);
  }
  report('label change to identity in the map', written, patched);
  ipcache.close();
} finally {
  await cluster.down();
  rmSync(folder, { recursive: true, force: true });
}
