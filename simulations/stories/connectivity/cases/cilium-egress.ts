/** Egress of CiliumNetworkPolicy: where pods may go, and both ends at once. */
import { type Case, ccnp, cnp, from, inNamespace, on, to } from './expectation.ts';

const all = 'toEndpoints: [{}]';

export const ciliumEgress: readonly Case[] = [
  { name: 'an empty rule lets nobody out', yaml: cnp('red', 'web', 'egress: [{}]'), expect: ['out red/web:'] },
  { name: 'a namespace may talk to itself', yaml: cnp('red', '*', `egress: [{${all}}]`), expect: ['out red/*: red/*'] },
  { name: 'one app', yaml: cnp('red', 'web', `egress: [{${to('db')}}]`), expect: ['out red/web: red/db'] },
  {
    name: 'one app, one port',
    yaml: cnp('red', 'web', `egress: [{${to('db')}, ${on('5300/UDP')}}]`),
    expect: ['out red/web: red/db 5300/UDP'],
  },
  {
    name: 'one port to anybody',
    yaml: cnp('red', 'web', `egress: [{${on('8443/TCP')}}]`),
    expect: ['out red/web: * 8443/TCP'],
  },
  {
    name: 'a named port of the destination',
    yaml: cnp('red', 'web', `egress: [{${to('db')}, ${on('tls/TCP')}}]`),
    expect: ['out red/web: red/db 8443/TCP'],
  },
  {
    name: 'a named port of anybody is a pod’s',
    yaml: cnp('red', 'web', `egress: [{${on('tls/TCP')}}]`),
    expect: ['out red/web: pods 8443/TCP'],
  },
  {
    name: 'a range',
    yaml: cnp('red', 'web', `egress: [{${all}, ${on('5000-6000/UDP')}}]`),
    expect: ['out red/web: red/* 5300/UDP'],
  },
  {
    name: 'another namespace',
    yaml: cnp('red', 'web', `egress: [{toEndpoints: [{matchLabels: {${inNamespace('green')}}}], ${on('8080/TCP')}}]`),
    expect: ['out red/web: green/* 8080/TCP'],
  },
  {
    name: 'a namespace by its labels',
    yaml: cnp(
      'red',
      'web',
      'egress: [{toEndpoints: [{matchLabels: {"k8s:io.cilium.k8s.namespace.labels.colour": blue}}]}]',
    ),
    expect: ['out red/web: blue/*'],
  },
  {
    name: 'the node is not exempt',
    yaml: cnp('red', 'web', 'egress: [{toEntities: [cluster]}]'),
    expect: ['out red/web: pods, host'],
  },
  { name: 'only the node', yaml: cnp('red', 'web', 'egress: [{toEntities: [host]}]'), expect: ['out red/web: host'] },
  {
    name: 'the node, one port',
    yaml: cnp('red', 'web', `egress: [{toEntities: [host], ${on('8080/TCP')}}]`),
    expect: ['out red/web: host 8080/TCP'],
  },
  {
    name: 'only the world',
    yaml: cnp('red', 'web', 'egress: [{toEntities: [world]}]'),
    expect: ['out red/web: outside'],
  },
  {
    name: 'world of IPv6',
    yaml: cnp('red', 'web', 'egress: [{toCIDR: ["::/0"]}]'),
    expect: ['out red/web: outside v6'],
  },
  {
    name: 'everything, UDP only',
    yaml: cnp('red', 'web', `egress: [{toEntities: [all], ${on('0/UDP')}}]`),
    expect: ['out red/web: * UDP'],
  },
  {
    name: 'out here, in there',
    yaml:
      cnp('red', 'web', `egress: [{${to('api')}}]`, 'out') +
      cnp('red', 'api', `ingress: [{${from('web')}, ${on('8080/TCP')}}]`, 'in'),
    expect: ['out red/web: red/api', 'in red/api: red/web 8080/TCP'],
  },
  {
    name: 'both ends closed to each other',
    yaml: cnp('red', 'web', `egress: [{${to('api')}}]`, 'out') + cnp('red', 'api', `ingress: [{${from('db')}}]`, 'in'),
    expect: ['out red/web: red/api', 'in red/api: red/db'],
  },
  {
    name: 'both directions in one policy',
    yaml: cnp('blue', 'api', `ingress: [{${from('web')}}], egress: [{${to('db')}}]`),
    expect: ['in blue/api: blue/web', 'out blue/api: blue/db'],
  },
  {
    name: 'clusterwide egress to one app',
    yaml: ccnp('{matchLabels: {tier: front}}', `egress: [{${to('db')}}]`),
    expect: ['out */web: */db', 'out */api: */db'],
  },
  { name: 'clusterwide: nobody goes out', yaml: ccnp('{}', `egress: [{${all}}]`), expect: ['out pods: pods'] },
  {
    name: 'three tiers',
    yaml:
      cnp('blue', 'web', `egress: [{${to('api')}, ${on('8080/TCP')}}]`, 'web') +
      cnp(
        'blue',
        'api',
        `ingress: [{${from('web')}, ${on('8080/TCP')}}], egress: [{${to('db')}, ${on('5300/TCP')}}]`,
        'api',
      ) +
      cnp('blue', 'db', `ingress: [{${from('api')}, ${on('5300/TCP')}}], egress: [{}]`, 'db'),
    expect: [
      'out blue/web: blue/api 8080/TCP',
      'in blue/api: blue/web 8080/TCP',
      'out blue/api: blue/db 5300/TCP',
      'in blue/db: blue/api 5300/TCP',
      'out blue/db:',
    ],
  },
];
