/** Rules that only a proxy or a DNS answer could fulfil: until there is one they let nothing through, and close what they select. */
import { type Case, cnp, from, on, to } from './expectation.ts';

const http =
  'toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /health}, {method: POST, path: /orders}]}}]';

export const layer7: readonly Case[] = [
  { name: 'HTTP', yaml: cnp('red', 'web', `ingress: [{${from('api')}, ${http}}]`), expect: ['in red/web:'] },
  {
    name: 'HTTP next to another port',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}, ${http}}, {${on('8443/TCP')}}]`),
    expect: ['in red/web: * 8443/TCP'],
  },
  {
    name: 'HTTP next to the same peer without it',
    yaml: cnp('red', 'web', `ingress: [{${http}}, {${from('api')}}]`),
    expect: ['in red/web: red/api'],
  },
  {
    name: 'HTTP next to the same port without it',
    yaml: cnp('red', 'web', `ingress: [{${http}}, {${from('db')}, ${on('8080/TCP')}}]`),
    expect: ['in red/web: red/db 8080/TCP'],
  },
  {
    name: 'HTTP without default deny',
    yaml: cnp('red', 'web', `enableDefaultDeny: {ingress: false}, ingress: [{${http}}]`),
    expect: [],
  },
  {
    name: 'DNS and a name',
    yaml: cnp(
      'red',
      'web',
      `egress: [{${to('db')}, toPorts: [{ports: [{port: "5300", protocol: ANY}], rules: {dns: [{matchPattern: "*"}]}}]}, {toFQDNs: [{matchName: example.com}], ${on('8080/TCP')}}]`,
    ),
    expect: ['out red/web:'],
  },
  {
    name: 'a name next to a network',
    yaml: cnp('red', 'web', 'egress: [{toFQDNs: [{matchPattern: "*.example.com"}]}, {toCIDR: ["203.0.113.10/32"]}]'),
    expect: ['out red/web: outside v4'],
  },
  {
    name: 'a server name of TLS',
    yaml: cnp(
      'red',
      'web',
      'egress: [{toPorts: [{ports: [{port: "8443", protocol: TCP}], serverNames: [example.com]}]}]',
    ),
    expect: ['out red/web:'],
  },
  {
    name: 'authentication',
    yaml: cnp(
      'red',
      'web',
      `ingress: [{${from('api')}, authentication: {mode: required}}, {${from('db')}, authentication: {mode: disabled}}]`,
    ),
    expect: ['in red/web: red/db'],
  },
];
