/** What the API server gives Services: addresses, node ports, health check ports; and what it refuses to give. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ApiError } from './errors.ts';
import { type ApiServer, startApiServer } from './index.ts';
import { mergePatch } from './patch.ts';
import type { ApiObject } from './types.ts';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({
    listeners: [],
    tls: false,
    database: ':memory:',
    serviceCidrs: ['10.96.0.0/16', 'fd00:10:96::/112'],
  });
});
afterAll(() => server.close());

const services = () => server.store.resource('services');
let count = 0;
function create(spec: object): ApiObject & { spec: Record<string, unknown> } {
  const made = { apiVersion: 'v1', kind: 'Service', metadata: { name: `s${count++}` }, spec };
  return services().create(made) as ApiObject & { spec: Record<string, unknown> };
}
function patch({ metadata }: ApiObject, spec: object): ApiObject & { spec: Record<string, unknown> } {
  const change = (current: unknown) => mergePatch(current, { spec });
  return server.store.modify(services().type, 'default', metadata.name, change) as ReturnType<typeof create>;
}
function refusal(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
  return 'accepted';
}
const port = { port: 80, protocol: 'TCP' };
const local = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', ports: [port] };
const nodePortOf = ({ spec }: ApiObject, i = 0) => (spec as { ports: { nodePort?: number }[] }).ports[i]?.nodePort;

describe('given', () => {
  test('one cluster address for each family that is asked for', () => {
    expect(create({ ports: [port] }).spec).toMatchObject({
      clusterIP: expect.stringMatching(/^10\.96\./),
      ipFamilies: ['IPv4'],
    });
    expect(
      create({ ports: [port], ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv6', 'IPv4'] }).spec,
    ).toMatchObject({
      clusterIP: expect.stringMatching(/^fd00:10:96::/),
      clusterIPs: [expect.stringMatching(/^fd00:10:96::/), expect.stringMatching(/^10\.96\./)],
    });
  });

  test('node ports in their range: one number for a port of two protocols, different ones for services', () => {
    const both = create({
      type: 'NodePort',
      ports: [
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53, protocol: 'TCP' },
        { name: 'http', port: 80 },
      ],
    });
    const [dns, dnsTcp, http] = [0, 1, 2].map((i) => nodePortOf(both, i) ?? 0);
    expect(dns).toBe(dnsTcp);
    expect(http).not.toBe(dns);
    expect(dns).toBeGreaterThanOrEqual(30_000);
    const other = nodePortOf(create({ type: 'NodePort', ports: [port] }));
    expect([dns, http]).not.toContain(other);
  });

  test('a number asked for, to one service only, whatever the protocol', () => {
    expect(nodePortOf(create({ type: 'NodePort', ports: [{ ...port, nodePort: 31_111 }] }))).toBe(31_111);
    const twice = () => create({ type: 'NodePort', ports: [{ port: 80, protocol: 'UDP', nodePort: 31_111 }] });
    expect(refusal(twice)).toContain(
      'spec.ports[0].nodePort: Invalid value: 31111: provided port is already allocated',
    );
  });

  test('a health check port for policy Local of load balancers, until it is needed no more', () => {
    const made = create(local);
    const given = made.spec.healthCheckNodePort;
    expect(given).toBeGreaterThanOrEqual(30_000);
    expect(given).not.toBe(nodePortOf(made));
    expect(patch(made, { externalTrafficPolicy: 'Cluster' }).spec).not.toHaveProperty('healthCheckNodePort');
    expect(create({ ...local, healthCheckNodePort: 32_001 }).spec.healthCheckNodePort).toBe(32_001);
    expect(refusal(() => create({ ...local, healthCheckNodePort: 32_001 }))).toContain(
      'spec.healthCheckNodePort: Invalid value: 32001: provided port is already allocated',
    );
    expect(refusal(() => create({ type: 'NodePort', ports: [{ ...port, nodePort: 32_001 }] }))).toContain(
      'already allocated',
    );
  });

  test('no node ports to a load balancer that wants none, but those it names', () => {
    expect(
      nodePortOf(create({ type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [port] })),
    ).toBeUndefined();
    const named = { ...port, nodePort: 31_222 };
    expect(nodePortOf(create({ type: 'LoadBalancer', allocateLoadBalancerNodePorts: false, ports: [named] }))).toBe(
      31_222,
    );
  });

  test('what a type had goes with it', () => {
    const made = create({ ...local, loadBalancerClass: 'x.org/y', loadBalancerSourceRanges: ['10.0.0.0/8'] });
    const { spec } = patch(made, { type: 'ClusterIP' });
    for (const field of [
      'healthCheckNodePort',
      'loadBalancerClass',
      'loadBalancerSourceRanges',
      'externalTrafficPolicy',
      'allocateLoadBalancerNodePorts',
    ])
      expect(spec).not.toHaveProperty(field);
    expect(nodePortOf({ ...made, spec })).toBeUndefined();
    expect(spec.clusterIP).toBe(made.spec.clusterIP);
  });
});

describe('refused', () => {
  test.each<[object, string]>([
    [
      { clusterIP: '10.97.0.1' },
      'spec.clusterIPs[0]: Invalid value: "10.97.0.1": failed to allocate IP: the provided IP',
    ],
    [{ clusterIP: '10.96.0.1' }, 'provided IP is already allocated'],
    [{ type: 'NodePort', ports: [{ ...port, nodePort: 29_999 }] }, 'valid ports is 30000-32767'],
    [{ healthCheckNodePort: 31_333 }, 'spec.healthCheckNodePort: Forbidden'],
    [{ ...local, healthCheckNodePort: 80 }, 'spec.healthCheckNodePort: Invalid value: 80: provided port is not in'],
    [{ externalTrafficPolicy: 'Local' }, 'spec.externalTrafficPolicy: Forbidden: may only be set for externally'],
    [
      { loadBalancerClass: 'x.org/y' },
      "spec.loadBalancerClass: Forbidden: may only be used when `type` is 'LoadBalancer'",
    ],
    [{ loadBalancerSourceRanges: ['10.0.0.0/8'] }, 'spec.loadBalancerSourceRanges: Forbidden'],
    [{ trafficDistribution: 'Near' }, 'supported values: "PreferClose", "PreferSameZone", "PreferSameNode"'],
    [
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_401 } } },
      'timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400',
    ],
  ])('%j', (spec, message) => {
    expect(refusal(() => create({ ports: [port], ...spec }))).toContain(message);
  });

  test('another class, another health check port', () => {
    const made = create({ ...local, loadBalancerClass: 'x.org/y' });
    expect(refusal(() => patch(made, { loadBalancerClass: 'x.org/z' }))).toContain('may not change once set');
    expect(refusal(() => patch(made, { healthCheckNodePort: 32_700 }))).toContain('field is immutable');
  });
});
