/** Identities that change their minds: whatever a pod's identity was in between, pod, policy and entries end with the same one. */
import { expect, test } from 'vitest';
import type { ClusterEvent, KubeObject } from '../cluster/events.ts';
import type { Op } from '../datapath/driver.ts';
import type { PolicyContext } from '../machines/policy-context.ts';
import { recordsOf } from '../machines/records.ts';
import { PolicyWorld, policySources } from './policy-world.ts';

const fromFrontend = {
  endpointSelector: { matchLabels: { app: 'backend' } },
  ingress: [{ fromEndpoints: [{ matchLabels: { app: 'frontend' } }], toPorts: [{ ports: [{ port: '8080' }] }] }],
};
const world = (): PolicyWorld => new PolicyWorld().start().restored([]).node();

test('a rival of an identity comes and goes while an agent that starts anew is still listing', () => {
  const before = world().synced().namespace('shop');
  before.cnp('shop/backend', fromFrontend);
  const backend = before.pod('shop/back', { app: 'backend' });
  before.pod('shop/front', { app: 'frontend' });
  const identity = before.identity('shop/front');
  const again = PolicyWorld.after(before).node().namespace('shop');
  again.cnp('shop/backend', fromFrontend);
  again.say({ type: 'source.synced', source: 'kube/ciliumidentities' });
  const labels = before.identities.find(({ metadata }) => metadata.name === String(identity))?.['security-labels'];
  const metadata = { name: String(identity - 500) };
  const rival: KubeObject = { apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata, 'security-labels': labels };
  again.upsert('ciliumidentities', rival);
  again.delete('ciliumidentities', rival);
  for (const source of policySources) again.say({ type: 'source.synced', source });
  expect(again.identity('shop/front')).toBe(identity);
  const policy = again.engine.machine('policy') as { context: unknown };
  expect(recordsOf((policy.context as PolicyContext).endpoints).get(2)?.identity).toBe(identity);
  expect(Object.keys(again.entries(backend)).filter((key) => key.startsWith('ingress|1'))).toContain(
    `ingress|${identity}|TCP|8080`,
  );
});

test('labels go there, back and there again while the kernel has not done yet what the first change needs', () => {
  const now = world().synced().namespace('shop');
  now.cnp('shop/backend', fromFrontend);
  now.pod('shop/back', { app: 'backend' });
  now.pod('shop/front', { app: 'frontend', version: 'v1' });
  const pod = now.pods.get('shop/front') as KubeObject;
  const [first, second] = ['v1', 'v2'].map((version): ClusterEvent => {
    const metadata = { ...pod.metadata, labels: { app: 'frontend', version } };
    return { type: 'kube.upserted', resource: 'pods', object: { ...pod, metadata } };
  }) as [ClusterEvent, ClusterEvent];
  // Both identities are there.
  now.say(second);
  const other = now.identity('shop/front');
  now.say(first);

  for (const [before, between] of [0, 1, 2, 3, 4].flatMap((a) => [0, 1, 2, 3].map((b) => [a, b] as const))) {
    const todo: Op[] = [];
    const hear = (event: ClusterEvent): void => {
      todo.push(...now.step(event).flatMap(({ ops }) => ops));
    };
    const round = (): void => {
      const results = todo.splice(0).map(({ table, key, action, revision }) => ({ table, key, action, revision }));
      if (results.length > 0) hear({ type: 'ops.done', results });
    };
    hear(second);
    for (let i = 0; i < before; i++) round();
    hear(first);
    for (let i = 0; i < between; i++) round();
    hear(second);
    for (let i = 0; i < 20; i++) round();
    expect(now.identity('shop/front')).toBe(other);
    expect(now.rows('bpf.ipcache')['10.0.0.3/32']?.identity).toBe(other);
    now.say(first);
  }
});
