/** For tests: small clusters and random policies over them, and the lookup of map entries as `bpf/lib/policy.h` does it. */
import fc from 'fast-check';
import type { KubeObject } from '../cluster/events.ts';
import type { Change, Identity, PolicyEntry, ResolverConfig, VerdictQuestion } from '../policy/change.ts';
import { parsePolicy } from '../policy/parse.ts';
import { cidrIdentityLabels } from '../policy/prefix.ts';
import { entries, type PolicyState } from '../policy/resolver.ts';
import { type Policy, problemText, protocolNumbers } from '../policy/rule.ts';

export const config: ResolverConfig = {
  enforcement: 'default',
  allowLocalhost: true,
  audit: false,
  clusterName: 'default',
};

export const podLabels = (namespace: string, labels: Record<string, string>, team = namespace) => ({
  ...Object.fromEntries(Object.entries(labels).map(([key, value]) => [`k8s:${key}`, value])),
  'k8s:io.kubernetes.pod.namespace': namespace,
  'k8s:io.cilium.k8s.namespace.labels.team': team,
  'k8s:io.cilium.k8s.policy.cluster': 'default',
});

export function object(kind: string, name: string, namespace: string, rest: Record<string, unknown>): KubeObject {
  const apiVersion = kind === 'NetworkPolicy' ? 'networking.k8s.io/v1' : 'cilium.io/v2';
  return { apiVersion, kind, metadata: { name, ...(namespace && { namespace }) }, ...rest };
}

/** Throws what is wrong with it. */
export function parsed(kubeObject: KubeObject): Policy {
  const { policy, problems } = parsePolicy(kubeObject);
  if (!policy) throw new Error(problems.map(problemText).join('\n'));
  return policy;
}

/** The verdict of the map: the entry that the kernel finds, and with its precedence. */
export const lookup = (state: PolicyState, question: VerdictQuestion): 'allowed' | 'denied' | 'none' =>
  lookupIn((identity) => entries(state, question.endpointId, identity), question);

/** The same in any map: entries by identity. */
export function lookupIn(
  entriesFor: (identity: number) => readonly PolicyEntry[],
  question: VerdictQuestion,
): 'allowed' | 'denied' | 'none' {
  const { direction, identity } = question;
  const longest = (of: number): PolicyEntry | undefined =>
    entriesFor(of)
      .filter((entry) => entry.direction === direction && isHit(entry, question))
      .sort((a, b) => bitsOf(b) - bitsOf(a))[0];
  const exact = identity === 0 ? undefined : longest(identity);
  const wild = longest(0);
  const isExact =
    exact !== undefined &&
    (!wild ||
      exact.precedence > wild.precedence ||
      (exact.precedence === wild.precedence && bitsOf(exact) >= bitsOf(wild)));
  const best = isExact ? exact : wild;
  return best === undefined ? 'none' : best.deny ? 'denied' : 'allowed';
}

export function bitsOf({ protocol, port }: PolicyEntry): number {
  if (protocol === 'ANY') return 0;
  return port === '*' ? 8 : 8 + Number(port.split('/')[1] ?? 16);
}

function isHit({ protocol, port }: PolicyEntry, question: VerdictQuestion): boolean {
  if (protocol === 'ANY') return true;
  if (protocol !== question.protocol) return false;
  if (port === '*') return true;
  const [base = 0, bits = 16] = port.split('/').map(Number);
  return base >>> (16 - bits) === question.port >>> (16 - bits);
}

// --- random policies and clusters

const namespace = fc.constantFrom('x', 'y');
const value = fc.constantFrom('a', 'b', 'c');
const cidr = fc.constantFrom(
  '0.0.0.0/0',
  '10.0.0.0/8',
  '10.1.0.0/16',
  '10.1.2.0/24',
  '::/0',
  'fd00::/8',
  'fd00:1::/32',
);
const port = fc.constantFrom('0', '1', '80', '81', '443', '8080', 'web', 'dns');
const protocol = fc.constantFrom('TCP', 'UDP', 'SCTP', 'ANY', undefined);

const selector = fc.oneof(
  fc.constant({}),
  fc.record({ matchLabels: fc.dictionary(fc.constantFrom('app', 'k8s:app', 'any:tier'), value, { maxKeys: 2 }) }),
  fc.record({
    matchLabels: fc.record({ app: value, 'k8s:io.kubernetes.pod.namespace': namespace }, { requiredKeys: [] }),
  }),
  fc.record({
    matchExpressions: fc.array(
      fc.oneof(
        fc.record({
          key: fc.constantFrom('app', 'tier', 'io.cilium.k8s.namespace.labels.team'),
          operator: fc.constantFrom('In', 'NotIn'),
          values: fc.uniqueArray(fc.constantFrom('a', 'b', 'x'), { minLength: 1, maxLength: 2 }),
        }),
        fc.record({ key: fc.constantFrom('app', 'tier'), operator: fc.constantFrom('Exists', 'DoesNotExist') }),
      ),
      { maxLength: 2 },
    ),
  }),
  fc.constant({ matchLabels: { 'reserved:host': '' } }),
);

const cidrRule = fc.oneof(
  fc.record({ cidr }),
  fc.constant({ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }),
  fc.constantFrom({ cidrGroupRef: 'g' }, { cidrGroupRef: 'g', except: ['10.1.2.0/24'] }),
  fc.constant({ cidrGroupSelector: { matchLabels: { kind: 'partner' } } }),
);
const entity = fc.constantFrom(
  'all',
  'world',
  'cluster',
  'host',
  'remote-node',
  'kube-apiserver',
  'none',
  'world-ipv4',
);

const peers = (from: 'from' | 'to') =>
  fc.oneof(
    fc.constant({}),
    fc.record({ [`${from}Endpoints`]: fc.array(selector, { maxLength: 2 }) }),
    fc.record({ [`${from}Entities`]: fc.array(entity, { maxLength: 2 }) }),
    fc.record({ [`${from}CIDR`]: fc.array(cidr, { maxLength: 2 }) }),
    fc.record({ [`${from}CIDRSet`]: fc.array(cidrRule, { maxLength: 2 }) }),
    ...(from === 'to'
      ? [
          fc.constant({ toServices: [{ k8sService: { serviceName: 's', namespace: 'x' } }] }),
          fc.constant({ toServices: [{ k8sServiceSelector: { selector: { matchLabels: { kind: 'ext' } } } }] }),
        ]
      : []),
  );

const ports = fc.array(
  fc.oneof(
    fc.record({ port, protocol }),
    fc.record({ port: fc.constantFrom('79', '80', '8000'), endPort: fc.constantFrom(81, 90, 8080), protocol }),
  ),
  { maxLength: 2 },
);
const l4 = (deny: boolean) =>
  fc.oneof(
    fc.constant({}),
    fc.record({ toPorts: fc.array(fc.record({ ports }), { minLength: 1, maxLength: 2 }) }),
    fc.constant({ icmps: [{ fields: [{ type: 8 }, { family: 'IPv6', type: 'EchoRequest' }] }] }),
    ...(deny
      ? []
      : [fc.constant({ toPorts: [{ ports: [{ port: '80', protocol: 'TCP' }], rules: { http: [{ path: '/x' }] } }] })]),
  );

const element = (from: 'from' | 'to', deny: boolean) =>
  fc.tuple(peers(from), l4(deny)).map(([who, what]) => ({ ...who, ...what }));
const list = (from: 'from' | 'to', deny: boolean) => fc.array(element(from, deny), { minLength: 1, maxLength: 3 });

const spec = fc
  .record(
    {
      ingress: list('from', false),
      ingressDeny: list('from', true),
      egress: list('to', false),
      egressDeny: list('to', true),
      enableDefaultDeny: fc.record({ ingress: fc.boolean(), egress: fc.boolean() }, { requiredKeys: [] }),
    },
    { requiredKeys: [] },
  )
  .filter((some) => Object.keys(some).some((key) => key !== 'enableDefaultDeny'));

const subjectSelector = fc.constantFrom({}, { matchLabels: { app: 'a' } }, { matchLabels: { app: 'b' } });
const name = fc.constantFrom('p', 'q', 'r');

const networkPeer = fc.oneof(
  fc.record({ podSelector: fc.constantFrom({}, { matchLabels: { app: 'a' } }) }),
  fc.record({ namespaceSelector: fc.constantFrom({}, { matchLabels: { team: 'y' } }) }),
  fc.record({ ipBlock: fc.constantFrom({ cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] }, { cidr: '0.0.0.0/0' }) }),
);
const networkRule = (from: 'from' | 'to') =>
  fc.record(
    {
      [from]: fc.array(networkPeer, { maxLength: 2 }),
      ports: fc.array(fc.constantFrom({ port: 80 }, { port: 80, endPort: 90 }, { port: 'web' }, { protocol: 'UDP' }), {
        maxLength: 2,
      }),
    },
    { requiredKeys: [] },
  );

export const policy: fc.Arbitrary<Policy> = fc.oneof(
  fc
    .tuple(name, namespace, subjectSelector, spec)
    .map(([called, within, endpointSelector, rest]) =>
      parsed(object('CiliumNetworkPolicy', called, within, { spec: { endpointSelector, ...rest } })),
    ),
  fc.tuple(name, subjectSelector, spec, fc.boolean()).map(([called, subject, rest, isHost]) =>
    parsed(
      object('CiliumClusterwideNetworkPolicy', called, '', {
        spec:
          isHost && !JSON.stringify(rest).includes('http')
            ? { nodeSelector: {}, ...rest }
            : { endpointSelector: subject, ...rest },
      }),
    ),
  ),
  fc
    .tuple(
      name,
      namespace,
      subjectSelector,
      fc.record(
        {
          ingress: fc.array(networkRule('from'), { maxLength: 2 }),
          egress: fc.array(networkRule('to'), { maxLength: 2 }),
        },
        { requiredKeys: [] },
      ),
    )
    .map(([called, within, podSelector, rest]) =>
      parsed(object('NetworkPolicy', called, within, { spec: { podSelector, ...rest } })),
    ),
);

const namedPorts = fc.subarray([
  { name: 'web', protocol: 'TCP' as const, port: 80 },
  { name: 'web', protocol: 'TCP' as const, port: 8080 },
  { name: 'dns', protocol: 'UDP' as const, port: 81 },
]);
const labels = fc
  .tuple(namespace, fc.dictionary(fc.constantFrom('app', 'tier'), value, { maxKeys: 2 }))
  .map(([within, own]) => podLabels(within, own));

export const reservedIdentities: readonly Identity[] = [
  { identity: 1, labels: { 'reserved:host': '' } },
  { identity: 6, labels: { 'reserved:remote-node': '' } },
  { identity: 7, labels: { 'reserved:kube-apiserver': '', 'reserved:remote-node': '' } },
  { identity: 9, labels: { 'reserved:world-ipv4': '' } },
  { identity: 10, labels: { 'reserved:world-ipv6': '' } },
];
export const identityNumbers = [0, 1, 6, 7, 9, 10, 300, 301, 302, 401, 402, 403, 999];

const identity: fc.Arbitrary<Identity> = fc.oneof(
  fc.record({ identity: fc.constantFrom(300, 301, 302), labels, namedPorts }),
  fc
    .tuple(
      fc.constantFrom(401, 402, 403),
      fc.constantFrom('10.0.0.0/8', '10.1.0.0/16', '10.1.2.0/24', '10.1.2.3/32', 'fd00::/8'),
    )
    .map(([number, prefix]) => ({ identity: number, labels: cidrIdentityLabels(prefix) })),
  fc.constantFrom(...reservedIdentities),
);

export const endpointIds = [1, 2, 3];
const subject = fc.oneof(
  fc.record({
    endpointId: fc.constantFrom(1, 2),
    identity: fc.constant(300),
    labels,
    namedPorts,
    host: fc.constant(false),
  }),
  fc.constant({ endpointId: 3, identity: 1, labels: { 'reserved:host': '' }, namedPorts: [], host: true }),
  fc.constant({ endpointId: 2, identity: 5, labels: { 'reserved:init': '' }, namedPorts: [], host: false }),
);

export const change: fc.Arbitrary<Change> = fc.oneof(
  { weight: 6, arbitrary: policy.map((some): Change => ({ type: 'policy.upserted', policy: some })) },
  { weight: 2, arbitrary: policy.map(({ key }): Change => ({ type: 'policy.removed', key })) },
  { weight: 4, arbitrary: identity.map((some): Change => ({ type: 'identity.upserted', identity: some })) },
  { weight: 1, arbitrary: identity.map((some): Change => ({ type: 'identity.removed', identity: some.identity })) },
  { weight: 4, arbitrary: subject.map((some): Change => ({ type: 'subject.upserted', subject: some })) },
  { weight: 1, arbitrary: subject.map(({ endpointId }): Change => ({ type: 'subject.removed', endpointId })) },
  fc
    .record({
      name: fc.constantFrom('g', 'h'),
      labels: fc.constantFrom({}, { kind: 'partner' }),
      cidrs: fc.uniqueArray(cidr, { maxLength: 2 }),
    })
    .map((group): Change => ({ type: 'cidr-group.upserted', group })),
  fc.constantFrom('g', 'h').map((gone): Change => ({ type: 'cidr-group.removed', name: gone })),
  fc
    .record({
      namespace,
      name: fc.constantFrom('s', 't'),
      labels: fc.constantFrom({}, { kind: 'ext' }),
      selector: fc.constantFrom({ app: 'a' }, undefined),
      addresses: fc.constantFrom<string[][]>([], ['10.1.2.3']),
    })
    .map((service): Change => ({ type: 'service.upserted', service })),
  fc
    .tuple(namespace, fc.constantFrom('s', 't'))
    .map(([within, gone]): Change => ({ type: 'service.removed', namespace: within, name: gone })),
  fc
    .record({
      enforcement: fc.constantFrom('default' as const, 'default' as const, 'always' as const, 'never' as const),
      allowLocalhost: fc.boolean(),
      audit: fc.boolean(),
      clusterName: fc.constantFrom('default', 'default', 'other'),
    })
    .map((some): Change => ({ type: 'config.changed', config: some })),
);

export const questions: readonly Omit<VerdictQuestion, 'endpointId' | 'direction' | 'identity'>[] = [
  ...[1, 79, 80, 81, 85, 443, 8000, 8080, 8081].flatMap((number) =>
    (['TCP', 'UDP', 'SCTP'] as const).map((of) => ({ protocol: of, port: number })),
  ),
  { protocol: 'ICMP', port: 8 },
  { protocol: 'ICMP', port: 0 },
  { protocol: 'ICMPv6', port: 128 },
  { protocol: 'GRE', port: 0 },
].filter(({ protocol: of }) => of in protocolNumbers) as never;
