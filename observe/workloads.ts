/**
 * Which workload a pod of this node is of: the top of its owners, as far as the pod itself tells.
 *
 * - A ReplicaSet that carries the template's hash is a Deployment's, a Job that carries a time a CronJob's; a pod without owner is its own.
 */
import type { ClusterEvent, KubeObject } from '../cluster/events.ts';

export interface Workload {
  name: string;
  kind: string;
}
interface Owner {
  kind?: unknown;
  name?: unknown;
  controller?: unknown;
}

const TIME_OF_JOB = /-[0-9]{8,11}$/;

export class Workloads {
  readonly #known = new Map<string, readonly Workload[]>();

  /** One more event from a watch. */
  readonly hear = (event: ClusterEvent): void => {
    if ((event.type !== 'kube.upserted' && event.type !== 'kube.deleted') || event.resource !== 'pods') return;
    const { namespace = '', name } = event.object.metadata;
    const pod = `${namespace}/${name}`;
    if (event.type === 'kube.deleted') this.#known.delete(pod);
    else this.#known.set(pod, [workloadOf(event.object)]);
  };

  /** Of `namespace/name`; undefined: no pod of this node. */
  readonly of = (pod: string): readonly Workload[] | undefined => this.#known.get(pod);
}

export function workloadOf({ metadata }: KubeObject): Workload {
  const { ownerReferences, labels, name } = metadata as typeof metadata & { ownerReferences?: Owner[] };
  const owner = (Array.isArray(ownerReferences) ? ownerReferences : []).find(({ controller }) => controller === true);
  if (typeof owner?.name !== 'string' || typeof owner.kind !== 'string') return { name, kind: 'Pod' };
  const hash = labels?.['pod-template-hash'];
  if (owner.kind === 'ReplicaSet' && hash && owner.name.endsWith(`-${hash}`))
    return { name: owner.name.slice(0, -hash.length - 1), kind: 'Deployment' };
  if (owner.kind === 'Job' && TIME_OF_JOB.test(owner.name))
    return { name: owner.name.replace(TIME_OF_JOB, ''), kind: 'CronJob' };
  return { name: owner.name, kind: owner.kind };
}
