/**
 * Random clusters with random policies of every kind, and all flows worth asking in them.
 *
 * - Everything is drawn from small sets, so that rules and flows meet often; what is drawn shrinks towards nothing.
 */
import * as fc from 'fast-check';
import type { KubeObject } from '../../cluster/events.ts';
import type { Cluster } from '../policy-oracle/cluster.ts';
import type { Flow, FlowEnd } from '../policy-oracle/flow.ts';
import { addresses, ends, podSlots } from './places.ts';
import { policies } from './policies.ts';

export interface Scenario {
  hostFirewall: boolean;
  enforcement: Cluster['enforcement'];
  objects: KubeObject[];
  flows: Flow[];
}

const maybe = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });

const podLabels = fc.record(
  { app: fc.constantFrom('a', 'b', 'c'), tier: fc.constantFrom('x', 'y') },
  { requiredKeys: ['app'] },
);

const containerPorts = fc.subarray(
  [
    { name: 'http', containerPort: 80, protocol: 'TCP' },
    { name: 'http', containerPort: 81, protocol: 'UDP' },
    { name: 'alt', containerPort: 443, protocol: 'TCP' },
    { name: 'alt', containerPort: 8080, protocol: 'TCP' },
  ],
  { minLength: 0 },
);

const pod = (slot: (typeof podSlots)[number]): fc.Arbitrary<KubeObject> =>
  fc.record({ labels: podLabels, ports: containerPorts }).map(({ labels, ports }) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { namespace: slot.namespace, name: slot.name, labels },
    spec: {
      nodeName: slot.node,
      serviceAccountName: 'default',
      containers: [{ name: 'c', ports: uniqueNames(ports) }],
    },
    status: { podIP: slot.ipv4, podIPs: [{ ip: slot.ipv4 }, { ip: slot.ipv6 }] },
  }));

/** A pod has each name once. */
const uniqueNames = <T extends { name: string }>(ports: readonly T[]): T[] => [
  ...new Map(ports.map((port) => [port.name, port])).values(),
];

const namespaces = fc
  .tuple(maybe(fc.constantFrom('one', 'two')), maybe(fc.constantFrom('one', 'two')))
  .map(([x, y]): KubeObject[] =>
    [
      ['x', x],
      ['y', y],
    ].map(([name = '', team]) => ({
      apiVersion: 'v1',
      kind: 'Namespace',
      metadata: { name, labels: { 'kubernetes.io/metadata.name': name, ...(team && { team }) } },
    })),
  );

const nodes = fc.constantFrom('a', 'b').map((zone): KubeObject[] =>
  ['n1', 'n2'].map((name, i) => ({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: { zone: name === 'n1' ? 'a' : zone, name } },
    status: { addresses: (addresses.nodes[i] ?? []).map((address) => ({ type: 'InternalIP', address })) },
  })),
);

const groups = fc
  .array(fc.tuple(fc.subarray([...addresses.prefixes], { maxLength: 3 }), fc.constantFrom('in', 'out')), {
    maxLength: 2,
  })
  .map((list): KubeObject[] =>
    list.map(([externalCIDRs, side], i) => ({
      apiVersion: 'cilium.io/v2',
      kind: 'CiliumCIDRGroup',
      metadata: { name: `g${i + 1}`, labels: { side } },
      spec: { externalCIDRs },
    })),
  );

const service = fc.oneof(
  fc.constantFrom('a', 'b').map((app) => ({ selector: { app }, endpoints: [] as string[] })),
  fc.subarray([...addresses.world, '10.0.1.2']).map((endpoints) => ({ selector: undefined, endpoints })),
);
const services = fc
  .array(fc.tuple(service, fc.constantFrom('x', 'y'), fc.constantFrom('gold', 'iron')), { maxLength: 2 })
  .map((list): KubeObject[] =>
    list.flatMap(([{ selector, endpoints }, namespace, metal], i) => [
      {
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace, name: `s${i + 1}`, labels: { metal } },
        spec: { ...(selector && { selector }), ports: [{ port: 80 }] },
      },
      ...endpoints.map((address) => ({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: {
          namespace,
          name: `s${i + 1}-${address.replaceAll(/[.:]/g, '-')}`,
          labels: { 'kubernetes.io/service-name': `s${i + 1}` },
        },
        addressType: address.includes(':') ? 'IPv6' : 'IPv4',
        endpoints: [{ addresses: [address], conditions: { ready: true } }],
      })),
    ]),
  );

/** Where the API server is: unknown, on a node, or outside. */
const apiServer = fc
  .constantFrom<(string | undefined)[]>(undefined, '192.168.0.2', '203.0.113.9')
  .map((address): KubeObject[] =>
    address === undefined
      ? []
      : [
          {
            apiVersion: 'discovery.k8s.io/v1',
            kind: 'EndpointSlice',
            metadata: {
              namespace: 'default',
              name: 'kubernetes',
              labels: { 'kubernetes.io/service-name': 'kubernetes' },
            },
            addressType: 'IPv4',
            endpoints: [{ addresses: [address], conditions: { ready: true } }],
          },
        ],
  );

const ports = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ protocol: fc.constant('TCP'), port: fc.constantFrom(80, 443) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ protocol: fc.constantFrom('TCP', 'UDP'), port: fc.constantFrom(80, 81, 443, 8080) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      protocol: fc.constantFrom('TCP', 'UDP', 'SCTP'),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ protocol: fc.constant('ICMP'), port: fc.constantFrom(0, 8, 13) }) },
  { weight: 1, arbitrary: fc.record({ protocol: fc.constant('ICMPv6'), port: fc.constantFrom(128, 129) }) },
);

const flow = fc
  .record({ from: fc.constantFrom(...ends), to: fc.constantFrom(...ends), over: ports })
  .filter(({ from, to, over }) => isPossible(from, to, over.protocol))
  .map(({ from, to, over }): Omit<Flow, 'id'> => ({ from, to, ...over }));

/** A pod, or a node. */
const hasPolicy = (end: FlowEnd): boolean =>
  'pod' in end || ('ip' in end && addresses.nodes.flat().some((address) => address === end.ip));

const isSix = (end: FlowEnd): boolean | undefined => ('ip' in end ? end.ip.includes(':') : undefined);

/** A pod or node at one end; addresses of one family; ICMP of the family that it is. */
function isPossible(from: FlowEnd, to: FlowEnd, protocol: string): boolean {
  if (!hasPolicy(from) && !hasPolicy(to)) return false;
  if ('entity' in from && !('pod' in to)) return false;
  if ('entity' in to && !('pod' in from)) return false;
  if ('pod' in from && 'pod' in to && from.pod === to.pod) return false;
  const families = [from, to].map(isSix).filter((one) => one !== undefined);
  if (new Set(families).size > 1) return false;
  if (protocol === 'ICMP') return !families.includes(true);
  if (protocol !== 'ICMPv6') return true;
  return !families.includes(false) && ![from, to].some((end) => 'entity' in end && end.entity !== 'host');
}

export const scenarios = (flowsPerScenario: number): fc.Arbitrary<Scenario> =>
  fc
    .record({
      hostFirewall: fc.boolean(),
      enforcement: fc.constantFrom<Cluster['enforcement'][]>(
        'default',
        'default',
        'default',
        'default',
        'always',
        'never',
      ),
      namespaces,
      nodes,
      pods: fc.tuple(...podSlots.map(pod)),
      groups,
      services,
      apiServer,
      policies,
      flows: fc.array(flow, { minLength: 1, maxLength: flowsPerScenario, size: 'max' }),
    })
    .map(({ flows, hostFirewall, enforcement, ...objects }) => ({
      hostFirewall,
      enforcement,
      objects: Object.values(objects).flat() as KubeObject[],
      flows: flows.map((one, id) => ({ id, ...one })),
    }));
