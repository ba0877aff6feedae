/** Every row of reference/policy-semantics.md, section 11, and the rows of its section 2: by the rules and by the map entries alike. */
import { describe, expect, test } from 'vitest';
import { config, lookup, object, parsed, podLabels, reservedIdentities } from '../simulations/policy-fixtures.ts';
import type { Change, Identity, VerdictQuestion } from './change.ts';
import { apply, cidrIdentityLabels, emptyPolicyState, enforcement, type PolicyState, prefixes } from './resolver.ts';
import type { Direction, ProtocolName } from './rule.ts';
import { verdictOf } from './verdict.ts';

const SUBJECT = 1;
const pods: Identity[] = [
  { identity: 300, labels: podLabels('x', { app: 's' }) },
  { identity: 301, labels: podLabels('x', { app: 'a' }), namedPorts: [{ name: 'web', protocol: 'TCP', port: 80 }] },
  { identity: 302, labels: podLabels('y', { app: 'b' }), namedPorts: [{ name: 'web', protocol: 'TCP', port: 81 }] },
];
/** The identity of each CIDR that policies name, as the agent gives them. */
const cidrNumbers = new Map<string, number>();
const peers: Record<string, number> = { H: 1, N: 6, W: 9, A: 301, B: 302 };

type Spec = Record<string, unknown>;
type Document = { kind: string; spec: Spec };
const subjectSelector = { endpointSelector: { matchLabels: { app: 's' } } };
const cnp = (spec: Spec): Document => ({ kind: 'CiliumNetworkPolicy', spec: { ...subjectSelector, ...spec } });
const ccnp = (spec: Spec): Document => ({
  kind: 'CiliumClusterwideNetworkPolicy',
  spec: { ...subjectSelector, ...spec },
});
const knp = (spec: Spec): Document => ({
  kind: 'NetworkPolicy',
  spec: { podSelector: { matchLabels: { app: 's' } }, ...spec },
});

function stateWith(documents: readonly Document[], changes: readonly Change[] = []): PolicyState {
  const first = apply(emptyPolicyState(config), [
    ...[...reservedIdentities, ...pods].map((identity): Change => ({ type: 'identity.upserted', identity })),
    {
      type: 'subject.upserted',
      subject: {
        endpointId: SUBJECT,
        identity: 300,
        labels: podLabels('x', { app: 's' }),
        namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }],
        host: false,
      },
    },
    ...changes,
    ...documents.map(({ kind, spec }, i): Change => {
      const namespace = kind === 'CiliumClusterwideNetworkPolicy' ? '' : 'x';
      return { type: 'policy.upserted', policy: parsed(object(kind, `p${i}`, namespace, { spec })) };
    }),
  ]).state;
  cidrNumbers.clear();
  const named = prefixes(first).map((cidr, i): Change => {
    cidrNumbers.set(cidr, 0x0100_0001 + i);
    return { type: 'identity.upserted', identity: { identity: 0x0100_0001 + i, labels: cidrIdentityLabels(cidr) } };
  });
  return apply(first, named).state;
}

/** `A:80`, `B:53/UDP`, `W:8/ICMP`, `10.1.0.0/16:80` (somebody whose longest named prefix that is). */
function answer(state: PolicyState, direction: Direction, text: string): 'y' | 'n' {
  const [, who = '', port = '', protocol = 'TCP'] = /^(.*):(\d+)(?:\/([A-Za-z0-9]+))?$/.exec(text) ?? [];
  const identity = peers[who] ?? cidrNumbers.get(who);
  if (identity === undefined) throw new Error(`${text}: nobody is called ${who}`);
  const question: VerdictQuestion = {
    endpointId: SUBJECT,
    direction,
    identity,
    protocol: protocol as ProtocolName,
    port: Number(port),
  };
  const { verdict } = verdictOf(state, question);
  if (enforcement(state, SUBJECT)[direction]) {
    const found = lookup(state, question);
    const isLocalhost = found === 'none' && direction === 'ingress' && identity === 1;
    expect(isLocalhost || found === 'allowed' ? 'allowed' : 'denied', `map entries for ${text}`).toBe(verdict);
  }
  return verdict === 'allowed' ? 'y' : 'n';
}

const flows = ['A:80', 'A:81', 'B:80', 'W:80', 'H:80'];
const port80 = { toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }] }] };
const http80 = {
  toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ method: 'GET', path: '/x' }] } }],
};
const range = (port: string, endPort?: number) => ({
  toPorts: [{ ports: [{ port, protocol: 'TCP', ...(endPort && { endPort }) }] }],
});
const fromA = { fromEndpoints: [{ matchLabels: { app: 'a' } }] };
const anyPod = { fromEndpoints: [{}] };

const rows: [string, Document[], string, string[]?][] = [
  ['1 none', [], 'yyyyy'],
  ['2 ingress: [{}]', [cnp({ ingress: [{}] })], 'nnnny'],
  ['3 fromEndpoints: [{}]', [cnp({ ingress: [anyPod] })], 'yynny'],
  ['4 CCNP same as 3', [ccnp({ ingress: [anyPod] })], 'yyyny'],
  ['5 toPorts 80/TCP only', [cnp({ ingress: [port80] })], 'ynyyy'],
  ['6 a and 80 in one element', [cnp({ ingress: [{ ...fromA, ...port80 }] })], 'ynnny'],
  ['7 a and 80 in two elements', [cnp({ ingress: [fromA, port80] })], 'yyyyy'],
  ['8 as 3, with ingressDeny 80', [cnp({ ingress: [anyPod], ingressDeny: [port80] })], 'nynnn'],
  ['9 fromCIDR 0.0.0.0/0', [cnp({ ingress: [{ fromCIDR: ['0.0.0.0/0'] }] })], 'nnnyy'],
  ['10 fromEntities: [cluster]', [cnp({ ingress: [{ fromEntities: ['cluster'] }] })], 'yyyny'],
  ['11 deny a, no default deny', [cnp({ ingressDeny: [fromA], enableDefaultDeny: { ingress: false } })], 'nnyyy'],
  ['12 deny a alone', [cnp({ ingressDeny: [fromA] })], 'nnnny'],
  ['13 only egress: [{}]', [cnp({ egress: [{}] })], 'yyyyy'],
  ['14 http for a on 80, and a', [cnp({ ingress: [{ ...fromA, ...http80 }, fromA] })], 'yynny'],
  [
    '15 http for all on 80, no default deny',
    [cnp({ ingress: [http80], enableDefaultDeny: { ingress: false } })],
    'yyyyy',
  ],
  [
    '16 allow 80-90, deny 85',
    [cnp({ ingress: [range('80', 90)], ingressDeny: [range('85')] })],
    'yyyyynn',
    [...flows, 'A:85', 'H:85'],
  ],
  [
    '17 deny 80-90, allow 85 from a',
    [cnp({ ingress: [{ ...fromA, ...range('85') }], ingressDeny: [range('80', 90)] })],
    'nnnnnn',
    [...flows, 'A:85'],
  ],
  [
    '18 10/8 except 10.1/16, and 10.1.2.0/24',
    [
      cnp({
        ingress: [
          { fromCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] },
          { fromCIDRSet: [{ cidr: '10.1.2.0/24' }] },
        ],
      }),
    ],
    'ynynny',
    ['10.1.2.0/24:80', '10.1.0.0/16:80', '10.0.0.0/8:80', 'A:80', 'W:80', 'H:80'],
  ],
  ['19 port 0 of TCP', [cnp({ ingress: [range('0')] })], 'yyyyyynn', [...flows, 'A:9999', 'A:80/UDP', 'A:8/ICMP']],
  ['20 a, L3 only', [cnp({ ingress: [fromA] })], 'yynnyyyy', [...flows, 'A:8/ICMP', 'A:80/UDP', 'A:80/SCTP']],
  ['http only', [cnp({ ingress: [{ ...fromA, ...http80 }] })], 'nnnny'],
  ['ports: []', [cnp({ ingress: [{ toPorts: [{ ports: [] }] }] })], 'nnnny'],
  ['toPorts: []', [cnp({ ingress: [{ ...fromA, toPorts: [] }] })], 'yynny'],
  ['fromEndpoints: []', [cnp({ ingress: [{ fromEndpoints: [], ...port80 }] })], 'nnnny'],
  ['fromEntities: []', [cnp({ ingress: [{ fromEntities: [], ...port80 }] })], 'nnnny'],
  ['fromEntities: [none]', [cnp({ ingress: [{ fromEntities: ['none'] }] })], 'nnnny'],
  ['fromEntities: [all]', [cnp({ ingress: [{ fromEntities: ['all'] }] })], 'yyyyyy', [...flows, 'W:8/ICMP']],
  ['fromEntities: [world]', [cnp({ ingress: [{ fromEntities: ['world'] }] })], 'nnnyy'],
  ['fromEntities: [remote-node]', [cnp({ ingress: [{ fromEntities: ['remote-node'] }] })], 'yn', ['N:80', 'A:80']],
  [
    'deny the host',
    [cnp({ ingressDeny: [{ fromEntities: ['host'] }], enableDefaultDeny: { ingress: false } })],
    'yyyyn',
  ],
  [
    'another namespace',
    [cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'y' } }] }] })],
    'nnyny',
  ],
  [
    'by label of the namespace',
    [cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { 'io.cilium.k8s.namespace.labels.team': 'y' } }] }] })],
    'nnyny',
  ],
  [
    'reserved key',
    [cnp({ ingress: [{ fromEndpoints: [{ matchLabels: { 'reserved:remote-node': '' } }] }] })],
    'ynn',
    ['N:80', 'A:80', 'W:80'],
  ],
  [
    'NotIn',
    [
      ccnp({
        ingress: [{ fromEndpoints: [{ matchExpressions: [{ key: 'app', operator: 'NotIn', values: ['a'] }] }] }],
      }),
    ],
    'nnyny',
  ],
  [
    'default deny of any rule counts',
    [cnp({ ingress: [{}] }), cnp({ ingress: [fromA], enableDefaultDeny: { ingress: false } })],
    'yynny',
  ],
  ['denial of another policy', [cnp({ ingress: [fromA] }), ccnp({ ingressDeny: [port80] })], 'nynnn'],
  [
    'icmps',
    [cnp({ ingress: [{ icmps: [{ fields: [{ type: 'EchoRequest' }] }] }] })],
    'yynn',
    ['A:8/ICMP', 'W:8/ICMP', 'A:0/ICMP', 'A:8/TCP'],
  ],
  [
    'protocol ANY',
    [cnp({ ingress: [{ toPorts: [{ ports: [{ port: '53' }] }] }] })],
    'yyyn',
    ['A:53', 'A:53/UDP', 'W:53/SCTP', 'A:53/ICMP'],
  ],
  [
    'named port is the subject’s',
    [cnp({ ingress: [{ toPorts: [{ ports: [{ port: 'web', protocol: 'TCP' }] }] }] })],
    'nyn',
    ['A:80', 'W:8080', 'A:8080/UDP'],
  ],
  ['unknown named port', [cnp({ ingress: [{ toPorts: [{ ports: [{ port: 'nope' }] }] }] })], 'nnnny'],
  [
    'group',
    [cnp({ ingress: [{ fromCIDRSet: [{ cidrGroupRef: 'g' }] }] })],
    'nnnyn',
    ['A:80', 'B:80', 'N:80', '192.0.2.0/24:80', 'W:80'],
  ],
  ['NetworkPolicy: type Ingress alone', [knp({ policyTypes: ['Ingress'] })], 'nnnny'],
  ['NetworkPolicy: ingress: []', [knp({ ingress: [] })], 'nnnny'],
  ['NetworkPolicy: ingress: [{}]', [knp({ ingress: [{}] })], 'yyyyy'],
  ['NetworkPolicy: from: []', [knp({ ingress: [{ from: [], ports: [{ port: 80 }] }] })], 'ynyyy'],
  ['NetworkPolicy: podSelector: {}', [knp({ ingress: [{ from: [{ podSelector: {} }] }] })], 'yynny'],
  ['NetworkPolicy: namespaceSelector: {}', [knp({ ingress: [{ from: [{ namespaceSelector: {} }] }] })], 'yyyny'],
  [
    'NetworkPolicy: both selectors',
    [
      knp({
        ingress: [
          { from: [{ namespaceSelector: { matchLabels: { team: 'y' } }, podSelector: { matchLabels: { app: 'a' } } }] },
        ],
      }),
    ],
    'nnnny',
  ],
  ['NetworkPolicy: ipBlock', [knp({ ingress: [{ from: [{ ipBlock: { cidr: '0.0.0.0/0' } }] }] })], 'nnnyy'],
  [
    'NetworkPolicy: protocol alone',
    [knp({ ingress: [{ ports: [{ protocol: 'UDP' }] }] })],
    'nyn',
    ['A:80', 'A:80/UDP', 'A:8/ICMP'],
  ],
  ['NetworkPolicy: only egress', [knp({ policyTypes: ['Egress'], egress: [] })], 'yyyyy'],
  [
    'NetworkPolicy: range',
    [knp({ ingress: [{ ports: [{ port: 80, endPort: 90 }] }] })],
    'yyn',
    ['A:80', 'W:90', 'A:91'],
  ],
];

const group: Change = { type: 'cidr-group.upserted', group: { name: 'g', labels: {}, cidrs: ['192.0.2.0/24'] } };

describe('ingress', () => {
  test.each(rows)('%s', (_, documents, expected, asked = flows) => {
    const state = stateWith(documents, [group]);
    expect(asked.map((flow) => answer(state, 'ingress', flow)).join('')).toBe(expected);
  });
});

const service = (name: string, selector: Record<string, string> | undefined, addresses: string[] = []): Change => ({
  type: 'service.upserted',
  service: { namespace: 'y', name, labels: { kind: name }, selector, addresses },
});
const toB = { toEndpoints: [{ matchLabels: { app: 'b', 'k8s:io.kubernetes.pod.namespace': 'y' } }] };

const egressRows: [string, Document[], string, string[]?][] = [
  ['none', [], 'yyyyy'],
  ['egress: [{}]', [cnp({ egress: [{}] })], 'nnnnn'],
  ['the host is not exempt', [cnp({ egress: [{ toEntities: ['host'] }] })], 'nnnny'],
  ['only ingress rules', [cnp({ ingress: [{}] })], 'yyyyy'],
  ['toEndpoints', [cnp({ egress: [{ ...toB, ...port80 }] })], 'nnynn'],
  ['toFQDNs wait for L7', [cnp({ egress: [{ toFQDNs: [{ matchName: 'example.com' }] }] })], 'nnnnn'],
  ['authentication waits', [cnp({ egress: [{ ...toB, authentication: { mode: 'required' } }] })], 'nnnnn'],
  ['authentication disabled', [cnp({ egress: [{ ...toB, authentication: { mode: 'disabled' } }] })], 'nnynn'],
  [
    'named port of each peer',
    [cnp({ egress: [{ toPorts: [{ ports: [{ port: 'web', protocol: 'TCP' }] }] }] })],
    'ynnynn',
    ['A:80', 'A:81', 'B:80', 'B:81', 'W:80', 'H:80'],
  ],
  [
    'toServices by name',
    [cnp({ egress: [{ toServices: [{ k8sService: { serviceName: 's', namespace: 'y' } }] }] })],
    'nnynn',
  ],
  [
    'toServices by labels',
    [cnp({ egress: [{ toServices: [{ k8sServiceSelector: { selector: { matchLabels: { kind: 's' } } } }] }] })],
    'nnynn',
  ],
  [
    'toServices without selector',
    [cnp({ egress: [{ toServices: [{ k8sService: { serviceName: 'ext', namespace: 'y' } }] }] })],
    'nny',
    ['A:80', 'W:80', '203.0.113.7/32:80'],
  ],
  [
    'toServices nobody knows',
    [cnp({ egress: [{ toServices: [{ k8sService: { serviceName: 'no' } }], ...port80 }] })],
    'nnnnn',
  ],
  ['egressDeny beats', [cnp({ egress: [{ toEntities: ['all'] }], egressDeny: [toB] })], 'yynyy'],
  [
    'except of a denial exempts',
    [
      cnp({
        egress: [{ toEntities: ['all'] }],
        egressDeny: [{ toCIDRSet: [{ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }] }],
      }),
    ],
    'nyy',
    ['10.0.0.0/8:80', '10.1.0.0/16:80', 'A:80'],
  ],
  ['NetworkPolicy: egress present', [knp({ egress: [{ to: [{ podSelector: {} }] }] })], 'yynnn'],
];

describe('egress', () => {
  test.each(egressRows)('%s', (_, documents, expected, asked = flows) => {
    const state = stateWith(documents, [service('s', { app: 'b' }), service('ext', undefined, ['203.0.113.7'])]);
    expect(asked.map((flow) => answer(state, 'egress', flow)).join('')).toBe(expected);
  });
});

describe('modes', () => {
  const only = (mode: 'always' | 'never', documents: Document[]) =>
    apply(stateWith(documents), [{ type: 'config.changed', config: { ...config, enforcement: mode } }]).state;

  test('always denies without rules, and never allows with them', () => {
    expect(enforcement(only('always', []), SUBJECT)).toEqual({ ingress: true, egress: true });
    expect(answer(only('always', []), 'egress', 'A:80')).toBe('n');
    expect(enforcement(only('never', [cnp({ ingress: [{}] })]), SUBJECT)).toEqual({ ingress: false, egress: false });
  });

  test('always keeps denying where a rule does not want to', () => {
    const state = only('always', [cnp({ ingressDeny: [fromA], enableDefaultDeny: { ingress: false } })]);
    expect(answer(state, 'ingress', 'B:80')).toBe('n');
  });

  test('without labels an endpoint is closed, and rules for reserved:init open it', () => {
    const init: Change = {
      type: 'subject.upserted',
      subject: { endpointId: SUBJECT, identity: 5, labels: { 'reserved:init': '' }, namedPorts: [], host: false },
    };
    const closed = apply(stateWith([]), [init]).state;
    expect(answer(closed, 'egress', 'A:80')).toBe('n');
    const rule = { ...ccnp({ egress: [{ toEntities: ['all'] }] }) };
    rule.spec = { ...rule.spec, endpointSelector: { matchLabels: { 'reserved:init': '' } } };
    expect(answer(apply(stateWith([rule]), [init]).state, 'egress', 'A:80')).toBe('y');
  });

  test('audit lets denials through and says so', () => {
    const state = apply(stateWith([cnp({ ingress: [{}] })]), [
      { type: 'config.changed', config: { ...config, audit: true } },
    ]).state;
    const question = { endpointId: SUBJECT, direction: 'ingress', identity: 301, protocol: 'TCP', port: 80 } as const;
    expect(verdictOf(state, question)).toMatchObject({ verdict: 'allowed', audited: true, enforced: true });
  });

  test('nodeSelector is about hosts alone, and hosts about nothing else', () => {
    const host: Change = {
      type: 'subject.upserted',
      subject: {
        endpointId: SUBJECT,
        identity: 1,
        labels: { 'reserved:host': '', 'k8s:role': 'edge' },
        namedPorts: [],
        host: true,
      },
    };
    const spec = { nodeSelector: { matchLabels: { role: 'edge' } }, ingress: [fromA] };
    const nodes: Document = { kind: 'CiliumClusterwideNetworkPolicy', spec };
    const all: Document = { kind: 'CiliumClusterwideNetworkPolicy', spec: { endpointSelector: {}, ingress: [{}] } };
    expect(enforcement(apply(stateWith([all]), [host]).state, SUBJECT)).toEqual({ ingress: false, egress: false });
    const state = apply(stateWith([nodes]), [host]).state;
    expect(enforcement(state, SUBJECT)).toEqual({ ingress: true, egress: false });
    expect(['A:80', 'W:80'].map((flow) => answer(state, 'ingress', flow)).join('')).toBe('yn');
    expect(enforcement(stateWith([nodes]), SUBJECT)).toEqual({ ingress: false, egress: false });
  });
});
