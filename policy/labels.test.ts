/** Truth table of identity labels (reference/identities-and-labels.md, section 4). */
import { describe, expect, it } from 'vitest';
import { isIdentityLabel, podIdentityLabels } from './labels.ts';

describe('a label forms part of the identity', () => {
  it.each([
    ['app', true],
    ['version', true],
    ['app.kubernetes.io/name', true],
    ['io.kubernetes.pod.namespace', true],
    ['io.cilium.k8s.policy.cluster', true],
    ['io.cilium.k8s.namespace.labels.team', true],
    ['io.kubernetes.other', false],
    ['kubernetes.io/hostname', false],
    ['statefulset.kubernetes.io/pod-name', false],
    ['beta.kubernetes.io/arch', false],
    ['failure-domain.beta.kubernetes.io/zone', false],
    ['pod-template-hash', false],
    ['controller-revision-hash', false],
    ['annotation.x', false],
    ['topology.kubernetes.io/zone', false],
    ['k8s.io/thing', false],
  ])('%s: %s', (key, relevant) => {
    expect(isIdentityLabel(key)).toBe(relevant);
  });
});

it('derives namespace, cluster and service account, and lets nobody spoof them', () => {
  const pod = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: 'web',
      namespace: 'demo',
      labels: { app: 'web', 'pod-template-hash': 'x', 'io.cilium.k8s.policy.cluster': 'evil' },
    },
    spec: { serviceAccountName: 'sa' },
  };
  const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'demo', labels: { team: 'red' } } };
  expect(podIdentityLabels(pod, namespace, 'c1')).toEqual({
    'k8s:app': 'web',
    'k8s:io.cilium.k8s.namespace.labels.team': 'red',
    'k8s:io.cilium.k8s.policy.cluster': 'c1',
    'k8s:io.cilium.k8s.policy.serviceaccount': 'sa',
    'k8s:io.kubernetes.pod.namespace': 'demo',
  });
});
