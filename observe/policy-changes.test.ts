/** Policies' changes, of which each is told once, and those of the start are told when all were listed. */
import { expect, it } from 'vitest';
import type { ClusterEvent } from '../cluster/events.ts';
import type { Inspector } from '../reconcilers/inspect.ts';
import { policyEvent } from './hubble/policy-events.ts';
import { type PolicyChange, PolicyChanges } from './policy-changes.ts';

const policy = (name: string, text: string, problems: string[] = []) => ({
  ...{ kind: 'CiliumNetworkPolicy', namespace: 'shop', name, text, problems },
  lastValid: problems.length > 0 ? undefined : { rules: [{}, {}] },
});
const context = { known: false, objects: {} as Record<string, unknown> };
let seq = 1;
const inspector = { machine: () => ({ context }), stats: () => ({ seq: seq++ }) } as unknown as Inspector;
const about = (resource: string): ClusterEvent => ({
  type: 'kube.upserted',
  resource,
  object: { apiVersion: 'v', kind: 'K', metadata: { name: 'x', uid: 'u' } },
});

it('tells those that are there once all are listed, then each change, and none of a status', async () => {
  const policies = new PolicyChanges(inspector);
  const told: PolicyChange[] = [];
  policies.changes$.subscribe((change) => told.push(change));
  const lines = (): string[] => told.splice(0).map(({ action, name, rules }) => `${action} ${name} ${rules}`);
  context.objects = { a: policy('a', '1'), b: policy('b', '1', ['no port']) };
  policies.hear(about('ciliumnetworkpolicies'));
  await new Promise((resolve) => setTimeout(resolve, 150));
  expect(lines()).toEqual([]);
  context.known = true;
  await expect.poll(lines).toEqual(['update a 2', 'update b 0']);
  expect(policies.counts).toMatchObject({ success: 1, fail: 1 });

  context.objects = { a: policy('a', '2'), b: policy('b', '1') };
  policies.hear(about('pods'));
  policies.hear(about('networkpolicies'));
  await expect.poll(lines).toEqual(['update a 2']);
  context.objects = { b: policy('b', '1') };
  policies.hear({ ...about('networkpolicies'), type: 'kube.deleted' } as ClusterEvent);
  await expect.poll(() => told.length).toBe(1);
  const [gone] = told;
  expect(gone && policyEvent(gone, 1_500)).toEqual({
    type: 'POLICY_DELETED',
    policy_update: {
      labels: [
        'k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy',
        'k8s:io.cilium.k8s.policy.name=a',
        'k8s:io.cilium.k8s.policy.namespace=shop',
      ],
      revision: policies.counts.revision,
      rule_count: 2,
    },
    time: { seconds: 1, nanos: 500_000_000 },
  });
  expect(policies.counts).toMatchObject({ success: 3, fail: 1 });
  policies.close();
});
