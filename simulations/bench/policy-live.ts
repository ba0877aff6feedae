/**
 * What a change of policy costs from the event to the last write into a policy map: engine, machines, SQLite in a file, driver, real maps.
 *
 * - 5,000 policies, 20,000 identities, 110 endpoints; everything but policy maps is applied by a driver that only says yes.
 * - initial: all first lists, from the first event to the last write; resolution is what the last list's end sets off.
 * - `--small` is a hundredth, for seeing that it works; `--endpoints N` other numbers of pods.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { AgentFacts, ClusterEvent, KubeObject } from '../../cluster/events.ts';
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import { PolicyDriver } from '../../datapath/drivers/policy.ts';
import { kinds } from '../../machines/kinds.ts';
import { policySources } from '../../machines/policy.ts';
import { Engine } from '../../reconcilers/engine.ts';
import { Loop } from '../../reconcilers/loop.ts';
import { Store } from '../../state/store.ts';
import { tableNames, tables } from '../../state/tables.ts';
import { attachDatapath, wireNode } from '../wired-node.ts';
import {
  at,
  concerned,
  ENDPOINTS,
  endpointIds,
  labelsOf,
  NAMESPACES,
  newLabels,
  objectOf,
  otherVersion,
  podLabelsOf,
  podNamespaceOf,
  ROUNDS,
  subjectOf,
  teamOf,
} from './policy-cluster.ts';
import { QuietMachine } from './quiet-machine.ts';

const scale = process.argv.includes('--small') ? 0.01 : 1;
const POLICIES = 5_000 * scale;
const IDENTITIES = 20_000 * scale;

const facts: AgentFacts = {
  ...{ nodeName: 'n1', clusterName: 'default', devices: ['eth0'], ipv4: true, ipv6: true, masquerade: true, mtu: 0 },
  datapathBuild: 'bench',
  policy: { enforcement: 'default', audit: false, hostFirewall: false, allowLocalhost: true, entriesMax: 32_768 },
};

/** Counts and times what the policy driver has written. */
class Timed implements Driver {
  readonly tables = ['bpf.policy-maps', 'bpf.policy'] as const;
  readonly lane = 'kernel';
  lastAt = 0;
  entries = 0;
  readonly #driver: PolicyDriver;

  constructor(driver: PolicyDriver) {
    this.#driver = driver;
  }

  async apply(ops: readonly Op[]): Promise<OpResult[]> {
    const results = await this.#driver.apply(ops);
    const wrong = results.find(Boolean);
    if (wrong) throw new Error(wrong.message);
    this.lastAt = performance.now();
    this.entries += ops.length;
    return results;
  }
}

const yes = (lane: Driver['lane'], except: readonly string[]): Driver => ({
  tables: tableNames.filter((table) => tables[table].lane === lane && !except.includes(table)),
  lane,
  apply: (ops) => ops.map(() => undefined),
});

const kube = (resource: string, object: KubeObject): ClusterEvent => ({ type: 'kube.upserted', resource, object });

function identityOf(number: number, labels: Record<string, string>): ClusterEvent {
  const name = String(number);
  const metadata = { name, labels: { 'io.kubernetes.pod.namespace': labels['k8s:io.kubernetes.pod.namespace'] ?? '' } };
  return kube('ciliumidentities', {
    ...{ apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata },
    'security-labels': labels,
  });
}

function* lists(): Generator<ClusterEvent> {
  const link = { name: 'eth0', kind: '', mac: '02:00:00:00:00:01', mtu: 1500, up: true, defaultRoute: true };
  yield { type: 'link.upserted', link: { ...link, addresses: ['192.0.2.1/24'] } };
  yield kube('nodes', {
    ...{ apiVersion: 'v1', kind: 'Node', metadata: { name: 'n1' } },
    spec: { podCIDRs: ['10.0.0.0/16', 'fd00::/64'] },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.1' }] },
  });
  for (const source of ['local', 'links', 'kube/nodes'] as const) yield { type: 'source.synced', source };
  for (let i = 0; i < NAMESPACES; i++)
    yield kube('namespaces', {
      ...{ apiVersion: 'v1', kind: 'Namespace' },
      metadata: { name: `ns-${i}`, labels: { team: teamOf(i) } },
    });
  for (let i = 0; i < IDENTITIES; i++) yield identityOf(1_000 + i, labelsOf(i));
  for (const endpointId of endpointIds) {
    const i = subjectOf(endpointId, IDENTITIES);
    const [podNamespace, podName] = [podNamespaceOf(i), `pod-${endpointId}`];
    const metadata = { namespace: podNamespace, name: podName, uid: podName, labels: podLabelsOf(i) };
    yield kube('pods', { apiVersion: 'v1', kind: 'Pod', metadata, spec: {} });
    const container = { containerId: `c-${endpointId}`, ifname: 'eth0', netns: `/run/netns/${podName}` };
    const request = { requestId: `add-${endpointId}`, endpointId };
    yield { type: 'cni.add', ...request, ...container, podNamespace, podName, podUid: podName };
  }
  for (let i = 0; i < POLICIES; i++) yield kube('ciliumnetworkpolicies', objectOf(i));
  for (const source of policySources) yield { type: 'source.synced', source: source as `kube/${string}` };
}

const quiet = new QuietMachine(30_000);
const dir = mkdtempSync(join(tmpdir(), 'axb-policy-live-'));
const undo = [() => rmSync(dir, { recursive: true, force: true })];
try {
  const node = wireNode(`axb-${process.pid}-live-`, 2);
  undo.push(() => node.remove());
  const datapath = attachDatapath(node, join(import.meta.dirname, '../../bpf/build/datapath.o'));
  undo.push(() => datapath.close());
  const store = new Store(join(dir, 'state.db'));
  undo.push(() => store.close());
  const { object } = datapath;
  const maps = { policy: object.map('policy'), revision: object.map('policy_revision') };
  const driver = new Timed(new PolicyDriver({ ...maps, btf: object.btf() }));
  const engine = new Engine(kinds, store);
  const loop = new Loop({
    engine,
    drivers: [driver, yes('kernel', driver.tables), yes('kube', []), yes('edge', [])],
    now: Date.now,
    onDefect: (error) => {
      throw error;
    },
  });

  loop.push('agent', { type: 'agent.started', config: facts });
  loop.push('local', { type: 'local.restored', endpoints: [], cidrIdentities: {} });
  await quiet.wait();
  const began = performance.now();
  let last = began;
  for (const event of lists()) {
    last = performance.now();
    loop.push('bench', event);
  }
  await loop.idle();
  const initialMs = driver.lastAt - began;
  const resolutionMs = driver.lastAt - last;
  const ready = engine.machines().filter(({ kind, state }) => kind === 'endpoint' && state === 'ready').length;
  if (ready !== ENDPOINTS) throw new Error(`${ready} of ${ENDPOINTS} endpoints are ready`);
  const { entries } = driver;

  /** From the event to the last write, of those that lead to one. */
  const measure = async (eventOf: (round: number) => ClusterEvent): Promise<number[]> => {
    const times: number[] = [];
    await quiet.wait();
    for (let round = 0; round < ROUNDS; round++) {
      const event = eventOf(round);
      const start = performance.now();
      loop.push('bench', event);
      await loop.idle();
      if (driver.lastAt > start) times.push(driver.lastAt - start);
    }
    return times;
  };
  const identity = await measure((i) => identityOf(1_000_000 + i, newLabels(i, IDENTITIES)));
  const beforePolicies = driver.entries;
  const here = concerned(POLICIES, IDENTITIES);
  const policy = await measure((i) => {
    const one = here[i % here.length] ?? 0;
    const { name } = objectOf(one).metadata;
    return kube('ciliumnetworkpolicies', objectOf(otherVersion(one, i), name));
  });
  console.log(`${POLICIES} policies, ${IDENTITIES} identities, ${ENDPOINTS} endpoints: from event to map write`);
  console.table({
    'first lists ms': Math.round(initialMs),
    'of that, resolution ms': Math.round(resolutionMs),
    'entries written at first': entries,
    'identity: written': identity.length,
    'identity p50 ms': at(identity, 0.5),
    'identity p99 ms': at(identity, 0.99),
    'policy: written': policy.length,
    'policy p50 ms': at(policy, 0.5),
    'policy p99 ms': at(policy, 0.99),
    'entries a policy': Math.round((driver.entries - beforePolicies) / Math.max(policy.length, 1)),
    'RSS MiB': Math.round(process.memoryUsage.rss() / 2 ** 20),
  });
  if (quiet.disturbed) console.log('others used the processors meanwhile: these are no clean figures');
  await loop.stop();
} finally {
  for (const step of undo.reverse()) step();
}
