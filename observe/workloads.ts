/**
 * Which workload a pod is of: the top of its owners, as far as the pod itself tells; of another node's pod, as far as its name does.
 *
 * - A ReplicaSet that carries the template's hash is a Deployment's, a Job that carries a time a CronJob's; a pod without owner is its own.
 * - Nobody tells a node of other nodes' owners, and watching all pods for it would cost every node the cluster's memory. Names of pods
 *   of Deployments and CronJobs tell by their form; those of all others could be anything, and say nothing.
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
/** Kubernetes' alphabet for what it makes up: five characters for a pod, and a hash of decimal digits for a template. */
const OF_DEPLOYMENT = /^(.+)-[4-9bcdf]{6,10}-[bcdfghjklmnpqrstvwxz2456789]{5}$/;
/** Minutes since 1970: eight digits until 2160. */
const OF_CRONJOB = /^(.+)-[2-7][0-9]{7}-[bcdfghjklmnpqrstvwxz2456789]{5}$/;

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

  /** Of `namespace/name`; undefined: no pod of this node, and no name that tells. */
  readonly of = (pod: string): readonly Workload[] | undefined => this.#known.get(pod) ?? byName(pod);
}

function byName(pod: string): Workload[] | undefined {
  const name = pod.slice(pod.indexOf('/') + 1);
  // Eight digits of the hash's alphabet are a time in the years from 2054 on.
  const [, deployment] = OF_DEPLOYMENT.exec(name) ?? [];
  if (deployment !== undefined) return [{ name: deployment, kind: 'Deployment' }];
  const [, cronJob] = OF_CRONJOB.exec(name) ?? [];
  return cronJob === undefined ? undefined : [{ name: cronJob, kind: 'CronJob' }];
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
