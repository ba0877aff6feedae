/** What the node wants of services in sockets. */

import { describe, expect, test } from 'vitest';
import { createActor } from 'xstate';
import type { AgentFacts, ServiceFacts } from '../cluster/events.ts';
import { node } from './node.ts';

const services: ServiceFacts = {
  mode: 'strict',
  socketLB: true,
  nodePort: true,
  externalIPs: true,
  hostPort: true,
  healthPorts: true,
  xdp: 'off',
  forwarding: 'snat',
  algorithm: 'random',
  maglevTableSize: 251,
  nodePortAddresses: [],
  loadBalancerClasses: [],
  cgroupRoot: '/sys/fs/cgroup',
  sockHooks: ['connect4', 'sendmsg4'],
};
const facts: AgentFacts = {
  nodeName: 'node-1',
  clusterName: 'default',
  devices: [],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 0,
  datapathBuild: 'b1',
};

function hooksOf(agent: AgentFacts): [string, unknown][] {
  const snapshot = createActor(node.logic, { input: { agent } }).getSnapshot();
  return node
    .rows(snapshot)
    .filter(({ table }) => table === 'cgroup.attachments')
    .map(({ key, value }) => [key, value]);
}

describe('programs at the cgroup', () => {
  test('one for each hook that the kernel has, as soon as the agent starts: before the node has a pod CIDR', () => {
    const row = { cgroup: '/sys/fs/cgroup', build: 'b1' };
    expect(hooksOf({ ...facts, services })).toEqual([
      ['connect4', { ...row, program: 'sock_connect4' }],
      ['sendmsg4', { ...row, program: 'sock_sendmsg4' }],
    ]);
  });

  test.each([
    ['services are off', { ...services, mode: 'off', socketLB: false, sockHooks: [] }],
    ['sockets are left to others', { ...services, mode: 'partial', socketLB: false }],
    ['a recording from before there were services', undefined],
  ] as const)('none when %s', (_, given) => {
    expect(hooksOf(given ? { ...facts, services: given } : facts)).toEqual([]);
  });
});
