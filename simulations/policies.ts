/**
 * A node's policies without a kernel: the real engine and machines, one pod that was there before, and ops that always succeed.
 *
 * - `say` takes an event to its end and returns the ops that it took, in order; `rows` is what then is in the kernel.
 */
import type { AgentFacts, ClusterEvent, KubeObject, PolicyFacts } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import { kinds } from '../machines/kinds.ts';
import type { Kind } from '../machines/machine.ts';
import { policy } from '../machines/policy.ts';
import { Engine } from '../reconcilers/engine.ts';
import type { Step } from '../reconcilers/plan.ts';
import type { LocalEndpointRow, TableName } from '../state/tables.ts';
import type { AnyRow } from './packet-model.ts';

export const policyFacts: PolicyFacts = {
  enforcement: 'default',
  audit: false,
  hostFirewall: false,
  allowLocalhost: true,
  entriesMax: 16_384,
};

const facts: AgentFacts = {
  nodeName: 'node-1',
  clusterName: 'default',
  devices: ['eth0'],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 1500,
  datapathBuild: 'b0',
  policy: policyFacts,
};

/** Labels of a pod's identity. */
export const podLabels = (app: string): Record<string, string> => ({
  'k8s:app': app,
  'k8s:io.kubernetes.pod.namespace': 'demo',
  'k8s:io.cilium.k8s.policy.cluster': 'default',
});

/** The pod that policies are about. */
export const subject: LocalEndpointRow = {
  endpointId: 1,
  containerId: 'c1',
  netns: '/run/netns/c1',
  ifname: 'eth0',
  link: 'lxca',
  mac: '02:00:00:00:00:01',
  podNamespace: 'demo',
  podName: 'web',
  podUid: 'u1',
  ipv4: '10.0.0.2',
  ipv6: 'fd00::2',
  identity: 1001,
  labels: Object.entries(podLabels('web')).map(([key, value]) => `${key}=${value}`),
  gateway4: '10.0.0.1',
  gateway6: 'fd00::1',
  mtu: 1500,
};

/** Of other pods, by their label `app`. */
export const peers = { client: 1002, other: 1003 } as const;

const SOURCES = [
  'local',
  'links',
  'kernel',
  'kube/nodes',
  'kube/ciliumnodes',
  'kube/ciliumendpoints',
  'kube/ciliumendpointslices',
  'kube/namespaces',
  'kube/ciliumidentities',
  'kube/pods',
  'kube/services',
  'kube/endpointslices',
  'kube/networkpolicies',
  'kube/ciliumnetworkpolicies',
  'kube/ciliumclusterwidenetworkpolicies',
  'kube/ciliumcidrgroups',
] as const;

export function identityObject(identity: number, app: string): KubeObject {
  return {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumIdentity',
    metadata: { name: String(identity), labels: { 'io.kubernetes.pod.namespace': 'demo' } },
    'security-labels': podLabels(app),
  };
}

export class PolicyWorld {
  readonly engine: Engine;
  #seq = 0;

  constructor(policyOfNode: Partial<PolicyFacts> = {}) {
    const all: readonly Kind[] = kinds.includes(policy) ? kinds : [...kinds, policy];
    this.engine = new Engine(all, { rows: () => [], write: () => {} });
    this.say({ type: 'agent.started', config: { ...facts, policy: { ...policyFacts, ...policyOfNode } } });
    this.say({ type: 'local.restored', endpoints: [subject] });
    this.say({ type: 'kube.upserted', resource: 'namespaces', object: named('Namespace', 'demo') });
    this.say({ type: 'kube.upserted', resource: 'pods', object: podObject('web') });
    for (const [app, identity] of [['web', subject.identity], ['web2', 1004], ...Object.entries(peers)] as [
      string,
      number,
    ][])
      this.say({ type: 'kube.upserted', resource: 'ciliumidentities', object: identityObject(identity, app) });
    for (const source of SOURCES) this.say({ type: 'source.synced', source });
  }

  say(event: ClusterEvent): Op[] {
    const done: Op[] = [];
    for (let steps = this.#step(event); steps.length > 0; ) {
      const ops = steps.flatMap((step) => step.ops);
      done.push(...ops);
      const results = ops.map(({ table, key, action, revision }) => ({ table, key, action, revision }));
      steps = this.#step({ type: 'ops.done', results });
    }
    return done;
  }

  /** Without carrying out what it plans. */
  #step(event: ClusterEvent): Step[] {
    const seq = ++this.#seq;
    return this.engine.step({ seq, at: seq * 1_000, source: 'test', event });
  }

  rows(tables: readonly TableName[]): AnyRow[] {
    return tables.flatMap((table) => [...this.engine.actual(table)].map(([key, value]) => ({ table, key, value })));
  }
}

function named(kind: string, name: string): KubeObject {
  return { apiVersion: 'v1', kind, metadata: { name, uid: name } };
}

export const podObject = (app: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: subject.podName, namespace: 'demo', uid: subject.podUid, labels: { app } },
  spec: { nodeName: facts.nodeName },
});
