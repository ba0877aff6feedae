/** Random policies: every member of every rule, valid ones. */
import * as fc from 'fast-check';
import type { KubeObject } from '../../cluster/events.ts';
import { addresses } from './places.ts';

type Json = Record<string, unknown>;

const pick = fc.constantFrom;
const few = <T>(value: fc.Arbitrary<T>, min = 0, max = 2): fc.Arbitrary<T[]> =>
  fc.array(value, { minLength: min, maxLength: max });
/** Any of these keys, or none. */
const some = (fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Json> =>
  fc.record(fields, { requiredKeys: [] });
const labelled = (key: string, ...values: string[]): fc.Arbitrary<Json> =>
  pick(...values).map((value) => ({ matchLabels: { [key]: value } }));

function expressions(keys: readonly string[], values: readonly string[]): fc.Arbitrary<Json> {
  return fc
    .record({
      key: pick(...keys),
      operator: pick('In', 'NotIn', 'Exists', 'DoesNotExist'),
      values: fc.subarray([...values], { minLength: 1 }),
    })
    .map(({ key, operator, values: list }) => ({
      matchExpressions: [{ key, operator, ...(operator.endsWith('In') && { values: list }) }],
    }));
}

const NAMESPACE = 'io.kubernetes.pod.namespace';
const plain = fc.oneof(
  fc.constant<Json>({}),
  labelled('app', 'a', 'b', 'c'),
  labelled('k8s:app', 'a', 'b'),
  labelled('any:tier', 'x', 'y'),
  expressions(['app', 'tier', 'k8s:tier'], ['a', 'b', 'x']),
);
const scoped = fc.oneof(
  { weight: 4, arbitrary: plain },
  { weight: 1, arbitrary: labelled(`k8s:${NAMESPACE}`, 'x', 'y') },
  { weight: 1, arbitrary: labelled(NAMESPACE, 'x', 'y') },
  { weight: 1, arbitrary: expressions([`k8s:${NAMESPACE}`], ['x', 'y']) },
  { weight: 1, arbitrary: labelled('k8s:io.cilium.k8s.namespace.labels.team', 'one', 'two') },
  { weight: 1, arbitrary: labelled('k8s:io.cilium.k8s.policy.cluster', 'default', 'other') },
  {
    weight: 1,
    arbitrary: pick('host', 'remote-node', 'kube-apiserver', 'world-ipv4').map((name) => ({
      matchLabels: { [`reserved:${name}`]: '' },
    })),
  },
);

const entity = pick(
  'all',
  'world',
  'host',
  'remote-node',
  'kube-apiserver',
  'cluster',
  'health',
  'init',
  'ingress',
  'unmanaged',
  'none',
);
const prefix = pick(...addresses.prefixes);

/** The parts of a prefix that may be excepted. */
const inside: Record<string, string[]> = {
  '0.0.0.0/0': ['203.0.113.0/25', '198.51.100.1/32'],
  '::/0': ['2001:db8:99::/48'],
  '203.0.113.0/24': ['203.0.113.0/25', '203.0.113.9/32'],
  '203.0.113.0/25': ['203.0.113.9/32'],
  '2001:db8::/32': ['2001:db8:99::/48', '2001:db8:99::9/128'],
};
const cidrSet = fc.oneof(
  prefix.chain((cidr) =>
    fc.subarray(inside[cidr] ?? []).map((except): Json => ({ cidr, ...(except.length && { except }) })),
  ),
  pick('g1', 'g2', 'g3').map((cidrGroupRef): Json => ({ cidrGroupRef })),
  labelled('side', 'in', 'out').map((cidrGroupSelector): Json => ({ cidrGroupSelector })),
);
const service = fc.oneof(
  some({ namespace: pick('x', 'y') }).chain((where) =>
    pick('s1', 's2', 's3').map((serviceName): Json => ({ k8sService: { serviceName, ...where } })),
  ),
  some({ namespace: pick('x', 'y') }).chain((where) =>
    labelled('metal', 'gold', 'iron').map((selector): Json => ({ k8sServiceSelector: { selector, ...where } })),
  ),
);
const node = fc.oneof(
  labelled('zone', 'a', 'b'),
  labelled('name', 'n1', 'n2'),
  fc.constant<Json>({}),
  expressions(['zone'], ['a']),
);

function peers(side: 'from' | 'to', isDeny: boolean): fc.Arbitrary<Json> {
  const member = (name: string, value: fc.Arbitrary<unknown>, weight: number) => ({
    weight,
    arbitrary: few(value, weight > 2 ? 1 : 0).map((list): Json => ({ [side + name]: list })),
  });
  return fc.oneof(
    { weight: 3, arbitrary: fc.constant<Json>({}) },
    member('Endpoints', scoped, 5),
    member('Endpoints', scoped, 1),
    member('Entities', entity, 4),
    member('CIDR', prefix, 3),
    member('CIDRSet', cidrSet, 4),
    member('Nodes', node, 1),
    ...(side === 'to' ? [member('Services', service, 3)] : []),
    ...(side === 'to' && !isDeny
      ? [{ weight: 1, arbitrary: fc.constant<Json>({ toFQDNs: [{ matchName: 'example.com' }] }) }]
      : []),
  );
}

const numbered = fc
  .tuple(
    pick('0', '80', '81', '443', '8080', '1', '8000'),
    fc.option(pick(80, 100, 443, 8191, 65_535), { nil: undefined }),
  )
  .map(([port, endPort]) => ({
    port,
    ...(endPort !== undefined && port !== '0' && endPort >= Number(port) && { endPort }),
  }));
const port = fc
  .tuple(
    fc.oneof(
      { weight: 4, arbitrary: numbered },
      { weight: 1, arbitrary: pick('http', 'alt', 'nobody').map((name): Json => ({ port: name })) },
    ),
    some({ protocol: pick('TCP', 'UDP', 'SCTP', 'ANY') }),
  )
  .map(([number, protocol]): Json => ({ ...number, ...protocol }));

/** With a proxy's part on a port that may have one. */
const proxied: fc.Arbitrary<Json> = pick<Json[]>(
  { ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ method: 'GET', path: '/x' }] } },
  { ports: [{ port: '443', protocol: 'TCP' }], rules: { http: [{}] } },
);
const portRules = (isDeny: boolean): fc.Arbitrary<Json> => {
  const open = few(port, 0, 3).map((ports): Json => ({ ports }));
  return few(isDeny ? open : fc.oneof({ weight: 4, arbitrary: open }, { weight: 1, arbitrary: proxied }), 1).map(
    (toPorts) => ({ toPorts }),
  );
};
const icmps = few(
  fc.oneof(
    pick<(number | string)[]>(8, 0, 13, 'EchoRequest').map((type): Json => ({ type })),
    pick<(number | string)[]>(128, 129, 'EchoReply').map((type): Json => ({ family: 'IPv6', type })),
  ),
  1,
).map((fields): Json => ({ icmps: [{ fields }] }));

const element = (side: 'from' | 'to', isDeny: boolean): fc.Arbitrary<Json> =>
  fc
    .tuple(
      peers(side, isDeny),
      fc.oneof(
        { weight: 3, arbitrary: fc.constant<Json>({}) },
        { weight: 4, arbitrary: portRules(isDeny) },
        { weight: 1, arbitrary: icmps },
      ),
      fc.oneof(
        { weight: 12, arbitrary: fc.constant<Json>({}) },
        {
          weight: isDeny ? 0 : 1,
          arbitrary: pick('required', 'disabled').map((mode): Json => ({ authentication: { mode } })),
        },
      ),
    )
    .map(([peer, ports, authentication]) => ({ ...peer, ...ports, ...authentication }));

const sections = fc
  .record(
    {
      ingress: few(element('from', false)),
      egress: few(element('to', false)),
      ingressDeny: few(element('from', true), 0, 1),
      egressDeny: few(element('to', true), 0, 1),
    },
    { requiredKeys: [] },
  )
  .map((lists): Json => (Object.values(lists).some((one) => one.length > 0) ? lists : { ...lists, ingress: [{}] }));
const defaults = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Json>({}) },
  {
    weight: 1,
    arbitrary: some({ ingress: fc.boolean(), egress: fc.boolean() }).map(
      (enableDefaultDeny): Json => ({ enableDefaultDeny }),
    ),
  },
);

/** Policies of nodes have no HTTP. */
function withoutL7(spec: Json): Json {
  return JSON.parse(JSON.stringify(spec, (key, value: unknown) => (key === 'rules' ? undefined : value))) as Json;
}

const ciliumSpec = (subject: fc.Arbitrary<Json>): fc.Arbitrary<Json> =>
  fc.tuple(subject, sections, defaults).map((parts) => Object.assign({}, ...parts) as Json);

const cilium = fc
  .tuple(pick('x', 'y'), few(ciliumSpec(plain.map((endpointSelector): Json => ({ endpointSelector }))), 1))
  .map(
    ([namespace, specs]): KubeObject => ({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumNetworkPolicy',
      metadata: { namespace, name: 'p' },
      ...(specs.length === 1 ? { spec: specs[0] } : { specs }),
    }),
  );
const ofNodes = ciliumSpec(node.map((nodeSelector): Json => ({ nodeSelector })))
  .map(withoutL7)
  .map(
    (spec): KubeObject => ({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumClusterwideNetworkPolicy',
      metadata: { name: 'p' },
      spec,
    }),
  );
const clusterwide = ciliumSpec(
  fc.oneof(plain, labelled(`k8s:${NAMESPACE}`, 'x', 'y')).map((endpointSelector): Json => ({ endpointSelector })),
).map(
  (spec): KubeObject => ({
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumClusterwideNetworkPolicy',
    metadata: { name: 'p' },
    spec,
  }),
);

/** All that it allows is for a proxy to judge. */
const needsL7 = fc
  .tuple(pick('x', 'y'), plain, pick('from' as const, 'to' as const))
  .chain(([namespace, endpointSelector, side]) =>
    few(
      fc
        .tuple(fc.oneof(fc.constant<Json>({}), peers(side, false)), few(proxied, 1))
        .map(([peer, toPorts]): Json => ({ ...peer, toPorts })),
      1,
    ).map(
      (elements): KubeObject => ({
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { namespace, name: 'p' },
        spec: { endpointSelector, [side === 'from' ? 'ingress' : 'egress']: elements },
      }),
    ),
  );

const kubernetesSelector = fc.oneof(
  fc.constant<Json>({}),
  labelled('app', 'a', 'b'),
  expressions(['app', 'tier'], ['a', 'x']),
);
const namespaceSelector = fc.oneof(
  fc.constant<Json>({}),
  labelled('team', 'one', 'two'),
  labelled('kubernetes.io/metadata.name', 'x'),
  expressions(['team'], ['one']),
);
const kubernetesPeer = fc.oneof(
  kubernetesSelector.map((podSelector): Json => ({ podSelector })),
  namespaceSelector.map((one): Json => ({ namespaceSelector: one })),
  fc
    .tuple(namespaceSelector, kubernetesSelector)
    .map(([one, podSelector]): Json => ({ namespaceSelector: one, podSelector })),
  prefix.chain((cidr) =>
    fc.subarray(inside[cidr] ?? []).map((except): Json => ({ ipBlock: { cidr, ...(except.length && { except }) } })),
  ),
);
const kubernetesPort = fc.oneof(
  some({ protocol: pick('TCP', 'UDP', 'SCTP') }),
  fc
    .tuple(pick<(number | string)[]>(80, 443, 'http', 'alt'), some({ protocol: pick('TCP', 'UDP') }))
    .map(([number, protocol]): Json => ({ port: number, ...protocol })),
  pick(80, 8000).map((first): Json => ({ port: first, endPort: first + 443 })),
);
const kubernetesRule = (side: 'from' | 'to'): fc.Arbitrary<Json> =>
  some({ [side]: few(kubernetesPeer, 0), ports: few(kubernetesPort, 0) });
const kubernetes = fc
  .tuple(
    pick('x', 'y'),
    kubernetesSelector,
    some({
      ingress: few(kubernetesRule('from')),
      egress: few(kubernetesRule('to')),
      policyTypes: fc.subarray(['Ingress', 'Egress'], { minLength: 1 }),
    }),
  )
  .map(
    ([namespace, podSelector, rules]): KubeObject => ({
      apiVersion: 'networking.k8s.io/v1',
      kind: 'NetworkPolicy',
      metadata: { namespace, name: 'p' },
      spec: { podSelector, ...rules },
    }),
  );

export const policies: fc.Arbitrary<KubeObject[]> = fc
  .array(
    fc.oneof(
      { weight: 5, arbitrary: cilium },
      { weight: 2, arbitrary: needsL7 },
      { weight: 2, arbitrary: clusterwide },
      { weight: 1, arbitrary: ofNodes },
      { weight: 3, arbitrary: kubernetes },
    ),
    {
      minLength: 1,
      maxLength: 5,
    },
  )
  .map((list) => list.map((policy, i) => ({ ...policy, metadata: { ...policy.metadata, name: `p${i + 1}` } })));
