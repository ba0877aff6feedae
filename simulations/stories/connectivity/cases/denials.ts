/** Denials, and policies that do not deny by default. */
import { type Case, ccnp, cnp, from, inNamespace, on, to } from './expectation.ts';

const open = 'enableDefaultDeny: {ingress: false, egress: false}';

export const denials: readonly Case[] = [
  {
    name: 'a denial alone closes',
    yaml: cnp('red', 'web', `ingressDeny: [{${from('api')}}]`),
    expect: ['in red/web:'],
  },
  {
    name: 'a denial without default deny',
    yaml: cnp('red', 'web', `${open}, ingressDeny: [{${from('api')}}]`),
    expect: ['never in red/web: red/api'],
  },
  {
    name: 'a denied port beats allowed peers',
    yaml: cnp('red', 'web', `ingress: [{fromEndpoints: [{}]}], ingressDeny: [{${on('8080/TCP')}}]`),
    expect: ['in red/web: red/*', 'never in red/web: * 8080/TCP'],
  },
  {
    name: 'a denied peer beats an allowed port',
    yaml: cnp('red', 'web', `ingress: [{${on('8080/TCP')}}], ingressDeny: [{${from('api')}}]`),
    expect: ['in red/web: * 8080/TCP', 'never in red/web: red/api'],
  },
  {
    name: 'a wide denial beats a narrow allowance',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}, ${on('8080/TCP')}}], ingressDeny: [{${on('8000-9000/TCP')}}]`),
    expect: ['in red/web:', 'never in red/web: * 8080/TCP, * 8443/TCP'],
  },
  {
    name: 'a hole in a range',
    yaml: cnp('red', 'web', `ingress: [{${on('8000-9000/TCP')}}], ingressDeny: [{${on('8443/TCP')}}]`),
    expect: ['in red/web: * 8080/TCP', 'never in red/web: * 8443/TCP'],
  },
  {
    name: 'a denial of another policy',
    yaml:
      cnp('red', 'web', 'ingress: [{fromEntities: [all]}]', 'one') +
      cnp('red', 'web', `ingressDeny: [{${from('db')}, ${on('0/UDP')}}]`, 'two'),
    expect: ['in red/web: *', 'never in red/web: red/db UDP'],
  },
  {
    name: 'a clusterwide denial',
    yaml: ccnp('{}', `${open}, ingressDeny: [{fromEndpoints: [{matchLabels: {${inNamespace('green')}}}]}]`),
    expect: ['never in pods: green/*'],
  },
  {
    name: 'the node can be denied',
    yaml: cnp('red', 'web', `${open}, ingressDeny: [{fromEntities: [host]}]`),
    expect: ['never in red/web: host'],
  },
  {
    name: 'everybody can be denied',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [all]}], ingressDeny: [{fromEntities: [all]}]'),
    expect: ['in red/web: *', 'never in red/web: *'],
  },
  {
    name: 'the world is denied',
    yaml: cnp('red', '*', `${open}, ingressDeny: [{fromEntities: [world]}]`),
    expect: ['never in red/*: outside'],
  },
  {
    name: 'the cluster is denied',
    yaml: cnp('red', 'web', `${open}, ingressDeny: [{fromEntities: [cluster]}]`),
    expect: ['never in red/web: pods, host'],
  },
  {
    name: 'no way out to one app',
    yaml: cnp('red', 'web', `${open}, egressDeny: [{${to('db')}}]`),
    expect: ['never out red/web: red/db'],
  },
  {
    name: 'out anywhere but to a port',
    yaml: cnp('red', 'web', `egress: [{toEntities: [all]}], egressDeny: [{${on('5300')}}]`),
    expect: ['out red/web: *', 'never out red/web: * 5300'],
  },
  {
    name: 'no way out to a network',
    yaml: cnp('red', 'web', `${open}, egressDeny: [{toCIDR: ["203.0.113.0/24"]}]`),
    expect: ['never out red/web: outside v4'],
  },
  {
    name: 'a denied network with an exception',
    yaml: cnp('red', 'web', `${open}, egressDeny: [{toCIDRSet: [{cidr: "203.0.0.0/16", except: ["203.0.113.0/24"]}]}]`),
    expect: [],
  },
  {
    name: 'an empty denial denies nobody, but closes',
    yaml: cnp('red', 'web', 'ingressDeny: [{}]'),
    expect: ['in red/web:'],
  },
  { name: 'a denial of nobody', yaml: cnp('red', 'web', `${open}, ingressDeny: [{fromEndpoints: []}]`), expect: [] },
  {
    name: 'allowances without default deny change nothing',
    yaml: cnp('red', 'web', `${open}, ingress: [{${from('api')}}], egress: [{${to('db')}}]`),
    expect: [],
  },
  {
    name: 'one that denies by default is enough',
    yaml:
      cnp('red', 'web', `${open}, ingress: [{${from('api')}}]`, 'one') +
      cnp('red', 'web', `ingress: [{${from('db')}}]`, 'two'),
    expect: ['in red/web: red/api, red/db'],
  },
  {
    name: 'default deny of one direction',
    yaml: cnp(
      'red',
      'web',
      `enableDefaultDeny: {ingress: true, egress: false}, ingress: [{${from('api')}}], egress: [{${to('db')}}]`,
    ),
    expect: ['in red/web: red/api'],
  },
  {
    name: 'default deny without rules of that direction',
    yaml: cnp('red', 'web', `enableDefaultDeny: {egress: true}, ingress: [{${from('api')}}]`),
    expect: ['in red/web: red/api'],
  },
];
