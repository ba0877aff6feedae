/** The cloud's part of load balancers: who gets which address, and which nodes get its packets. */
import { describe, expect, test } from 'vitest';
import { addressesFor, nodesFor, routeTo } from './load-balancers.ts';

type Balanced = Parameters<typeof addressesFor>[0];
const service = (spec: object = {}, ips: string[] = []): Balanced =>
  ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'shop', name: 'web', uid: 'u' },
    spec: { type: 'LoadBalancer', ipFamilies: ['IPv4', 'IPv6'], ...spec },
    status: { loadBalancer: { ingress: ips.map((ip) => ({ ip })) } },
  }) as Balanced;

describe('addresses', () => {
  test.each([
    ['the first that is free', {}, [], [], ['198.51.100.1', '2001:db8:51::1']],
    ['the next', { ipFamilies: ['IPv4'] }, [], ['198.51.100.1'], ['198.51.100.2']],
    ['what it has', { ipFamilies: ['IPv4'] }, ['198.51.100.9'], [], ['198.51.100.9']],
    ['what it asks for', { ipFamilies: ['IPv4'], loadBalancerIP: '198.51.100.77' }, [], [], ['198.51.100.77']],
    [
      'another, if that is taken',
      { ipFamilies: ['IPv4'], loadBalancerIP: '198.51.100.77' },
      [],
      ['198.51.100.77'],
      ['198.51.100.1'],
    ],
    ['another, if that is of no range', { ipFamilies: ['IPv4'], loadBalancerIP: '10.1.1.1' }, [], [], ['198.51.100.1']],
    ['none for another type', { type: 'NodePort' }, ['198.51.100.9'], [], []],
    ['none for another class', { loadBalancerClass: 'example.org/lb' }, [], [], []],
  ])('%s', (_, spec, has, taken, expected) => {
    expect(addressesFor(service(spec, has), new Set(taken))).toEqual(expected);
  });
});

describe('routes', () => {
  const nodes = new Map([
    ['node-1', ['172.28.1.10', 'fd00:28:1::a']],
    ['node-2', ['172.28.1.11', 'fd00:28:1::b']],
  ]);
  const slice = (nodeName: string, ready?: boolean) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name: 's' },
    endpoints: [{ nodeName, conditions: ready === undefined ? {} : { ready } }],
  });

  test('to all nodes, or with policy Local to those with a ready endpoint', () => {
    const slices = [slice('node-1', false), slice('node-2')];
    expect(nodesFor(service(), slices, nodes, '198.51.100.1')).toEqual(['172.28.1.10', '172.28.1.11']);
    const local = service({ externalTrafficPolicy: 'Local' });
    expect(nodesFor(local, slices, nodes, '2001:db8:51::1')).toEqual(['fd00:28:1::b']);
    expect(nodesFor(local, [], nodes, '198.51.100.1')).toEqual([]);
  });
  test('as lines for ip', () => {
    expect(routeTo('198.51.100.1', ['a'])).toBe('route replace 198.51.100.1 via a');
    expect(routeTo('2001:db8:51::1', ['a', 'b'])).toBe('route replace 2001:db8:51::1 nexthop via a nexthop via b');
    expect(routeTo('198.51.100.1', [])).toBe('route replace unreachable 198.51.100.1');
  });
});
