/** Ingress of CiliumNetworkPolicy: who may come in. */
import { type Case, ccnp, cnp, from, inNamespace, on } from './expectation.ts';

const all = 'fromEndpoints: [{}]';

export const ciliumIngress: readonly Case[] = [
  { name: 'an empty rule lets nobody in', yaml: cnp('red', 'web', 'ingress: [{}]'), expect: ['in red/web:'] },
  { name: 'no rules are no policy', yaml: cnp('red', 'web', 'ingress: []'), expect: [] },
  { name: 'a whole namespace is closed', yaml: cnp('red', '*', 'ingress: [{}]'), expect: ['in red/*:'] },
  {
    name: 'an empty list of endpoints is nobody',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: []}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'an empty list of endpoints with ports is nobody',
    yaml: cnp('red', 'web', `ingress: [{fromEndpoints: [], ${on('8080')}}]`),
    expect: ['in red/web:'],
  },
  {
    name: 'all endpoints are those of the namespace',
    yaml: cnp('red', 'web', `ingress: [{${all}}]`),
    expect: ['in red/web: red/*'],
  },
  {
    name: 'one app of the namespace',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}}]`),
    expect: ['in red/web: red/api'],
  },
  {
    name: 'one app, one port',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}, ${on('8080/TCP')}}]`),
    expect: ['in red/web: red/api 8080/TCP'],
  },
  {
    name: 'one port from anybody',
    yaml: cnp('red', 'web', `ingress: [{${on('8080/TCP')}}]`),
    expect: ['in red/web: * 8080/TCP'],
  },
  {
    name: 'one port of any protocol',
    yaml: cnp('red', 'web', `ingress: [{${on('8080')}}]`),
    expect: ['in red/web: * 8080'],
  },
  {
    name: 'protocol ANY is every protocol with ports',
    yaml: cnp('red', 'web', `ingress: [{${on('8080/ANY')}}]`),
    expect: ['in red/web: * 8080'],
  },
  {
    name: 'port 0 is all of the protocol',
    yaml: cnp('red', 'web', `ingress: [{${on('0/UDP')}}]`),
    expect: ['in red/web: * UDP'],
  },
  { name: 'port 0 of any protocol', yaml: cnp('red', 'web', `ingress: [{${on('0/ANY')}}]`), expect: ['in red/web: *'] },
  {
    name: 'several ports',
    yaml: cnp('red', 'web', `ingress: [{${on('8080/TCP', '5300/UDP')}}]`),
    expect: ['in red/web: * 8080/TCP, * 5300/UDP'],
  },
  {
    name: 'a range of ports',
    yaml: cnp('red', 'web', `ingress: [{${on('8000-8443/TCP')}}]`),
    expect: ['in red/web: * 8080/TCP, * 8443/TCP'],
  },
  {
    name: 'a range that ends before a port',
    yaml: cnp('red', 'web', `ingress: [{${on('8081-8442/TCP', '5300-5300/UDP')}}]`),
    expect: ['in red/web: * 5300/UDP'],
  },
  {
    name: 'a range of all ports from 1',
    yaml: cnp('red', 'web', `ingress: [{${on('1-65535/TCP')}}]`),
    expect: ['in red/web: * TCP'],
  },
  {
    name: 'a named port',
    yaml: cnp('red', 'web', `ingress: [{${on('http/TCP')}}]`),
    expect: ['in red/web: * 8080/TCP'],
  },
  {
    name: 'a named port of any protocol',
    yaml: cnp('red', 'web', `ingress: [{${on('names-udp')}}]`),
    expect: ['in red/web: * 5300/UDP'],
  },
  {
    name: 'a named port that nobody has',
    yaml: cnp('red', 'web', `ingress: [{${on('gopher/TCP')}}]`),
    expect: ['in red/web:'],
  },
  {
    name: 'a name of another protocol',
    yaml: cnp('red', 'web', `ingress: [{${on('http/UDP')}}]`),
    expect: ['in red/web:'],
  },
  {
    name: 'ports without a port',
    yaml: cnp('red', 'web', 'ingress: [{toPorts: [{ports: []}]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'two elements are either',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}}, {${on('8080/TCP')}}]`),
    expect: ['in red/web: red/api, * 8080/TCP'],
  },
  {
    name: 'two entries of toPorts are either',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{toPorts: [{ports: [{port: "8080", protocol: TCP}]}, {ports: [{port: "8443", protocol: UDP}]}]}]',
    ),
    expect: ['in red/web: * 8080/TCP, * 8443/UDP'],
  },
  {
    name: 'two selectors are either',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: [{matchLabels: {app: api}}, {matchLabels: {app: db}}]}]'),
    expect: ['in red/web: red/api, red/db'],
  },
  {
    name: 'two labels are both',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: [{matchLabels: {app: api, tier: back}}]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'two policies add up',
    yaml:
      cnp('red', 'web', `ingress: [{${from('api')}, ${on('8080/TCP')}}]`, 'one') +
      cnp('red', 'web', `ingress: [{${from('db')}, ${on('8443/TCP')}}]`, 'two'),
    expect: ['in red/web: red/api 8080/TCP, red/db 8443/TCP'],
  },
  {
    name: 'specs add up',
    yaml: `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: red, name: p}
specs:
- {endpointSelector: {matchLabels: {app: web}}, ingress: [{${from('api')}}]}
- {endpointSelector: {matchLabels: {app: db}}, ingress: [{${from('web')}}]}
---`,
    expect: ['in red/web: red/api', 'in red/db: red/web'],
  },
  {
    name: 'another namespace by name',
    yaml: cnp('red', 'web', `ingress: [{fromEndpoints: [{matchLabels: {${inNamespace('blue')}}}]}]`),
    expect: ['in red/web: blue/*'],
  },
  {
    name: 'an app of another namespace',
    yaml: cnp('red', 'web', `ingress: [{fromEndpoints: [{matchLabels: {app: api, ${inNamespace('blue')}}}]}]`),
    expect: ['in red/web: blue/api'],
  },
  {
    name: 'namespaces by an expression',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchExpressions: [{key: "k8s:io.kubernetes.pod.namespace", operator: In, values: [blue, green]}]}]}]',
    ),
    expect: ['in red/web: blue/*, green/*'],
  },
  {
    name: 'any namespace at all',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchExpressions: [{key: "k8s:io.kubernetes.pod.namespace", operator: Exists}]}]}]',
    ),
    expect: ['in red/web: pods'],
  },
  {
    name: 'namespaces by their labels',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.namespace.labels.team": two}}]}]',
    ),
    expect: ['in red/web: blue/*, green/*'],
  },
  {
    name: 'labels of the namespace and of the pod',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.namespace.labels.team": two, app: db}}]}]',
    ),
    expect: ['in red/web: blue/db, green/db'],
  },
  {
    name: 'expression In',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchExpressions: [{key: app, operator: In, values: [api, db]}]}]}]',
    ),
    expect: ['in red/web: red/api, red/db'],
  },
  {
    name: 'expression NotIn',
    yaml: cnp(
      'red',
      '*',
      'ingress: [{fromEndpoints: [{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}]}]',
    ),
    expect: ['in red/*: red/api, red/db'],
  },
  {
    name: 'expression Exists',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: [{matchExpressions: [{key: tier, operator: Exists}]}]}]'),
    expect: ['in red/web: red/*'],
  },
  {
    name: 'expression DoesNotExist',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: [{matchExpressions: [{key: tier, operator: DoesNotExist}]}]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'the source of a label is written',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchLabels: {"k8s:app": api}}, {matchLabels: {"any:app": db}}]}]',
    ),
    expect: ['in red/web: red/api, red/db'],
  },
  {
    name: 'a label of another source',
    yaml: cnp('red', 'web', 'ingress: [{fromEndpoints: [{matchLabels: {"container:app": api}}]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'the cluster is written',
    yaml: cnp(
      'red',
      'web',
      'ingress: [{fromEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.policy.cluster": elsewhere}}]}]',
    ),
    expect: ['in red/web:'],
  },
  {
    name: 'the subject by an expression',
    yaml: cnp('red', '{matchExpressions: [{key: app, operator: NotIn, values: [db]}]}', 'ingress: [{}]'),
    expect: ['in red/web:', 'in red/api:'],
  },
  { name: 'a subject that is not there', yaml: cnp('red', 'ghost', 'ingress: [{}]'), expect: [] },
  {
    name: 'a subject of another namespace stays in its own',
    yaml: cnp('red', `{matchLabels: {app: web, ${inNamespace('blue')}}}`, 'ingress: [{}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'clusterwide: all endpoints are all pods',
    yaml: ccnp('{matchLabels: {app: web}}', `ingress: [{${all}}]`),
    expect: ['in */web: pods'],
  },
  {
    name: 'clusterwide: one app of any namespace',
    yaml: ccnp('{matchLabels: {app: db}}', `ingress: [{${from('api')}}]`),
    expect: ['in */db: */api'],
  },
  {
    name: 'clusterwide: subjects of one namespace',
    yaml: ccnp(`{matchLabels: {${inNamespace('blue')}}}`, `ingress: [{${from('web')}}]`),
    expect: ['in blue/*: */web'],
  },
  { name: 'clusterwide: everything is closed', yaml: ccnp('{}', 'ingress: [{}]'), expect: ['in pods:'] },
  {
    name: 'clusterwide and namespaced add up',
    yaml:
      ccnp('{matchLabels: {app: web}}', `ingress: [{${from('db')}}]`) +
      cnp('red', 'web', `ingress: [{${from('api')}}]`),
    expect: ['in */web: */db', 'in red/web: red/api'],
  },
];
