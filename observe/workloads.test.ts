/** Pods' workloads, by their owners. */
import { expect, it } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import { Workloads, workloadOf } from './workloads.ts';

const pod = (owner: object | undefined, hash = ''): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: {
    name: 'web-0',
    namespace: 'shop',
    uid: 'u',
    ...(hash && { labels: { 'pod-template-hash': hash } }),
    ...(owner && {
      ownerReferences: [
        { kind: 'Other', name: 'x' },
        { controller: true, ...owner },
      ],
    }),
  },
});

it.each([
  [pod({ kind: 'ReplicaSet', name: 'web-7d9f8b6c5d' }, '7d9f8b6c5d'), 'Deployment web'],
  [pod({ kind: 'ReplicaSet', name: 'web-alone' }), 'ReplicaSet web-alone'],
  [pod({ kind: 'StatefulSet', name: 'db' }), 'StatefulSet db'],
  [pod({ kind: 'Job', name: 'backup-29387460' }), 'CronJob backup'],
  [pod({ kind: 'Job', name: 'once' }), 'Job once'],
  [pod({ kind: 3 }), 'Pod web-0'],
  [pod(undefined), 'Pod web-0'],
])('%#: %j', (object, workload) => {
  const { kind, name } = workloadOf(object);
  expect(`${kind} ${name}`).toBe(workload);
});

it('knows pods as long as they are there', () => {
  const workloads = new Workloads();
  const object = pod({ kind: 'StatefulSet', name: 'db' });
  workloads.hear({ type: 'kube.upserted', resource: 'pods', object });
  expect(workloads.of('shop/web-0')).toEqual([{ name: 'db', kind: 'StatefulSet' }]);
  workloads.hear({ type: 'kube.deleted', resource: 'pods', object });
  expect(workloads.of('shop/web-0')).toBeUndefined();
});

it.each([
  ['web-7d9f8b6c5d-x2x4z', 'Deployment web'],
  ['a-b-7d9f8b-bcdfg', 'Deployment a-b'],
  ['backup-29387460-x2x4z', 'CronJob backup'],
  // What others could be called as well.
  ['web-0', undefined],
  ['web-x2x4z', undefined],
  ['web-7d9f8b6c5d-aeiou', undefined],
  ['web-1d9f8b6c5d-x2x4z', undefined],
  ['-7d9f8b6c5d-x2x4z', undefined],
])('%s of another node: %s', (name, workload) => {
  const [found] = new Workloads().of(`shop/${name}`) ?? [];
  expect(found && `${found.kind} ${found.name}`).toBe(workload);
});

it('what a pod of this node says of itself is worth more than its name', () => {
  const workloads = new Workloads();
  const object = pod({ kind: 'StatefulSet', name: 'db' });
  object.metadata.name = 'web-7d9f8b6c5d-x2x4z';
  workloads.hear({ type: 'kube.upserted', resource: 'pods', object });
  expect(workloads.of('shop/web-7d9f8b6c5d-x2x4z')).toEqual([{ name: 'db', kind: 'StatefulSet' }]);
});
