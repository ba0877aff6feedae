/**
 * An embedded cluster on this machine, from nothing to ready pods and back to nothing.
 *
 * - What is brought up is taken down in reverse, also after a failure or an abort half-way; then the sweep goes by name.
 * - Manifests are refused before any node exists.
 */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { startApiServer } from '../../cluster/api-server/index.ts';
import { crdObjects } from '../../cluster/crds/index.ts';
import { listenTcp } from '../../native/index.ts';
import { startEmbeddedOperator } from '../operator/embedded.ts';
import { type EmbeddedNode, embedNode } from './embedded-node.ts';
import { apiServerSlice } from './endpoint-slices.ts';
import { EventRecorder } from './event-recorder.ts';
import { createFabric } from './fabric.ts';
import { type Faults, faultsText } from './faults.ts';
import { ensureIpsecSecret } from './ipsec-secret.ts';
import { LoadBalancers } from './load-balancers.ts';
import { applyManifests } from './manifest-apply.ts';
import type { Manifest } from './manifests.ts';
import { fabricAddress, fabricNetns, KUBERNETES_SERVICE, netnsPath, OUTSIDE, SERVICE_RANGE } from './names.ts';
import { Objects } from './objects.ts';
import { serveOutside } from './outside.ts';
import { pause } from './pause.ts';
import { isFinished, isReady, type Pod } from './pod.ts';
import { type ClusterNode, claim, makeStateDir, writeAtomically, writeRecord } from './registry.ts';
import { Scheduler } from './scheduler.ts';
import { SliceController } from './slice-controller.ts';
import { sweep } from './sweep.ts';
import { Underlay } from './underlay.ts';

export interface ClusterOptions {
  name: string;
  nodes: number;
  manifests: readonly Manifest[];
  /** Directory for recordings; empty: none. */
  record: string;
  /** Fields of every agent's configuration that differ from an embedded node's. */
  agentConfig?: Readonly<Record<string, unknown>>;
  /** Of the network between the nodes, from the start. */
  faults?: Faults;
  signal: AbortSignal;
  /** One more thing is up. */
  progress(what: string, detail: string): void;
  log(line: string): void;
}

export interface RunningCluster {
  name: string;
  apiServer: string;
  kubeconfig: string;
  /** The text of it, for those who want it elsewhere. */
  kubeconfigText: string;
  nodes: ClusterNode[];
  objects: Objects;
}

/** Where agents reach the API server, on the fabric's address. */
const API_PORT = 6443;

/** Brings it up, runs `use` with it, and leaves nothing behind however that ends. */
export async function withCluster<T>(
  options: ClusterOptions,
  use: (cluster: RunningCluster) => Promise<T>,
): Promise<T> {
  const { slot, release } = await claim(options.name);
  const undo: (() => unknown)[] = [];
  try {
    await sweep(options.name);
    const cluster = await bringUp(options, slot, undo);
    return await use(cluster);
  } finally {
    for (const step of undo.reverse()) await attempt(step, options.log);
    await attempt(() => sweep(options.name), options.log);
    release();
  }
}

async function bringUp(options: ClusterOptions, slot: number, undo: (() => unknown)[]): Promise<RunningCluster> {
  const { name, signal, progress, log } = options;
  const stateDir = makeStateDir(name);
  await createFabric(name, slot);
  undo.push(await serveOutside(netnsPath(fabricNetns(name))));
  const router = fabricAddress(slot);
  progress('fabric', `router ${router.ipv4} and ${router.ipv6}, outside ${OUTSIDE.ipv4} and ${OUTSIDE.ipv6}`);
  signal.throwIfAborted();

  const apiServer = await startApiServer({
    listeners: [
      { host: '127.0.0.1', port: 0 },
      { fd: listenTcp({ netns: netnsPath(fabricNetns(name)), address: '::', port: API_PORT }) },
    ],
    hosts: [router.ipv4, router.ipv6, KUBERNETES_SERVICE],
    token: randomBytes(24).toString('base64url'),
    database: join(stateDir, 'api-server.db'),
    crds: crdObjects(),
    serviceCidrs: [SERVICE_RANGE.ipv4, SERVICE_RANGE.ipv6],
  });
  undo.push(() => apiServer.close());
  const kubeconfig = join(stateDir, 'kubeconfig');
  const kubeconfigText = apiServer.kubeconfig({ name });
  writeAtomically(kubeconfig, kubeconfigText);
  const agentKubeconfig = join(stateDir, 'agent.kubeconfig');
  writeAtomically(agentKubeconfig, apiServer.kubeconfig({ name, server: `https://${router.ipv4}:${API_PORT}` }));
  progress('API server', apiServer.url);

  applyManifests(apiServer.store, options.manifests);
  progress('manifests', `${options.manifests.length} objects`);
  signal.throwIfAborted();

  const objects = new Objects(apiServer.store);
  objects.create('endpointslices', apiServerSlice(router.ipv4, API_PORT));
  ensureIpsecSecret(objects, options.agentConfig ?? {});
  const nodes: EmbeddedNode[] = [];
  undo.push(() => Promise.all(nodes.map((node) => node.stop())));
  for (let index = 0; index < options.nodes; index++) {
    const say = (line: string) => log(`[${nodes[index]?.name}] ${line}`);
    nodes.push(
      await embedNode({
        cluster: name,
        slot,
        index,
        stateDir,
        kubeconfig: agentKubeconfig,
        record: options.record,
        agentConfig: options.agentConfig ?? {},
        objects,
        log: say,
      }),
    );
    signal.throwIfAborted();
  }
  const { faults } = options;
  if (faults) {
    const names = nodes.map((node) => node.name);
    await new Underlay(name).set(names, faults);
    progress('underlay', faultsText(faults));
  }
  const scheduler = new Scheduler(objects, new EventRecorder(objects, 'scheduler'));
  const slices = new SliceController(objects, log);
  const loadBalancers = new LoadBalancers(objects, fabricNetns(name), log);
  undo.push(
    () => scheduler.stop(),
    () => slices.stop(),
    () => loadBalancers.stop(),
  );
  scheduler.start();
  slices.start();
  loadBalancers.start();
  const listed = nodes.map(({ name, netns, debugSocket }) => ({ name, netns, debugSocket }));
  writeRecord({ name, pid: process.pid, slot, kubeconfig, nodes: listed });
  const started = nodes.map(async (node) => {
    await node.start();
    if (!signal.aborted) progress(node.name, `ready in network namespace ${node.netns}`);
  });
  await Promise.race([Promise.all(started), whenAborted(signal)]);
  signal.throwIfAborted();
  const operator = await startEmbeddedOperator(kubeconfigText, log);
  undo.push(() => operator.stop());
  return { name, apiServer: apiServer.url, kubeconfig, kubeconfigText, nodes: listed, objects };
}

const POLL_MS = 50;

/** Resolves when every pod there is runs ready, or has run to its end. */
export async function podsReady(
  { objects }: RunningCluster,
  signal: AbortSignal,
  waiting: (pods: Pod[]) => void,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const unready = objects.list<Pod>('pods').filter((pod) => !isReady(pod) && !isFinished(pod));
    if (unready.length === 0) return;
    waiting(unready);
    await pause(POLL_MS, signal);
  }
}

function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => signal.addEventListener('abort', () => done(), { once: true }));
}

/** Taking down goes on whatever happens; what could not be undone is said. */
async function attempt(step: () => unknown, log: (line: string) => void): Promise<void> {
  try {
    await step();
  } catch (error) {
    log(`while taking down: ${error instanceof Error ? (error.stack ?? error.message) : error}`);
  }
}
