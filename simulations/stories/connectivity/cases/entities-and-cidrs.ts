/** Peers that are no pods: entities, networks, groups of networks, services, nodes. */
import { type Case, cnp, group, on } from './expectation.ts';

const service = (name: string, spec: string, labels = '{}'): string => `
apiVersion: v1
kind: Service
metadata: {namespace: blue, name: ${name}, labels: ${labels}}
spec: {${spec}, ports: [{name: http, port: 80, targetPort: 8080}]}
---`;
const slice = (name: string, address: string, type = 'IPv4'): string => `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {namespace: blue, name: ${name}-1, labels: {kubernetes.io/service-name: ${name}}}
addressType: ${type}
endpoints: [{addresses: ["${address}"], conditions: {ready: true}}]
ports: [{name: http, port: 8080, protocol: TCP}]
---`;
const toService = (name: string, namespace = ''): string =>
  `toServices: [{k8sService: {serviceName: ${name}${namespace ? `, namespace: ${namespace}` : ''}}}]`;

export const entitiesAndCidrs: readonly Case[] = [
  { name: 'from all', yaml: cnp('red', 'web', 'ingress: [{fromEntities: [all]}]'), expect: ['in red/web: *'] },
  { name: 'from nobody', yaml: cnp('red', 'web', 'ingress: [{fromEntities: []}]'), expect: ['in red/web:'] },
  {
    name: 'from the world',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [world]}]'),
    expect: ['in red/web: outside'],
  },
  {
    name: 'from the world on a port',
    yaml: cnp('red', 'web', `ingress: [{fromEntities: [world], ${on('8080/TCP')}}]`),
    expect: ['in red/web: outside 8080/TCP'],
  },
  {
    name: 'from the cluster',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [cluster]}]'),
    expect: ['in red/web: pods, host'],
  },
  { name: 'from the node', yaml: cnp('red', 'web', 'ingress: [{fromEntities: [host]}]'), expect: ['in red/web: host'] },
  {
    name: 'from other nodes',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [remote-node]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'from entities without a pod',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [health, init, ingress, unmanaged, kube-apiserver]}]'),
    expect: ['in red/web:'],
  },
  {
    name: 'several entities',
    yaml: cnp('red', 'web', 'ingress: [{fromEntities: [world, host]}]'),
    expect: ['in red/web: outside, host'],
  },
  {
    name: 'a reserved label is an entity',
    yaml: cnp('red', 'web', 'egress: [{toEndpoints: [{matchLabels: {"reserved:host": ""}}]}]'),
    expect: ['out red/web: host'],
  },
  {
    name: 'all of IPv4',
    yaml: cnp('red', 'web', 'ingress: [{fromCIDR: ["0.0.0.0/0"]}]'),
    expect: ['in red/web: outside v4'],
  },
  {
    name: 'all of both families',
    yaml: cnp('red', 'web', 'ingress: [{fromCIDR: ["0.0.0.0/0", "::/0"]}]'),
    expect: ['in red/web: outside'],
  },
  {
    name: 'a network, in',
    yaml: cnp('red', 'web', 'ingress: [{fromCIDR: ["203.0.113.0/24"]}]'),
    expect: ['in red/web: outside v4'],
  },
  {
    name: 'an address, in',
    yaml: cnp('red', 'web', 'ingress: [{fromCIDR: ["2001:db8:113::10/128"]}]'),
    expect: ['in red/web: outside v6'],
  },
  {
    name: 'a network, out, on a port',
    yaml: cnp('red', 'web', `egress: [{toCIDR: ["203.0.113.0/24"], ${on('8080/TCP')}}]`),
    expect: ['out red/web: outside v4 8080/TCP'],
  },
  {
    name: 'another network',
    yaml: cnp('red', 'web', 'egress: [{toCIDR: ["198.51.100.0/24"]}]'),
    expect: ['out red/web:'],
  },
  {
    name: 'a pod is in no network',
    yaml: cnp('red', 'web', 'egress: [{toCIDR: ["10.0.0.0/8", "fd00::/8"]}]'),
    expect: ['out red/web:'],
  },
  {
    name: 'an exception',
    yaml: cnp('red', 'web', 'egress: [{toCIDRSet: [{cidr: "203.0.113.0/24", except: ["203.0.113.8/29"]}]}]'),
    expect: ['out red/web:'],
  },
  {
    name: 'an exception that does not concern us',
    yaml: cnp('red', 'web', 'egress: [{toCIDRSet: [{cidr: "203.0.113.0/24", except: ["203.0.113.128/25"]}]}]'),
    expect: ['out red/web: outside v4'],
  },
  {
    name: 'an exception is no denial',
    yaml: cnp(
      'red',
      'web',
      'egress: [{toCIDRSet: [{cidr: "203.0.113.0/24", except: ["203.0.113.8/29"]}]}, {toCIDR: ["203.0.113.10/32"]}]',
    ),
    expect: ['out red/web: outside v4'],
  },
  { name: 'no networks at all', yaml: cnp('red', 'web', 'egress: [{toCIDRSet: []}]'), expect: ['out red/web:'] },
  {
    name: 'a wide network next to a narrow one',
    yaml: cnp(
      'red',
      'web',
      `egress: [{toCIDR: ["203.0.0.0/8"], ${on('8080/TCP')}}, {toCIDR: ["203.0.113.10/32"], ${on('8443/TCP')}}]`,
    ),
    expect: ['out red/web: outside v4 8080/TCP, outside v4 8443/TCP'],
  },
  {
    name: 'a group of networks',
    yaml:
      group('partners', ['203.0.113.0/24', '2001:db8:113::/64']) +
      cnp('red', 'web', 'egress: [{toCIDRSet: [{cidrGroupRef: partners}]}]'),
    expect: ['out red/web: outside'],
  },
  {
    name: 'a group of networks with an exception',
    yaml:
      group('partners', ['203.0.113.0/24', '2001:db8:113::/64']) +
      cnp('red', 'web', 'egress: [{toCIDRSet: [{cidrGroupRef: partners, except: ["203.0.113.10/32"]}]}]'),
    expect: ['out red/web: outside v6'],
  },
  {
    name: 'a group that is not there',
    yaml: cnp('red', 'web', 'egress: [{toCIDRSet: [{cidrGroupRef: strangers}]}]'),
    expect: ['out red/web:'],
  },
  {
    name: 'groups by their labels',
    yaml:
      group('one', ['203.0.113.0/24'], '{role: partner}') +
      group('two', ['2001:db8:113::/64'], '{role: other}') +
      cnp('red', 'web', 'ingress: [{fromCIDRSet: [{cidrGroupSelector: {matchLabels: {role: partner}}}]}]'),
    expect: ['in red/web: outside v4'],
  },
  {
    name: 'a service is its pods',
    yaml: service('store', 'selector: {app: db}') + cnp('red', 'web', `egress: [{${toService('store', 'blue')}}]`),
    expect: ['out red/web: blue/db'],
  },
  {
    name: 'a service, on the port of its pods',
    yaml:
      service('store', 'selector: {app: db}') +
      cnp('red', 'web', `egress: [{${toService('store', 'blue')}, ${on('8080/TCP')}}]`),
    expect: ['out red/web: blue/db 8080/TCP'],
  },
  {
    name: 'a service of another namespace',
    yaml: service('store', 'selector: {app: db}') + cnp('red', 'web', `egress: [{${toService('store', 'green')}}]`),
    expect: ['out red/web:'],
  },
  {
    name: 'a service of any namespace',
    yaml: service('store', 'selector: {app: db}') + cnp('red', 'web', `egress: [{${toService('store')}}]`),
    expect: ['out red/web: blue/db'],
  },
  {
    name: 'services by their labels',
    yaml:
      service('store', 'selector: {app: db}', '{kind: data}') +
      cnp(
        'red',
        'web',
        'egress: [{toServices: [{k8sServiceSelector: {selector: {matchLabels: {kind: data}}, namespace: blue}}]}]',
      ),
    expect: ['out red/web: blue/db'],
  },
  {
    name: 'a service that is not there',
    yaml: cnp('red', 'web', `egress: [{${toService('ghost', 'blue')}, ${on('8080/TCP')}}]`),
    expect: ['out red/web:'],
  },
  {
    name: 'a service without a selector is its addresses',
    yaml:
      service('far', 'clusterIP: None') +
      slice('far', '203.0.113.10') +
      cnp('red', 'web', `egress: [{${toService('far', 'blue')}}]`),
    expect: ['out red/web: outside v4'],
  },
  {
    name: 'to other nodes by their labels',
    yaml: cnp('red', 'web', 'egress: [{toNodes: [{}]}]'),
    expect: ['out red/web:'],
  },
];
