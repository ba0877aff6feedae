/** What policy objects are read as, and what is told of those that are wrong. */
import { describe, expect, test } from 'vitest';
import { object } from '../simulations/policy-fixtures.ts';
import { parseCidrGroup, parsePolicy } from './parse.ts';
import { problemText } from './rule.ts';

const cnp = (spec: unknown) => parsePolicy(object('CiliumNetworkPolicy', 'p', 'x', { spec }));
const withIngress = (element: unknown) => cnp({ endpointSelector: {}, ingress: [element] });
const withEgress = (element: unknown) => cnp({ endpointSelector: {}, egress: [element] });
const withPort = (port: unknown) => withIngress({ toPorts: [{ ports: [port] }] });
const knp = (spec: unknown) => parsePolicy(object('NetworkPolicy', 'p', 'x', { spec }));
const many = (count: number, member: unknown) => Array.from({ length: count }, () => member);
const tcp80 = [{ port: '80', protocol: 'TCP' }];

type Parsed = ReturnType<typeof parsePolicy>;
const bad: [string, Parsed, string][] = [
  ['no spec', parsePolicy(object('CiliumNetworkPolicy', 'p', 'x', {})), 'spec: missing: must have spec or specs'],
  ['spec a list', cnp([]), 'spec: []: must be an object'],
  ['no subject', cnp({ ingress: [{}] }), 'spec: []: must have exactly one of endpointSelector, nodeSelector'],
  ['no rules', cnp({ endpointSelector: {}, ingress: [] }), 'no rule section'],
  [
    'nodeSelector in a namespace',
    cnp({ nodeSelector: {}, ingress: [{}] }),
    'spec.nodeSelector: {}: only a CiliumClusterwideNetworkPolicy',
  ],
  [
    'unknown field of a rule',
    cnp({ endpointSelector: {}, ingres: [{}], egress: [{}] }),
    'spec.ingres: [{}]: unknown field',
  ],
  [
    'unknown field of an element',
    withIngress({ fromEndpoint: [{}] }),
    'spec.ingress[0].fromEndpoint: [{}]: unknown field',
  ],
  ['a list that is none', withIngress({ fromEndpoints: {} }), 'spec.ingress[0].fromEndpoints: {}: must be a list'],
  [
    'two kinds of peer',
    withIngress({ fromEndpoints: [{}], fromCIDR: ['10.0.0.0/8'] }),
    'only one of these may be in an element',
  ],
  ['requires', withIngress({ fromRequires: [{}] }), 'was removed in Cilium 1.19'],
  [
    'an operator',
    withIngress({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'Like' }] }] }),
    'fromEndpoints[0].matchExpressions[0].operator: "Like": must be one of In, NotIn',
  ],
  [
    'In without values',
    withIngress({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'In' }] }] }),
    'In needs a value',
  ],
  [
    'Exists with values',
    withIngress({ fromEndpoints: [{ matchExpressions: [{ key: 'a', operator: 'Exists', values: ['b'] }] }] }),
    'Exists takes no values',
  ],
  [
    'a label value',
    withIngress({ fromEndpoints: [{ matchLabels: { a: 'b c' } }] }),
    'matchLabels.a: "b c": must be a label value',
  ],
  ['a label key', withIngress({ fromEndpoints: [{ matchLabels: { 'a b': 'c' } }] }), 'must be a label key'],
  [
    'a label source',
    withIngress({ fromEndpoints: [{ matchLabels: { 'k9s:a': 'c' } }] }),
    'the part before ":" must be a label source',
  ],
  [
    'an entity',
    withIngress({ fromEntities: ['wrold'] }),
    'spec.ingress[0].fromEntities[0]: "wrold": must be one of all, world',
  ],
  [
    'a CIDR',
    withIngress({ fromCIDR: ['10.0.0.0/33'] }),
    'spec.ingress[0].fromCIDR[0]: "10.0.0.0/33": must be an address or a prefix',
  ],
  ['a CIDR with a zero too many', withIngress({ fromCIDR: ['010.0.0.0/8'] }), 'must be an address or a prefix'],
  [
    'an except outside',
    withIngress({ fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['11.0.0.0/16'] }] }),
    'except[0]: "11.0.0.0/16": must lie inside 10.0.0.0/8',
  ],
  [
    'an except of the other family',
    withIngress({ fromCIDRSet: [{ cidr: '::/0', except: ['11.0.0.0/16'] }] }),
    'must lie inside ::/0',
  ],
  [
    'a CIDR and a group',
    withIngress({ fromCIDRSet: [{ cidr: '10.0.0.0/8', cidrGroupRef: 'g' }] }),
    'must have exactly one of cidr, cidrGroupRef',
  ],
  [
    'groups of a cloud',
    withIngress({ fromGroups: [{ aws: { securityGroupsIds: ['sg-1'] } }] }),
    'spec.ingress[0].fromGroups[0]: {"aws":{"securityGroupsIds":["sg-1"]}}: groups of a cloud are not resolved here',
  ],
  ['a port number', withPort({ port: '65536' }), 'ports[0].port: "65536": must be at most 65535'],
  ['a port that is a number', withPort({ port: 80 }), 'ports[0].port: 80: must be a text'],
  ['a port name', withPort({ port: 'a_b' }), 'ports[0].port: "a_b": must be "0" to "65535", or a name'],
  ['no port', withPort({ protocol: 'TCP' }), 'ports[0].port: missing: must be "0"'],
  ['a protocol', withPort({ port: '80', protocol: 'HTTP' }), 'ports[0].protocol: "HTTP": must be one of'],
  ['ICMP as a protocol', withPort({ port: '8', protocol: 'ICMP' }), 'icmps'],
  ['an endPort', withPort({ port: '80', endPort: 70_000 }), 'endPort: 70000: must be a whole number'],
  [
    '41 ports',
    withIngress({ toPorts: [{ ports: many(41, { port: '80' }) }] }),
    'toPorts[0].ports: 41: must have at most 40 members',
  ],
  [
    'ports and icmps',
    withIngress({ toPorts: [{ ports: tcp80 }], icmps: [{ fields: [{ type: 8 }] }] }),
    'only one of these may be',
  ],
  [
    'an ICMP type',
    withIngress({ icmps: [{ fields: [{ type: 256 }] }] }),
    'icmps[0].fields[0].type: 256: must be a number from 0 to 255',
  ],
  [
    'an ICMP name of the other family',
    withIngress({ icmps: [{ fields: [{ type: 'PacketTooBig' }] }] }),
    'a name of ICMP',
  ],
  [
    'L7 rules in a denial',
    cnp({ endpointSelector: {}, ingressDeny: [{ toPorts: [{ ports: tcp80, rules: { http: [{}] } }] }] }),
    'toPorts[0].rules: {"http":[{}]}: unknown field',
  ],
  ['toFQDNs in a denial', cnp({ endpointSelector: {}, egressDeny: [{ toFQDNs: [{ matchName: 'a.b' }] }] }), 'toFQDNs'],
  [
    'a regex',
    withIngress({ toPorts: [{ ports: tcp80, rules: { http: [{ path: '/(' }] } }] }),
    'rules.http[0].path: "/(": must be a regular expression',
  ],
  [
    'look-ahead',
    withIngress({ toPorts: [{ ports: tcp80, rules: { http: [{ path: '/(?=a)' }] } }] }),
    'must be an RE2 expression',
  ],
  [
    'http on UDP',
    withIngress({ toPorts: [{ ports: [{ port: '80', protocol: 'UDP' }], rules: { http: [{}] } }] }),
    'http needs protocol TCP',
  ],
  [
    'http on all ports',
    withIngress({ toPorts: [{ ports: [{ port: '0', protocol: 'TCP' }], rules: { http: [{}] } }] }),
    'cannot go with port "0"',
  ],
  [
    'http and dns',
    withEgress({ toPorts: [{ ports: tcp80, rules: { http: [{}], dns: [{ matchName: 'a.b' }] } }] }),
    'must have at most one of http, kafka, dns',
  ],
  [
    'dns for ingress',
    withIngress({ toPorts: [{ ports: [{ port: '53' }], rules: { dns: [{ matchPattern: '*' }] } }] }),
    'only egress rules can have dns',
  ],
  [
    'a domain name',
    withEgress({ toFQDNs: [{ matchName: 'a b' }] }),
    'toFQDNs[0].matchName: "a b": must be a domain name',
  ],
  [
    'name and pattern',
    withEgress({ toFQDNs: [{ matchName: 'a', matchPattern: '*' }] }),
    'must have exactly one of matchName, matchPattern',
  ],
  [
    'an authentication mode',
    withIngress({ fromEndpoints: [{}], authentication: { mode: 'maybe' } }),
    'authentication.mode: "maybe"',
  ],
  ['a log text', cnp({ endpointSelector: {}, ingress: [{}], log: { value: 'x'.repeat(33) } }), 'spec.log.value'],
  [
    'a default deny',
    cnp({ endpointSelector: {}, ingress: [{}], enableDefaultDeny: { ingress: 'no' } }),
    'enableDefaultDeny.ingress: "no": must be true or false',
  ],
  [
    'a listener for ingress',
    withIngress({ toPorts: [{ ports: tcp80, listener: { name: 'l', envoyConfig: { name: 'e' } } }] }),
    'only egress rules can have a listener',
  ],
  ['NetworkPolicy: a type', knp({ policyTypes: ['Both'] }), 'spec.policyTypes[0]: "Both": must be Ingress or Egress'],
  ['NetworkPolicy: a peer', knp({ ingress: [{ from: [{}] }] }), 'spec.ingress[0].from[0]: {}: must have podSelector'],
  [
    'NetworkPolicy: two peers in one',
    knp({ ingress: [{ from: [{ podSelector: {}, ipBlock: { cidr: '10.0.0.0/8' } }] }] }),
    'ipBlock cannot go with another peer',
  ],
  [
    'NetworkPolicy: an endPort alone',
    knp({ ingress: [{ ports: [{ endPort: 90 }] }] }),
    'needs a port that is a number',
  ],
  [
    'NetworkPolicy: a range backwards',
    knp({ ingress: [{ ports: [{ port: 80, endPort: 79 }] }] }),
    'must be a whole number from 80',
  ],
  [
    'NetworkPolicy: a port',
    knp({ ingress: [{ ports: [{ port: 0 }] }] }),
    'ports[0].port: 0: must be a whole number from 1',
  ],
  ['another kind', parsePolicy(object('Pod', 'p', 'x', {})), 'kind: "Pod": must be NetworkPolicy'],
];

describe('an object that is wrong is no policy', () => {
  test.each(bad)('%s', (_, { policy, problems }, expected) => {
    expect(policy).toBeUndefined();
    expect(problems.map(problemText).join('\n')).toContain(expected);
  });

  test('all that is wrong is told at once, wherever it is', () => {
    const specs = [
      { endpointSelector: {}, ingress: [{ fromCIDR: ['x', 'y'] }] },
      { endpointSelector: {}, egress: [{ toEntities: ['z'] }] },
    ];
    const { problems } = parsePolicy(object('CiliumNetworkPolicy', 'p', 'x', { specs }));
    expect(problems.map(({ path }) => path)).toEqual([
      'specs[0].ingress[0].fromCIDR[0]',
      'specs[0].ingress[0].fromCIDR[1]',
      'specs[1].egress[0].toEntities[0]',
    ]);
  });

  test('any JSON at all is answered with problems, not thrown at', () => {
    for (const spec of [
      null,
      1,
      'x',
      [],
      { endpointSelector: 1 },
      { endpointSelector: {}, ingress: [null, 1, [], { toPorts: [1], fromCIDRSet: [1] }] },
    ]) {
      expect(cnp(spec).problems).not.toEqual([]);
      if (spec !== null && typeof spec === 'object')
        expect(knp({ ...spec, ingress: [1, null] }).problems).not.toEqual([]);
    }
  });
});

describe('what needs L7', () => {
  const http = { ports: tcp80, rules: { http: [{ method: 'GET', path: '/health' }] } };

  test('is marked, and set apart from what does not', () => {
    const { policy, needsL7 } = withIngress({ fromEndpoints: [{}], toPorts: [{ ports: [{ port: '81' }] }, http] });
    expect(needsL7).toEqual(['http']);
    const elements = policy?.rules[0]?.ingress?.elements ?? [];
    expect(elements.map(({ at, needsL7: needs }) => [at, needs])).toEqual([
      ['spec.ingress[0]', []],
      ['spec.ingress[0].toPorts[1]', ['http']],
    ]);
  });

  test.each([
    [
      'dns',
      { toPorts: [{ ports: [{ port: '53', protocol: 'ANY' }], rules: { dns: [{ matchPattern: '*' }] } }] },
      ['dns'],
    ],
    ['fqdn', { toFQDNs: [{ matchPattern: '*.example.com' }] }, ['toFQDNs']],
    ['kafka', { toPorts: [{ ports: tcp80, rules: { kafka: [{ role: 'produce', topic: 't' }] } }] }, ['kafka']],
    ['server names', { toPorts: [{ ports: tcp80, serverNames: ['a.b'] }] }, ['serverNames']],
    ['authentication', { toEndpoints: [{}], authentication: { mode: 'required' } }, ['authentication']],
    ['a listener', { toPorts: [{ ports: tcp80, listener: { name: 'l', envoyConfig: { name: 'e' } } }] }, ['listener']],
    ['TLS', { toPorts: [{ ...http, terminatingTLS: { secret: { name: 's' } } }] }, ['http', 'terminatingTLS']],
    ['an empty list of http rules', { toPorts: [{ ports: tcp80, rules: { http: [] } }] }, []],
  ])('%s', (_, element, expected) => {
    const { problems, needsL7 } = withEgress(element);
    expect(problems).toEqual([]);
    expect(needsL7).toEqual(expected);
  });
});

test('a namespace that is not the policy’s own is told as not meant', () => {
  const selector = { matchLabels: { app: 'a', 'k8s:io.kubernetes.pod.namespace': 'y' } };
  const { policy, warnings } = cnp({ endpointSelector: selector, ingress: [{}] });
  expect(warnings.map(({ path }) => path)).toEqual(['spec.endpointSelector']);
  expect(policy?.rules[0]).toMatchObject({ namespace: 'x', subject: { requirements: [{ key: 'app' }] } });
});

test('CIDRs lose their host bits, addresses become prefixes', () => {
  const { policy } = withIngress({ fromCIDR: ['10.1.2.3/8', '192.0.2.1', 'FD00:0::1/64', '::1'] });
  const peers = policy?.rules[0]?.ingress?.elements[0]?.peers ?? [];
  expect(peers.map((peer) => peer.kind === 'cidr' && peer.cidr)).toEqual([
    '10.0.0.0/8',
    '192.0.2.1/32',
    'fd00::/64',
    '::1/128',
  ]);
});

test('a policy of 40 ports and 1,000 CIDRs is read', () => {
  const ports = Array.from({ length: 40 }, (_, i) => ({ port: String(1000 + i), protocol: 'TCP' }));
  const cidrs = Array.from({ length: 1000 }, (_, i) => `10.${i >> 8}.${i & 255}.0/24`);
  const { policy } = withIngress({ fromCIDR: cidrs, toPorts: [{ ports }] });
  expect(policy?.rules[0]?.ingress?.elements[0]).toMatchObject({ peers: { length: 1000 }, ports: { length: 40 } });
});

describe('CiliumCIDRGroup', () => {
  const parse = (spec: unknown) => parseCidrGroup(object('CiliumCIDRGroup', 'g', '', { spec }));

  test('is a sorted set of prefixes', () => {
    expect(parse({ externalCIDRs: ['10.2.3.4/16', '10.1.0.0/16', '10.2.0.0/16'] }).group?.cidrs).toEqual([
      '10.1.0.0/16',
      '10.2.0.0/16',
    ]);
  });

  test('with a wrong prefix is none', () => {
    const { group, problems } = parse({ externalCIDRs: ['10.0.0.0/8', 'x'] });
    expect(group).toBeUndefined();
    expect(problems.map(problemText).join()).toContain('spec.externalCIDRs[1]: "x"');
  });
});
