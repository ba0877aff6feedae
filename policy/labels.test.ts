/** Truth table of identity labels (reference/identities-and-labels.md, section 4). */
import { describe, expect, it } from 'vitest';
import { isIdentityLabel, labelFilter, podIdentityLabels } from './labels.ts';

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

describe('with patterns of the node', () => {
  const cases: [string[], Record<string, boolean>][] = [
    [[], { app: true, 'pod-template-hash': false }],
    [['!app'], { app: false, application: false, version: true, 'app.kubernetes.io/name': true }],
    [['!app$'], { app: false, application: true }],
    [['!k8s:version'], { version: false, app: true }],
    // One that includes makes all others not count, but for the built-in ones.
    [['app'], { app: true, version: false, 'io.kubernetes.pod.namespace': true, 'io.cilium.k8s.policy.cluster': true }],
    [['k8s:app', 'k8s:version'], { app: true, version: true, tier: false }],
    // The longest include against the shortest ignore.
    [['!team', 'team\\.example\\.com/keep'], { 'team.example.com/keep': true, 'team.example.com/other': false }],
    [['pod-template-hash-of-mine'], { 'pod-template-hash': false, 'pod-template-hash-of-mine': true }],
  ];
  it.each(cases)('%j', (patterns, expected) => {
    const filter = labelFilter(patterns);
    expect(Object.fromEntries(Object.keys(expected).map((key) => [key, isIdentityLabel(key, filter)]))).toEqual(
      expected,
    );
  });

  it('the identity of a pod has what they leave', () => {
    const metadata = { name: 'web', namespace: 'demo', labels: { app: 'web', version: 'v1' } };
    const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'demo', labels: { team: 'red' } } };
    const labels = podIdentityLabels(
      { apiVersion: 'v1', kind: 'Pod', metadata },
      namespace,
      'c1',
      labelFilter(['app']),
    );
    expect(Object.keys(labels).sort()).toEqual([
      'k8s:app',
      'k8s:io.cilium.k8s.namespace.labels.team',
      'k8s:io.cilium.k8s.policy.cluster',
      'k8s:io.kubernetes.pod.namespace',
    ]);
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
