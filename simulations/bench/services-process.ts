/**
 * One agent's engine, store and drivers with services in real maps: from the event log to the kernel complete, then single endpoint
 * changes. Prints one line of JSON; `services.ts` runs it, in a process of its own so that its memory is its own.
 *
 *   node services-process.ts SERVICES BACKENDS CHANGES
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { Codecs } from '../../datapath/codec.ts';
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import { ServicesDriver } from '../../datapath/drivers/services.ts';
import { loadDatapath } from '../../datapath/loader.ts';
import { smallObject } from '../../datapath/testdata/small-object.ts';
import { kinds } from '../../machines/kinds.ts';
import { IN_MEMORY } from '../../reconcilers/actual-store.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Loop } from '../../reconcilers/loop.ts';
import { ColdEvents } from '../../state/cold-events.ts';
import { Store } from '../../state/store.ts';
import { type TableName, tableNames } from '../../state/tables.ts';
import { agentFacts, kubeObject, sliceObject } from '../services.ts';

const [services = 0, backends = 0, changes = 0] = process.argv.slice(2).map(Number);
const HZ = 250;
/** Events between turns of the event loop, as watches deliver them. */
const BATCH = 500;
const folder = mkdtempSync(join(tmpdir(), 'axb-services-'));
const pinRoot = `/sys/fs/bpf/axb-${process.pid}-services`;
const room = Math.max(65_536, 2 * services * backends);
const maps = { frontends: room, backends: room, backend_sets: room, backend_slots: room };
const families = { ipv4: true, ipv6: true, masquerade: true, ipv4NativeRoutingCIDR: '', ipv6NativeRoutingCIDR: '' };

/** Tables that are not measured. */
class Elsewhere implements Driver {
  readonly tables: readonly TableName[];
  readonly lane = 'kernel';
  constructor(driven: readonly TableName[]) {
    this.tables = tableNames.filter((table) => !driven.includes(table));
  }
  apply(ops: readonly Op[]): OpResult[] {
    return ops.map(() => undefined);
  }
}

const address = (i: number, b: number): string => `10.${1 + b}.${i >> 8}.${i & 255}`;
function serviceOf(i: number): KubeObject {
  const clusterIP = `10.96.${i >> 8}.${i & 255}`;
  const ports = [{ name: 'http', port: 80, protocol: 'TCP' }];
  return kubeObject('Service', `demo/service-${i}`, {
    spec: { clusterIP, clusterIPs: [clusterIP], ipFamilies: ['IPv4'], ports },
  });
}
function sliceOf(i: number, shift = 0): KubeObject {
  const endpoints = Array.from({ length: backends }, (_, b) => ({
    addresses: [address(i, b === 0 ? b + shift * 100 : b)],
    nodeName: 'node-2',
    conditions: { ready: true },
  }));
  const ports = [{ name: 'http', port: 8080, protocol: 'TCP' }];
  return sliceObject(`demo/service-${i}`, `service-${i}-a`, { ports, endpoints });
}

/** As an agent that has come to rest: pages of the heap that are free go back. */
async function compacted(): Promise<void> {
  for (let i = 0; i < 2; i++) {
    await globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function rssMiB(): number {
  return process.memoryUsage().rss / 2 ** 20;
}

// The real maps; what programs do with them is measured elsewhere.
const loaded = loadDatapath({ pinRoot, ...families, maps }, HZ, smallObject());
try {
  const driver = new ServicesDriver({
    maps(name) {
      const map = loaded.maps.get(name);
      if (!map) throw new TypeError(`there is no map ${name}`);
      return map;
    },
    codecs: new Codecs(loaded.btf),
    onBackendsGone: () => {},
  });
  const store = new Store(join(folder, 'state.db'));
  const cold = new ColdEvents(join(folder, 'cold.db'));
  const engine = new Engine(kinds, store, { events: cold, ...IN_MEMORY });
  const loop = new Loop({
    engine,
    drivers: [driver, new Elsewhere(driver.tables)],
    now: Date.now,
    onDefect: (error) => {
      throw error;
    },
  });
  const say = (event: ClusterEvent): void => loop.push('bench', event);
  const upsert = (resource: string, object: KubeObject): void => say({ type: 'kube.upserted', resource, object });
  const empty = rssMiB();

  // The event log, as text: parsing it is part of a start.
  const log = Array.from({ length: services }, (_, i) => [JSON.stringify(serviceOf(i)), JSON.stringify(sliceOf(i))]);
  await loop.takeStock([]);
  const cpuBefore = process.cpuUsage();
  const began = performance.now();
  say({ type: 'agent.started', config: agentFacts });
  const eth0 = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
  say({ type: 'link.upserted', link: { ...eth0, addresses: ['192.0.2.1/24'] } });
  const status = { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] };
  upsert('nodes', { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1' }, status });
  for (const [i, [service = '', slice = '']] of log.entries()) {
    upsert('services', JSON.parse(service) as KubeObject);
    upsert('endpointslices', JSON.parse(slice) as KubeObject);
    if (i % BATCH === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  log.length = 0;
  for (const source of ['local', 'links', 'kube/services', 'kube/endpointslices', 'kube/nodes', 'kube/pods'] as const)
    say({ type: 'source.synced', source });
  await loop.idle();
  const startMs = performance.now() - began;
  const entries = Object.fromEntries(driver.entries());
  if (entries['frontends'] !== services || entries['backend_slots'] !== services * backends)
    throw new Error(`the kernel is not complete: ${JSON.stringify(entries)}`);
  const cpu = process.cpuUsage(cpuBefore);
  const cpuMs = (cpu.user + cpu.system) / 1_000;
  const peak = rssMiB();
  await compacted();
  const rss = rssMiB();
  const heap = process.memoryUsage().heapUsed / 2 ** 20;

  const took: number[] = [];
  for (let change = 0; change < changes; change++) {
    const slice = sliceOf((change * 7919) % services, 1 + (Math.floor((change * 7919) / services) % 2));
    const from = performance.now();
    upsert('endpointslices', slice);
    await loop.idle();
    took.push(performance.now() - from);
  }
  took.sort((a, b) => a - b);
  const quantile = (share: number): number => took[Math.min(took.length - 1, Math.floor(share * took.length))] ?? 0;
  console.log(
    JSON.stringify({
      startMs,
      cpuMs,
      peak,
      rss,
      heap,
      empty,
      p50: quantile(0.5),
      p99: quantile(0.99),
      max: quantile(1),
      entries,
    }),
  );
  await loop.stop();
  store.close();
  cold.close();
} finally {
  loaded.close();
  rmSync(pinRoot, { recursive: true, force: true });
  rmSync(folder, { recursive: true, force: true });
}
