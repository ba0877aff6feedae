/** What is refused, with which words; and what is filled in. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ApiError } from './errors.ts';
import { type ApiServer, startApiServer } from './index.ts';
import { type ApiObject, stringAt } from './types.ts';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({
    listeners: [],
    tls: false,
    database: ':memory:',
    serviceCidrs: ['10.96.0.0/24', 'fd00:10:96::/112'],
  });
});
afterAll(() => server.close());

const object = (text: string): ApiObject => parse(text) as ApiObject;
const create = (text: string): ApiObject => server.store.resource(object(text).kind).create(object(text));

function refusal(text: string): string {
  try {
    create(text);
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
  return 'accepted';
}

const pod = (spec: string): string => `{kind: Pod, metadata: {name: p}, spec: ${spec}}`;
const service = (spec: string, name = 's'): string => `{kind: Service, metadata: {name: ${name}}, spec: ${spec}}`;
const policy = (spec: string): string => `{kind: NetworkPolicy, metadata: {name: n}, spec: ${spec}}`;
const cnp = (spec: string): string => `{kind: CiliumNetworkPolicy, metadata: {name: c}, spec: ${spec}}`;
const slice = (rest: string): string => `{kind: EndpointSlice, metadata: {name: e}, ${rest}}`;

describe('refused', () => {
  test.each([
    [
      pod('{containers: [{name: c, image: i, foo: 1}]}'),
      'strict decoding error: unknown field "spec.containers[0].foo"',
    ],
    [
      pod('{containers: [{name: c, image: i, ports: [{containerPort: "80"}]}]}'),
      'spec.containers[0].ports[0].containerPort must be of type integer: "80"',
    ],
    [pod('{containers: []}'), 'Pod "p" is invalid: spec.containers: Required value'],
    ['{kind: Pod, metadata: {name: p}}', 'Pod "p" is invalid: spec: Required value'],
    [pod('{containers: [{name: c}]}'), 'spec.containers[0].image: Required value'],
    [
      pod('{containers: [{name: C, image: i}]}'),
      'spec.containers[0].name: Invalid value: "C": a lowercase RFC 1123 label',
    ],
    [pod('{containers: [{name: c, image: i}, {name: c, image: i}]}'), 'spec.containers[1].name: Duplicate value: "c"'],
    [pod('{containers: [{name: c, image: i, ports: [{containerPort: 0}]}]}'), 'must be between 1 and 65535, inclusive'],
    [
      pod('{containers: [{name: c, image: i, ports: [{containerPort: 80, protocol: HTTP}]}]}'),
      'spec.containers[0].ports[0].protocol: Unsupported value: "HTTP": supported values: "TCP", "UDP", "SCTP"',
    ],
    [
      pod('{restartPolicy: Sometimes, containers: [{name: c, image: i}]}'),
      'spec.restartPolicy: Unsupported value: "Sometimes"',
    ],
    [
      pod('{containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /x}]}]}'),
      'spec.containers[0].volumeMounts[0].name: Not found: "v"',
    ],
    [
      pod('{containers: [{name: c, image: i, readinessProbe: {}}]}'),
      'spec.containers[0].readinessProbe: Required value: must specify a handler type',
    ],
    [
      '{kind: Pod, metadata: {name: P_1}, spec: {containers: [{name: c, image: i}]}}',
      'metadata.name: Invalid value: "P_1"',
    ],
    ['{kind: ConfigMap, metadata: {name: m, labels: {"a b": c}}}', 'metadata.labels: Invalid value: "a b"'],
    ['{kind: ConfigMap, metadata: {name: m, labels: {a: 1}}}', 'metadata.labels.a must be of type string: 1'],
    ['{kind: ConfigMap, metadata: {name: m}, data: {"a/b": c}}', 'data[a/b]: Invalid value: "a/b"'],
    [
      '{kind: Secret, metadata: {name: m}, data: {a: "not base64!"}}',
      'data[a]: Invalid value: "…": must be base64 encoded',
    ],
    [service('{ports: []}'), 'spec.ports: Required value'],
    [service('{ports: [{port: 80}, {port: 81}]}'), 'spec.ports[0].name: Required value'],
    [service('{ports: [{port: 80, name: a}, {port: 80, name: b}]}'), 'spec.ports[1]: Duplicate value'],
    [service('{type: Magic, ports: [{port: 80}]}'), 'spec.type: Unsupported value: "Magic"'],
    [service('{clusterIP: 10.1.1.1, ports: [{port: 80}]}'), 'the provided IP is not in the valid range 10.96.0.0/24'],
    [service('{clusterIP: 10.96.0.1, ports: [{port: 80}]}'), 'provided IP is already allocated'],
    [service('{type: NodePort, ports: [{port: 80, nodePort: 80}]}'), 'The range of valid ports is 30000-32767'],
    [
      service('{type: NodePort, clusterIP: None, ports: [{port: 80}]}'),
      "may not be set to 'None' for NodePort services",
    ],
    [service('{ipFamilies: [IPv5], ports: [{port: 80}]}'), 'spec.ipFamilies[0]: Invalid value: "IPv5"'],
    [
      policy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/33}}]}]}'),
      'spec.ingress[0].from[0].ipBlock.cidr: Invalid value: "10.0.0.0/33"',
    ],
    [
      policy('{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8, except: [11.0.0.0/16]}}]}]}'),
      'must be a strict subset of `cidr` 10.0.0.0/8',
    ],
    [policy('{podSelector: {}, ingress: [{from: [{}]}]}'), 'must specify a peer'],
    [
      policy('{podSelector: {}, egress: [{ports: [{port: http, endPort: 90}]}]}'),
      'may not be specified when `port` is not a number',
    ],
    [policy('{podSelector: {matchExpressions: [{key: a, operator: In}]}}'), 'operator In needs at least one value'],
    [
      slice('addressType: IPv4, endpoints: [{addresses: ["fd00::1"]}]'),
      'endpoints[0].addresses[0]: Invalid value: "fd00::1": must be an IPv4 address',
    ],
    [slice('endpoints: []'), 'addressType: Required value'],
    [
      '{kind: Node, metadata: {name: n}, spec: {podCIDRs: [10.0.0.0/24, 10.0.1.0/24]}}',
      'must be one IPv4 and one IPv6 CIDR',
    ],
    [
      cnp('{ingress: [{}]}'),
      'must validate one and only one schema (oneOf), 0 fit: {endpointSelector} or {nodeSelector}',
    ],
    [cnp('{endpointSelector: {}, nodeSelector: {}}'), '(oneOf), 2 fit'],
    [
      '{kind: CiliumNetworkPolicy, metadata: {name: c}}',
      'must validate at least one schema (anyOf): {spec} or {specs}',
    ],
    [
      cnp('{endpointSelector: {}, ingress: [{fromEntities: [moon]}]}'),
      'spec.ingress[0].fromEntities[0]: Unsupported value: "moon"',
    ],
    [cnp('{endpointSelector: {}, ingress: [{toPort: []}]}'), 'unknown field "spec.ingress[0].toPort"'],
    [
      cnp('{endpointSelector: {}, egress: [{toPorts: [{ports: [{port: 80}]}]}]}'),
      'spec.egress[0].toPorts[0].ports[0].port: Invalid value: "integer": spec.egress[0].toPorts[0].ports[0].port in body must be of type string: 80',
    ],
    [cnp('{endpointSelector: {}, egress: [{toFQDNs: [{matchName: a.b, matchPattern: "*"}]}]}'), 'oneOf'],
    [cnp('{endpointSelector: {}, ingress: [{fromRequires: [{}]}]}'), 'should have at most 0 items'],
    [cnp('{endpointSelector: {}, ingress: [{fromCIDR: [ten]}]}'), 'spec.ingress[0].fromCIDR[0]: Invalid value: "ten"'],
    ['{kind: CiliumIdentity, metadata: {name: "300"}}', 'security-labels: Required value'],
    [
      '{kind: CustomResourceDefinition, metadata: {name: x}, spec: {group: g.io, scope: Cluster, names: {kind: T, plural: ts}, versions: []}}',
      'metadata.name: Invalid value: "x": must be spec.names.plural+"."+spec.group, ts.g.io',
    ],
  ])('%s', (text, message) => {
    expect(refusal(text)).toContain(message);
  });

  test('pathological text in a pattern does not stop the server', () => {
    const started = performance.now();
    refusal(cnp(`{endpointSelector: {}, egress: [{toFQDNs: [{matchPattern: "${'a'.repeat(254)}!"}]}]}`));
    expect(performance.now() - started).toBeLessThan(1000);
  });
});

describe('accepted', () => {
  test.each([
    cnp('{endpointSelector: {}, ingress: [{}]}'),
    '{kind: CiliumClusterwideNetworkPolicy, metadata: {name: c}, specs: [{nodeSelector: {}, ingressDeny: [{fromEntities: [world]}], enableDefaultDeny: {ingress: false}}]}',
    '{kind: CiliumNetworkPolicy, metadata: {name: l7}, spec: {endpointSelector: {}, egress: [{toFQDNs: [{matchPattern: "**.cilium.io"}], toPorts: [{ports: [{port: dns-tcp}], rules: {dns: [{matchPattern: "*"}]}}]}]}}',
    '{kind: CiliumNetworkPolicy, metadata: {name: icmp}, spec: {endpointSelector: {}, ingress: [{icmps: [{fields: [{type: 8}, {type: EchoRequest, family: IPv6}]}]}]}}',
    '{kind: CiliumNode, metadata: {name: n}, spec: {eni: {anything: [1]}, addresses: [{type: InternalIP, ip: 10.0.0.1}]}}',
    '{kind: CiliumEnvoyConfig, metadata: {name: e}, spec: {resources: [{"@type": type.googleapis.com/x, any: {thing: 1}}]}}',
    '{kind: Pod, metadata: {name: nulls, creationTimestamp: null}, spec: {containers: [{name: c, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}, ports: null}]}}',
  ])('%s', (text) => {
    expect(refusal(text)).toBe('accepted');
  });
});

describe('filled in', () => {
  test('pods', () => {
    expect(
      create(
        '{kind: Pod, metadata: {name: filled}, spec: {containers: [{name: c, image: "i:1", ports: [{containerPort: 80}], readinessProbe: {httpGet: {port: 80}}}]}}',
      ),
    ).toMatchObject({
      spec: {
        restartPolicy: 'Always',
        dnsPolicy: 'ClusterFirst',
        terminationGracePeriodSeconds: 30,
        serviceAccountName: 'default',
        containers: [
          {
            imagePullPolicy: 'IfNotPresent',
            ports: [{ protocol: 'TCP' }],
            readinessProbe: { periodSeconds: 10, httpGet: { path: '/', scheme: 'HTTP' } },
          },
        ],
      },
      status: { phase: 'Pending', qosClass: 'BestEffort' },
    });
  });

  test('services: addresses of the wanted families, ports, and both kept over updates', () => {
    const both = create(service('{ipFamilyPolicy: RequireDualStack, ports: [{port: 80}]}', 'both'));
    expect(both.spec).toMatchObject({
      type: 'ClusterIP',
      ipFamilies: ['IPv4', 'IPv6'],
      ports: [{ protocol: 'TCP', targetPort: 80 }],
    });
    expect(both.spec).toMatchObject({
      clusterIPs: [expect.stringMatching(/^10\.96\.0\./), expect.stringMatching(/^fd00:10:96::/)],
    });
    const services = server.store.resource('services');
    const kept = services.update('default', 'both', () =>
      object(service('{ipFamilyPolicy: RequireDualStack, ports: [{port: 81}]}', 'both')),
    );
    expect(kept.spec).toMatchObject({ clusterIPs: (both.spec as { clusterIPs: string[] }).clusterIPs });
    const six = create(service('{ipFamilies: [IPv6], ports: [{port: 80}]}', 'six'));
    expect(stringAt(six, 'spec', 'clusterIP')).toMatch(/^fd00:10:96::/);
    const headless = create(service('{clusterIP: None, selector: {a: b}}', 'headless'));
    expect(headless.spec).toMatchObject({ clusterIPs: ['None'] });
    const outside = create(service('{type: ExternalName, externalName: example.com}', 'outside'));
    expect(outside.spec).not.toHaveProperty('clusterIP');
    const node = create(service('{type: NodePort, ports: [{port: 80, name: a}, {port: 81, name: b}]}', 'node'));
    const ports = (node.spec as { ports: { nodePort: number }[] }).ports.map(({ nodePort }) => nodePort);
    expect(new Set(ports).size).toBe(2);
    const again = services.update('default', 'node', () =>
      object(service('{type: NodePort, ports: [{port: 80, name: a}, {port: 81, name: b}]}', 'node')),
    );
    expect((again.spec as { ports: { nodePort: number }[] }).ports.map(({ nodePort }) => nodePort)).toEqual(ports);
  });

  test('services never share an address, until the range is full', () => {
    const services = server.store.resource('services');
    const addresses = new Set(services.list().map((one) => stringAt(one, 'spec', 'clusterIP')));
    let created = 0;
    let message = '';
    while (message === '') {
      try {
        const address = stringAt(
          services.create(object(service('{ports: [{port: 80}]}', `full-${created}`))),
          'spec',
          'clusterIP',
        );
        expect(addresses.has(address)).toBe(false);
        addresses.add(address);
        created++;
      } catch (error) {
        message = error instanceof ApiError ? error.message : String(error);
      }
    }
    expect(message).toContain('range 10.96.0.0/24 is full');
    expect([...addresses].filter((address) => address.startsWith('10.96.0.'))).toHaveLength(254);
  });

  test('network policies, namespaces, secrets', () => {
    expect(
      create(
        '{kind: NetworkPolicy, metadata: {name: filled}, spec: {podSelector: {}, egress: [{ports: [{port: 53}]}]}}',
      ).spec,
    ).toMatchObject({ policyTypes: ['Ingress', 'Egress'], egress: [{ ports: [{ protocol: 'TCP' }] }] });
    expect(create('{kind: Namespace, metadata: {name: filled}}')).toMatchObject({
      metadata: { labels: { 'kubernetes.io/metadata.name': 'filled' } },
      status: { phase: 'Active' },
    });
    const secret = create('{kind: Secret, metadata: {name: filled}, stringData: {a: b}}');
    expect(secret).toMatchObject({ type: 'Opaque', data: { a: 'Yg==' } });
    expect(secret).not.toHaveProperty('stringData');
  });
});
