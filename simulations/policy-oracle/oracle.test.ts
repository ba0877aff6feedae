/** The oracle against the worked truth tables of reference/policy-semantics.md, section 11. */
import { describe, expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../cluster/events.ts';
import { type Flow, judge } from './oracle.ts';

const pod = (namespace: string, name: string, ip: string, node = 'n1', extra = '') => `
apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${name}, labels: {app: ${name}}}
spec: {nodeName: ${node}, containers: [{name: c, ports: [{name: web, containerPort: 80}]}]${extra}}
status: {podIP: ${ip}, podIPs: [{ip: ${ip}}]}
---`;
const base = `
apiVersion: v1
kind: Namespace
metadata: {name: x, labels: {team: red}}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {zone: a}}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, labels: {zone: b}}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---${pod('x', 's', '10.2.0.1')}${pod('x', 'a', '10.2.0.2')}${pod('y', 'b', '10.2.0.9')}`;

const read = (text: string): KubeObject[] =>
  parseAllDocuments(text).flatMap((document) => (document.toJS() as KubeObject | null) ?? []);

const ends: Record<string, Flow['from']> = {
  A: { pod: 'x/a' },
  B: { pod: 'y/b' },
  W: { ip: '8.8.8.8' },
  H: { entity: 'host' },
  R: { ip: '192.168.0.2' },
};

const policy = (spec: string, kind = 'CiliumNetworkPolicy', name = 'p') => `
apiVersion: cilium.io/v2
kind: ${kind}
metadata: {name: ${name}${kind === 'CiliumNetworkPolicy' ? ', namespace: x' : ''}}
spec: {endpointSelector: {matchLabels: {app: s}}, ${spec}}
---`;

/** Who may reach s: `A:80 A:81 B:80 W:80 H:80`, y or n each. */
const table: [row: string, policies: string, expected: string][] = [
  ['1 none', '', 'yyyyy'],
  ['2 one empty rule', policy('ingress: [{}]'), 'nnnny'],
  ['no rules', policy('ingress: []'), 'yyyyy'],
  ['empty list of endpoints', policy('ingress: [{fromEndpoints: []}]'), 'nnnny'],
  ['3 all endpoints', policy('ingress: [{fromEndpoints: [{}]}]'), 'yynny'],
  ['4 clusterwide', policy('ingress: [{fromEndpoints: [{}]}]', 'CiliumClusterwideNetworkPolicy'), 'yyyny'],
  ['5 ports only', policy('ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}]}]}]'), 'ynyyy'],
  [
    '6 a on 80',
    policy('ingress: [{fromEndpoints: [{matchLabels: {app: a}}], toPorts: [{ports: [{port: "80"}]}]}]'),
    'ynnny',
  ],
  [
    '7 a, and 80',
    policy('ingress: [{fromEndpoints: [{matchLabels: {app: a}}]}, {toPorts: [{ports: [{port: "80"}]}]}]'),
    'yyyyy',
  ],
  [
    '8 deny of a port',
    policy('ingress: [{fromEndpoints: [{}]}], ingressDeny: [{toPorts: [{ports: [{port: "80"}]}]}]'),
    'nynnn',
  ],
  ['9 the world', policy('ingress: [{fromCIDR: [0.0.0.0/0]}]'), 'nnnyy'],
  ['10 the cluster', policy('ingress: [{fromEntities: [cluster]}]'), 'yyyny'],
  [
    '11 deny a without default deny',
    policy('enableDefaultDeny: {ingress: false}, ingressDeny: [{fromEndpoints: [{matchLabels: {app: a}}]}]'),
    'nnyyy',
  ],
  ['12 deny a', policy('ingressDeny: [{fromEndpoints: [{matchLabels: {app: a}}]}]'), 'nnnny'],
  ['13 egress only', policy('egress: [{}]'), 'yyyyy'],
  [
    '14 L7 beside L3',
    policy(
      'ingress: [{fromEndpoints: [{matchLabels: {app: a}}]}, {fromEndpoints: [{matchLabels: {app: a}}], toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /x}]}}]}]',
    ),
    'yynny',
  ],
  [
    'L7 alone',
    policy('ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /x}]}}]}]'),
    'rnrry',
  ],
  [
    '15 L7 without default deny',
    policy(
      'enableDefaultDeny: {ingress: false}, ingress: [{toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{path: /x}]}}]}]',
    ),
    'yyyyy',
  ],
  [
    '16 range with a hole',
    policy(
      'ingress: [{toPorts: [{ports: [{port: "79", endPort: 90}]}]}], ingressDeny: [{toPorts: [{ports: [{port: "81"}]}]}]',
    ),
    'ynyyy',
  ],
  [
    '17 denied range',
    policy(
      'ingress: [{fromEndpoints: [{matchLabels: {app: a}}], toPorts: [{ports: [{port: "81"}]}]}], ingressDeny: [{toPorts: [{ports: [{port: "80", endPort: 90}]}]}]',
    ),
    'nnnnn',
  ],
  ['18 a pod is in no CIDR', policy('ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}]'), 'nnnny'],
  ['19 all of TCP', policy('ingress: [{toPorts: [{ports: [{port: "0", protocol: TCP}]}]}]'), 'yyyyy'],
  ['named port', policy('ingress: [{toPorts: [{ports: [{port: web}]}]}]'), 'ynyyy'],
  ['nobody', policy('ingress: [{toPorts: [{ports: []}]}]'), 'nnnny'],
  ['invalid: two L3 members', policy('ingress: [{fromEndpoints: [{}], fromEntities: [all]}]'), 'yyyyy'],
  [
    'namespace labels',
    policy(
      'ingress: [{fromEndpoints: [{matchExpressions: [{key: "k8s:io.cilium.k8s.namespace.labels.team", operator: Exists}]}]}]',
    ),
    'yynny',
  ],
  [
    'another namespace',
    policy('ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": y}}]}]'),
    'nnyny',
  ],
];

describe('ingress of s', () => {
  test.each(table)('%s', (_, policies, expected) => {
    const cluster = {
      objects: read(base + policies),
      clusterName: 'default',
      enforcement: 'default',
      hostFirewall: true,
    } as const;
    const answers = [
      ['A', 80],
      ['A', 81],
      ['B', 80],
      ['W', 80],
      ['H', 80],
    ].map(([end, port], id) => {
      const from = ends[end as string] as Flow['from'];
      return judge(cluster, { id, from, to: { pod: 'x/s' }, protocol: 'TCP', port: port as number }).verdict;
    });
    expect(answers.map((verdict) => ({ allowed: 'y', denied: 'n', 'redirected-denied': 'r' })[verdict]).join('')).toBe(
      expected,
    );
  });
});

test('CIDRs: an exception is no denial, and the world is told from pods by who it is', () => {
  const objects = read(
    base + policy('ingress: [{fromCIDRSet: [{cidr: 10.0.0.0/8, except: [10.1.0.0/16]}]}, {fromCIDR: [10.1.2.0/24]}]'),
  );
  const cluster = { objects, clusterName: 'default', enforcement: 'default', hostFirewall: true } as const;
  const from = (ip: string) =>
    judge(cluster, { id: ip, from: { ip }, to: { pod: 'x/s' }, protocol: 'UDP', port: 1 }).verdict;
  expect(['10.1.2.3', '10.1.3.3', '10.2.0.200', '10.2.0.9'].map(from)).toEqual([
    'allowed',
    'denied',
    'allowed',
    'denied',
  ]);
});

test('who decided is named, per side', () => {
  const text =
    base +
    policy('ingress: [{fromEntities: [all]}]', 'CiliumClusterwideNetworkPolicy', 'open') +
    policy('egress: [{toEntities: [host]}]');
  const cluster = { objects: read(text), clusterName: 'default', enforcement: 'default', hostFirewall: true } as const;
  const flow = (from: Flow['from'], to: Flow['to']): Flow => ({ id: 1, from, to, protocol: 'TCP', port: 80 });
  expect(judge(cluster, flow({ pod: 'x/a' }, { pod: 'x/s' }))).toEqual({
    id: 1,
    verdict: 'allowed',
    ingress: 'allowed',
    egress: 'not-enforced',
    matchedBy: ['CiliumClusterwideNetworkPolicy//open'],
  });
  expect(judge(cluster, flow({ pod: 'x/s' }, { entity: 'host' }))).toMatchObject({
    verdict: 'allowed',
    ingress: 'not-enforced',
    egress: 'allowed',
    matchedBy: ['CiliumNetworkPolicy/x/p'],
  });
  expect(judge(cluster, flow({ pod: 'x/s' }, { pod: 'x/a' }))).toMatchObject({
    verdict: 'denied',
    egress: 'denied',
    ingress: 'not-enforced',
    matchedBy: [],
  });
});
