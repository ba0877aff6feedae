/** NetworkPolicy of Kubernetes, all of it. */
import { type Case, cnp, from, knp } from './expectation.ts';

const app = (name: string): string => `podSelector: {matchLabels: {app: ${name}}}`;
const tcp = (...ports: (number | string)[]): string => `ports: [${ports.map((port) => `{port: ${port}}`).join(', ')}]`;

export const kubernetes: readonly Case[] = [
  { name: 'no ingress', yaml: knp('red', 'web', 'policyTypes: [Ingress]'), expect: ['in red/web:'] },
  { name: 'no ingress, empty list', yaml: knp('red', '*', 'ingress: []'), expect: ['in red/*:'] },
  { name: 'no egress', yaml: knp('red', 'web', 'policyTypes: [Egress]'), expect: ['out red/web:'] },
  {
    name: 'neither',
    yaml: knp('red', 'web', 'policyTypes: [Ingress, Egress]'),
    expect: ['in red/web:', 'out red/web:'],
  },
  { name: 'an empty rule is everybody', yaml: knp('red', 'web', 'ingress: [{}]'), expect: ['in red/web: *'] },
  {
    name: 'an empty egress rule is everybody',
    yaml: knp('red', 'web', 'policyTypes: [Egress], egress: [{}]'),
    expect: ['out red/web: *'],
  },
  {
    name: 'absent types: ingress, and egress if written',
    yaml: knp('red', 'web', `ingress: [{from: [{${app('api')}}]}], egress: [{to: [{${app('db')}}]}]`),
    expect: ['in red/web: red/api', 'out red/web: red/db'],
  },
  {
    name: 'absent types close ingress',
    yaml: knp('red', 'web', `egress: [{to: [{${app('db')}}]}]`),
    expect: ['in red/web:', 'out red/web: red/db'],
  },
  {
    name: 'types leave the rules of the other direction out',
    yaml: knp(
      'red',
      'web',
      `policyTypes: [Ingress], ingress: [{from: [{${app('api')}}]}], egress: [{to: [{${app('db')}}]}]`,
    ),
    expect: ['in red/web: red/api'],
  },
  {
    name: 'a pod of the namespace',
    yaml: knp('red', 'web', `ingress: [{from: [{${app('api')}}]}]`),
    expect: ['in red/web: red/api'],
  },
  {
    name: 'all pods of the namespace',
    yaml: knp('red', 'web', 'ingress: [{from: [{podSelector: {}}]}]'),
    expect: ['in red/web: red/*'],
  },
  {
    name: 'all namespaces',
    yaml: knp('red', 'web', 'ingress: [{from: [{namespaceSelector: {}}]}]'),
    expect: ['in red/web: pods'],
  },
  {
    name: 'a namespace by name',
    yaml: knp(
      'red',
      'web',
      'ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: blue}}}]}]',
    ),
    expect: ['in red/web: blue/*'],
  },
  {
    name: 'namespaces by an expression',
    yaml: knp(
      'red',
      'web',
      'ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: In, values: [two]}]}}]}]',
    ),
    expect: ['in red/web: blue/*, green/*'],
  },
  {
    name: 'namespaces that lack a label',
    yaml: knp(
      'red',
      'web',
      'ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: secret, operator: DoesNotExist}]}}]}]',
    ),
    expect: ['in red/web: pods'],
  },
  {
    name: 'namespaces not of a team',
    yaml: knp(
      'red',
      '*',
      'ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: NotIn, values: [two]}]}}]}]',
    ),
    expect: ['in red/*: red/*'],
  },
  {
    name: 'pod and namespace are both',
    yaml: knp('red', 'web', `ingress: [{from: [{namespaceSelector: {matchLabels: {team: two}}, ${app('db')}}]}]`),
    expect: ['in red/web: blue/db, green/db'],
  },
  {
    name: 'pod or namespace are either',
    yaml: knp('red', 'web', `ingress: [{from: [{namespaceSelector: {matchLabels: {colour: blue}}}, {${app('db')}}]}]`),
    expect: ['in red/web: blue/*, red/db'],
  },
  {
    name: 'an expression about pods',
    yaml: knp(
      'red',
      'web',
      'ingress: [{from: [{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}]}}]}]',
    ),
    expect: ['in red/web: red/web, red/api'],
  },
  { name: 'a port is TCP', yaml: knp('red', 'web', `ingress: [{${tcp(8080)}}]`), expect: ['in red/web: * 8080/TCP'] },
  {
    name: 'a port of UDP',
    yaml: knp('red', 'web', 'ingress: [{ports: [{port: 5300, protocol: UDP}]}]'),
    expect: ['in red/web: * 5300/UDP'],
  },
  {
    name: 'a protocol without a port',
    yaml: knp('red', 'web', 'ingress: [{ports: [{protocol: UDP}]}]'),
    expect: ['in red/web: * UDP'],
  },
  { name: 'a port by name', yaml: knp('red', 'web', `ingress: [{${tcp('tls')}}]`), expect: ['in red/web: * 8443/TCP'] },
  {
    name: 'a port by name, out',
    yaml: knp('red', 'web', `policyTypes: [Egress], egress: [{to: [{${app('db')}}], ${tcp('tls')}}]`),
    expect: ['out red/web: red/db 8443/TCP'],
  },
  {
    name: 'a range of ports',
    yaml: knp('red', 'web', 'ingress: [{ports: [{port: 8000, endPort: 8100}]}]'),
    expect: ['in red/web: * 8080/TCP'],
  },
  {
    name: 'peers and ports are both',
    yaml: knp('red', 'web', `ingress: [{from: [{${app('api')}}], ${tcp(8080, 8443)}}]`),
    expect: ['in red/web: red/api 8080/TCP, red/api 8443/TCP'],
  },
  {
    name: 'a block',
    yaml: knp('red', 'web', 'ingress: [{from: [{ipBlock: {cidr: 203.0.113.0/24}}]}]'),
    expect: ['in red/web: outside v4'],
  },
  {
    name: 'a block with an exception',
    yaml: knp(
      'red',
      'web',
      'policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 203.0.113.0/24, except: [203.0.113.8/29]}}]}]',
    ),
    expect: ['out red/web:'],
  },
  {
    name: 'a block of IPv6',
    yaml: knp('red', 'web', 'policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: "2001:db8::/32"}}]}]'),
    expect: ['out red/web: outside v6'],
  },
  {
    name: 'a block has no pods',
    yaml: knp('red', 'web', 'policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]'),
    expect: ['out red/web:'],
  },
  {
    name: 'two policies add up',
    yaml:
      knp('red', 'web', `ingress: [{from: [{${app('api')}}]}]`, 'one') +
      knp('red', 'web', `ingress: [{from: [{${app('db')}}], ${tcp(8080)}}]`, 'two'),
    expect: ['in red/web: red/api, red/db 8080/TCP'],
  },
  {
    name: 'the two dialects add up',
    yaml: knp('red', 'web', `ingress: [{from: [{${app('api')}}]}]`) + cnp('red', 'web', `ingress: [{${from('db')}}]`),
    expect: ['in red/web: red/api, red/db'],
  },
  {
    name: 'a Cilium denial beats a Kubernetes allowance',
    yaml: knp('red', 'web', 'ingress: [{}]') + cnp('red', 'web', `ingressDeny: [{${from('api')}}]`),
    expect: ['in red/web: *', 'never in red/web: red/api'],
  },
];
