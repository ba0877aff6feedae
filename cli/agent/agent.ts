/**
 * The node agent: sources of events on one side, drivers on the other, the loop in between.
 *
 * - Stopping undoes nothing: programs, maps and routes stay, and pods keep talking.
 * - The order of the start: take stock of the kernel, restore endpoints, then listen to links, the API server and CNI.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import { KubeConfig } from '@kubernetes/client-node';
import { tap } from 'rxjs';
import { KubeClient } from '../../cluster/client.ts';
import { startCniServer } from '../../cluster/cni-server.ts';
import type { AgentFacts, ClusterEvent, ServiceFacts } from '../../cluster/events.ts';
import { openRecording } from '../../cluster/recording.ts';
import { openDatapath } from '../../datapath/datapath.ts';
import { reversePathNotices } from '../../datapath/drivers/reverse-path.ts';
import { probeFeatures } from '../../datapath/features.ts';
import { kinds } from '../../machines/kinds.ts';
import type { DebugSources } from '../../observe/debug/sources.ts';
import { startDebugServer } from '../../observe/debug-server.ts';
import { KubeCounts } from '../../observe/metrics/kube-metrics.ts';
import { startMetrics } from '../../observe/metrics/metrics-server.ts';
import { NodeLabels } from '../../observe/node-labels.ts';
import { PolicyChanges } from '../../observe/policy-changes.ts';
import { Workloads } from '../../observe/workloads.ts';
import { IN_MEMORY } from '../../reconcilers/actual-store.ts';
import { CniRepliesDriver } from '../../reconcilers/drivers/cni-replies.ts';
import { HealthChecksDriver } from '../../reconcilers/drivers/health-checks.ts';
import { IdentityClaimsDriver, KubeObjectsDriver, KubeStatusDriver } from '../../reconcilers/drivers/kube.ts';
import { LocalDriver } from '../../reconcilers/drivers/local.ts';
import { TimersDriver } from '../../reconcilers/drivers/timers.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Loop } from '../../reconcilers/loop.ts';
import { isCalm, presentOf } from '../../reconcilers/present.ts';
import { restored } from '../../reconcilers/restored.ts';
import { ColdEvents } from '../../state/cold-events.ts';
import { Store } from '../../state/store.ts';
import type { LocalEndpointRow, TableName } from '../../state/tables.ts';
import type { AgentConfig } from '../agent-config.ts';
import { networkFacts } from '../network-config.ts';
import { filterFlags, parseFilters } from '../observe/filters.ts';
import { version } from '../version.ts';
import { cniHandlers } from './cni-handlers.ts';
import { nodeKeys } from './encryption.ts';
import { agentHealth } from './health.ts';
import { healthEndpoint } from './health-endpoint.ts';
import { agentHubble } from './hubble.ts';
import { kubeEvents } from './kube-sources.ts';
import { policyFacts } from './policy.ts';
import { nodeServices } from './services.ts';

export interface Agent {
  stop(): Promise<void>;
}

export function log(line: string): void {
  process.stderr.write(`${new Date().toISOString()} ${line}\n`);
}

function facts(config: AgentConfig, datapathBuild: string, services: ServiceFacts): AgentFacts {
  const { nodeName, clusterName, devices, ipv4, ipv6, masquerade, mtu, datapathMode } = config;
  return {
    nodeName,
    clusterName,
    devices,
    ipv4,
    ipv6,
    masquerade,
    mtu,
    ...(datapathMode === 'netkit' && { podDevice: datapathMode }),
    datapathBuild,
    services,
    policy: policyFacts(config),
    ...networkFacts(config),
    bootId: bootId(),
  };
}

/** Random for each boot of the machine. */
const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

export async function startAgent(config: AgentConfig): Promise<Agent> {
  const startedAt = Date.now();
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  const kubeConfig = new KubeConfig();
  if (config.kubeconfig) kubeConfig.loadFromFile(config.kubeconfig);
  else kubeConfig.loadFromCluster();

  const store = new Store(join(config.stateDir, 'state.db'));
  const services = nodeServices(config.services, probeFeatures());
  const keys = nodeKeys(config, kubeConfig, log);
  const datapath = await openDatapath(
    { ...config, ...networkFacts(config), services: services.facts, sockHooks: services.facts.sockHooks },
    {
      keys,
      podNamespaces: () => [...engine.actual('local.endpoints').values()].map((row) => (row as LocalEndpointRow).netns),
    },
  );
  const agentFacts = facts(config, datapath.build, services.facts);
  const cold = new ColdEvents(join(config.stateDir, 'cold.db'));
  const engine = new Engine(kinds, store, { events: cold, ...IN_MEMORY });
  const recording = config.record
    ? openRecording(
        config.record,
        {
          build: version,
          node: config.nodeName,
          config: agentFacts,
          kernel: release(),
          features: datapath.features.has,
        },
        {
          ...config.recording,
          present: {
            entries: () => presentOf(engine),
            isCalm: () => isCalm(engine),
            pending: () => engine.pending(),
          },
        },
      )
    : undefined;

  const replies = new CniRepliesDriver();
  const healthChecks = new HealthChecksDriver();
  const health = agentHealth(config, (event) => loop.push('health', event), log);
  const timers = new TimersDriver(Date.now, (key) => loop.push('timers', { type: 'timer.fired', key }));
  const client = new KubeClient(kubeConfig);
  const loop: Loop = new Loop({
    engine,
    drivers: [
      ...datapath.drivers,
      new LocalDriver(),
      replies,
      timers,
      healthChecks,
      health.driver,
      new KubeObjectsDriver(client),
      new KubeStatusDriver(client),
      new IdentityClaimsDriver(client, Math.random),
    ],
    now: Date.now,
    ...(recording && { record: (entry) => recording.write(entry) }),
    onDefect: (error, entry) =>
      log(
        `defect${entry ? ` in event ${entry.seq} (${entry.event.type})` : ''}: ${error instanceof Error ? error.stack : String(error)}`,
      ),
  });
  const tunnelNotices = config.routing.mode === 'native' || !config.ipv4 ? [] : reversePathNotices();
  for (const notice of [...services.notices, ...datapath.notices, ...tunnelNotices]) log(notice);
  logNews(engine);

  const stored = store.rows();
  await loop.takeStock(stored);
  loop.push('agent', { type: 'agent.started', config: agentFacts });
  const before = restored(stored);
  loop.push('local', before);
  loop.push('local', { type: 'source.synced', source: 'local' });
  void datapath.destroyOrphanSockets().catch((error) => log(`sockets to backends that are gone: ${error}`));
  loop.feed('links', datapath.linkEvents$);
  loop.feed('keys', keys.events$);
  const kubeCounts = new KubeCounts(Date.now);
  const workloads = new Workloads();
  const nodeLabels = new NodeLabels(config.nodeName);
  const policies = new PolicyChanges(engine);
  const hear = (event: ClusterEvent): void => {
    kubeCounts.count(event);
    workloads.hear(event);
    nodeLabels.hear(event);
    policies.hear(event);
  };
  loop.feed('kube', kubeEvents(kubeConfig, config.nodeName, log).pipe(tap(hear)));

  const kernelRows = async (table: TableName): Promise<ReadonlyMap<string, unknown>> =>
    (await datapath.drivers.find((driver) => driver.tables.includes(table))?.dump?.(table, engine.actual(table))) ??
    engine.actual(table);
  const handlers = cniHandlers({ engine, loop, store, replies, kernelRows });
  const cni = await startCniServer({
    path: config.cniSocket,
    handlers,
    log,
  });
  const endpoint = healthEndpoint({ health: config.health, cni: handlers, restored: before.endpoints, log });
  const hubble = await agentHubble(config, engine, datapath, version, log, { workloads, nodeLabels, policies });
  const sources: DebugSources = {
    inspector: engine,
    kernelRows,
    datapath,
    health,
    agent: { nodeName: config.nodeName, version, build: datapath.build, startedAt, features: datapath.features },
    exports: hubble.exports,
    policyChanges: () => policies.counts,
    hubble: {
      ...hubble,
      socket: config.hubble.socket,
      listen: config.hubble.listen,
      monitor: config.monitor,
      words: { flags: filterFlags, parse: parseFilters },
    },
  };
  const apiServer = new URL(kubeConfig.getCurrentCluster()?.server ?? 'http://none').origin;
  const metrics = await startMetrics(config.metrics.listen, sources, Date.now, kubeCounts, apiServer);
  const debug = await startDebugServer(
    { socketPath: config.debugSocket, port: config.debugPort },
    { ...sources, metrics: metrics.text },
  );
  datapath.gc.start();
  const resync = setInterval(() => void loop.resync(), config.resyncIntervalMs);
  log(
    `agent of node ${config.nodeName} started: ${before.endpoints.length} endpoints restored, datapath ${datapath.build}`,
  );
  return {
    async stop() {
      clearInterval(resync);
      await cni.close();
      policies.close();
      await hubble.close();
      await debug.close();
      await metrics.close();
      await loop.stop();
      timers.close();
      await healthChecks.close();
      await health.close();
      await endpoint.close();
      await datapath.close();
      recording?.close();
      store.close();
      cold.close();
    },
  };
}

/** One line for each failure and each repair. */
function logNews(engine: Engine): void {
  engine.ops$.subscribe(({ table, key, action, reason, error, doneAt }) => {
    if (error && error.kind !== 'cancelled') log(`${action} ${table} ${key} failed: ${error.errno} ${error.message}`);
    else if (reason === 'drift' && doneAt !== undefined) log(`repaired drift: ${action} ${table} ${key}`);
  });
}
