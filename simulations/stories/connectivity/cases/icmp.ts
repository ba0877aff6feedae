/** ICMP: by type and family, and what rules about ports or peers say of it. `expect` is who may ping red/web, over what. */
import { cnp, from, knp, on } from './expectation.ts';

export interface PingCase {
  name: string;
  yaml: string;
  /** `red/api IPv4` and so on. */
  expect: readonly string[];
}

export const pingers = ['red/api', 'red/db', 'blue/web'] as const;
const everybody = pingers.flatMap((pod) => [`${pod} IPv4`, `${pod} IPv6`]);

export const pingCases: readonly PingCase[] = [
  {
    name: 'a type, of IPv4 unless it says otherwise',
    yaml: cnp('red', 'web', `ingress: [{${from('api')}, icmps: [{fields: [{type: 8}]}]}]`),
    expect: ['red/api IPv4'],
  },
  {
    name: 'a type of IPv6, by name, from anybody',
    yaml: cnp('red', 'web', 'ingress: [{icmps: [{fields: [{family: IPv6, type: EchoRequest}]}]}]'),
    expect: pingers.map((pod) => `${pod} IPv6`),
  },
  {
    name: 'another type',
    yaml: cnp('red', 'web', 'ingress: [{icmps: [{fields: [{type: 13}, {family: IPv6, type: 129}]}]}]'),
    expect: [],
  },
  {
    name: 'ports are no ICMP',
    yaml: cnp('red', 'web', `ingress: [{fromEntities: [all], ${on('0/ANY')}}]`),
    expect: [],
  },
  {
    name: 'peers without ports may ping',
    yaml: cnp('red', 'web', `ingress: [{${from('db')}}]`),
    expect: ['red/db IPv4', 'red/db IPv6'],
  },
  {
    name: 'a denied type',
    yaml: cnp(
      'red',
      'web',
      'enableDefaultDeny: {ingress: false}, ingressDeny: [{icmps: [{fields: [{type: EchoRequest}]}]}]',
    ),
    expect: pingers.map((pod) => `${pod} IPv6`),
  },
  {
    name: 'a type on the way out',
    yaml: cnp('red', 'db', 'egress: [{toEndpoints: [{}], icmps: [{fields: [{type: 8}]}]}]'),
    expect: everybody.filter((one) => one !== 'red/db IPv6'),
  },
  {
    name: 'Kubernetes: a rule without ports lets pings in',
    yaml: knp('red', 'web', 'ingress: [{from: [{namespaceSelector: {matchLabels: {team: two}}}]}]'),
    expect: ['blue/web IPv4', 'blue/web IPv6'],
  },
];
