/**
 * The log of a busy node, made by the engine itself against a simulated kernel that never fails.
 *
 * - Every pod lives once: Pod object, CNI ADD, two status updates that change no row, a new label for some, CNI DEL, delete.
 * - At most `alive` pods live at a time, so that the cost of a step can be told for a small and for a full node.
 */
import type { ClusterEvent, KubeObject, LogEntry, OpDone } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { IdentityClaimRow } from '../../state/tables.ts';
import { isKernelTable, SimulatedKernel } from '../kernel.ts';
import { watched } from '../node/api.ts';
import { facts } from '../node/world.ts';

export interface Churn {
  /** Pods that come and go. */
  pods: number;
  alive: number;
  /** Label sets that they share. */
  labelSets: number;
}

const NAMESPACES = 20;
/** Each of so many pods gets a new label while it lives. */
const RELABELLED = 5;

export function churnLog({ pods, alive, labelSets }: Churn): LogEntry[] {
  const node = new BusyNode();
  node.start();
  for (let number = 0; number < pods + alive; number++) {
    if (number < pods) node.create(number, labelSets);
    if (number >= alive) node.remove(number - alive, labelSets);
  }
  return node.log;
}

class BusyNode {
  readonly log: LogEntry[] = [];
  readonly #engine = new Engine(kinds, { rows: () => [], write: () => {} });
  readonly #kernel = new SimulatedKernel({ anyNamespace: true });
  readonly #queue: { source: string; event: ClusterEvent }[] = [];
  #identities = 256;

  start(): void {
    this.#push('agent', { type: 'agent.started', config: facts });
    this.#push('local', { type: 'local.restored', endpoints: [] });
    for (const source of ['local', 'kernel'] as const) this.#push(source, { type: 'source.synced', source });
    this.#kernel.addLink('eth0');
    this.#push('links', { type: 'link.upserted', link: nativeLink });
    this.#push('links', { type: 'source.synced', source: 'links' });
    this.#push('kube', { type: 'kube.upserted', resource: 'nodes', object: nodeObject });
    for (let number = 0; number < NAMESPACES; number++) {
      this.#push('kube', { type: 'kube.upserted', resource: 'namespaces', object: namespaceObject(number) });
    }
    for (const resource of watched) {
      this.#push('kube', { type: 'source.synced', source: `kube/${resource}` });
    }
  }

  create(number: number, labelSets: number): void {
    const upsert = (object: KubeObject): void =>
      this.#push('kube', { type: 'kube.upserted', resource: 'pods', object });
    const { uid = '', name, namespace = '' } = podObject(number, labelSets, 'Pending').metadata;
    upsert(podObject(number, labelSets, 'Pending'));
    this.#push('cni', {
      type: 'cni.add',
      requestId: `add-${number}`,
      ...containerOf(number),
      netns: `/run/netns/${uid}`,
      podNamespace: namespace,
      podName: name,
      podUid: uid,
      endpointId: 1 + (number % 65_535),
    });
    upsert(podObject(number, labelSets, 'Running'));
    upsert(podObject(number, labelSets, 'Ready'));
    if (number % RELABELLED === 0) upsert(podObject(number + 1, labelSets, 'Ready', number));
  }

  remove(number: number, labelSets: number): void {
    this.#push('cni', { type: 'cni.del', requestId: `del-${number}`, ...containerOf(number) });
    this.#push('kube', {
      type: 'kube.deleted',
      resource: 'pods',
      object: podObject(number, labelSets, 'Succeeded'),
    });
  }

  /** Takes the event and all that follows from it, as the loop would with drivers that answer at once. */
  #push(source: string, event: ClusterEvent): void {
    this.#queue.push({ source, event });
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) {
      const seq = this.log.length + 1;
      const entry: LogEntry = { seq, at: 1_700_000_000_000 + seq, ...next };
      this.log.push(entry);
      for (const { table, ops } of this.#engine.step(entry)) {
        this.#queue.push({ source: `driver/${table}`, event: { type: 'ops.done', results: this.#apply(ops) } });
      }
    }
  }

  #apply(ops: readonly Op[]): OpDone[] {
    return ops.map((op) => {
      const { table, key, action, revision } = op;
      const error = isKernelTable(table) ? this.#kernel.apply([op])[0] : undefined;
      if (error) throw new Error(`a kernel without faults refuses: ${error.message}`);
      if (table === 'identity.claims' && action === 'put') this.#claim((op.value as IdentityClaimRow).labels);
      return { table, key, action, revision };
    });
  }

  #claim(labels: Record<string, string>): void {
    const object: KubeObject = {
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumIdentity',
      metadata: { name: String(this.#identities++) },
      'security-labels': labels,
    };
    this.#queue.push({ source: 'kube', event: { type: 'kube.upserted', resource: 'ciliumidentities', object } });
  }
}

const nativeLink = {
  name: 'eth0',
  kind: '',
  mac: '02:00:00:00:00:02',
  mtu: 1500,
  up: true,
  addresses: ['192.0.2.2/24', '2001:db8::2/64'],
  defaultRoute: true,
};
/** Large enough for every pod that ever lives at a time. */
const nodeObject: KubeObject = {
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name: facts.nodeName, uid: 'node' },
  spec: { podCIDRs: ['10.0.0.0/16', 'fd00:1::/64'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.2' }] },
};
const namespaceName = (number: number): string => `team-${number % NAMESPACES}`;
const namespaceObject = (number: number): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: namespaceName(number), labels: { 'kubernetes.io/metadata.name': namespaceName(number) } },
});
const containerOf = (number: number): { containerId: string; ifname: string } => ({
  containerId: number.toString(16).padStart(64, '0'),
  ifname: 'eth0',
});

/** A pod as a Deployment makes it; `self` is whose it is when its labels are those of another number. */
function podObject(number: number, labelSets: number, phase: string, self = number): KubeObject {
  const set = number % labelSets;
  const container = {
    name: 'app',
    image: `registry.example/team/app-${set}:v1`,
    ports: [{ name: 'http', containerPort: 8080, protocol: 'TCP' }],
    env: [{ name: 'POD_NAME', valueFrom: { fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.name' } } }],
    resources: { requests: { cpu: '100m', memory: '128Mi' }, limits: { memory: '128Mi' } },
    readinessProbe: { httpGet: { path: '/ready', port: 8080, scheme: 'HTTP' }, periodSeconds: 10, failureThreshold: 3 },
    volumeMounts: [{ name: 'sa', readOnly: true, mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }],
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `app-${self}`,
      namespace: namespaceName(self),
      uid: `uid-${self}`,
      resourceVersion: `${self}${phase}`,
      labels: { app: `app-${set}`, 'pod-template-hash': 'abc', tier: set % 2 === 0 ? 'web' : 'data' },
    },
    spec: {
      nodeName: facts.nodeName,
      serviceAccountName: 'default',
      containers: [container],
      tolerations: [{ key: 'node.kubernetes.io/not-ready', operator: 'Exists', effect: 'NoExecute' }],
    },
    status: {
      phase,
      conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map((type) => ({ type, status: phase })),
    },
  };
}
