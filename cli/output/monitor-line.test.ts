/** Lines of `monitor` are those that `cilium-dbg monitor` prints. */
import { expect, it } from 'vitest';
import type { MonitorEnd, MonitorRecord } from '../../observe/monitor.ts';
import { monitorLine } from './monitor-line.ts';

const end = (address: string, port: number, identity: number, endpointId = 0, pod = ''): MonitorEnd => ({
  ...{ address, port, identity, endpointId, pod, labels: [] },
});
const record = (change: Partial<MonitorRecord>): MonitorRecord => ({
  ...{ time: '', type: 'trace', subtype: 'to-endpoint', reason: 0, direction: 'egress', endpointId: 7, link: 'lxc1' },
  ...{ flow: '0xab', source: end('10.0.0.7', 4000, 300, 7, 'a/b'), destination: end('10.0.0.9', 80, 301, 9, 'c/d') },
  ...{ proto: 6, protocol: 'tcp', tcpFlags: ['SYN'], icmp: '', connection: 'new', match: '', bytes: 74 },
  ...{ original: '', originalEnd: '', place: '' },
  ...change,
});

it.each<[why: string, change: Partial<MonitorRecord>, line: string]>([
  [
    'a trace to an endpoint names that one, not who tells of it',
    {},
    '-> endpoint 9 flow 0xab , identity 300->301 state new ifindex lxc1: 10.0.0.7:4000 -> 10.0.0.9:80 tcp SYN',
  ],
  [
    'a trace from an endpoint names where it comes from',
    { subtype: 'from-endpoint' },
    '<- endpoint 7 flow 0xab , identity 300->301 state new ifindex lxc1: 10.0.0.7:4000 -> 10.0.0.9:80 tcp SYN',
  ],
  [
    'reserved identities have names, and what was before is told',
    {
      subtype: 'to-network',
      destination: end('2001:db8::1', 80, 10),
      original: '10.0.0.7:4000',
      originalEnd: 'source',
    },
    '-> network flow 0xab , identity 300->world-ipv6 state new ifindex lxc1 orig-ip 10.0.0.7:4000: 10.0.0.7:4000 -> [2001:db8::1]:80 tcp SYN',
  ],
  [
    'a drop',
    { type: 'drop', subtype: 'Policy denied', place: 'policy.h:107', connection: '' },
    'xx drop (Policy denied) flow 0xab to endpoint 9, ifindex lxc1, file policy.h:107, , identity 300->301: 10.0.0.7:4000 -> 10.0.0.9:80 tcp SYN',
  ],
  [
    'a verdict',
    { type: 'policy-verdict', subtype: 'allow', match: 'L3-L4', direction: 'ingress', endpointId: 9 },
    'Policy verdict log: flow 0xab local EP ID 9, remote ID 300, proto 6, ingress, action allow, auth: disabled, match L3-L4, 10.0.0.7:4000 -> 10.0.0.9:80 tcp SYN',
  ],
  [
    'a socket',
    { type: 'trace-sock', subtype: 'post-xlate-fwd', socket: { number: '12', cgroupId: '34' }, tcpFlags: [] },
    '[post-xlate-fwd] cgroup_id: 34 sock_cookie: 12, dst 10.0.0.9:80 tcp',
  ],
])('%s', (_, change, line) => expect(monitorLine(record(change), { names: false })).toBe(line));

it('with names', () => {
  expect(monitorLine(record({}), { names: true })).toContain('10.0.0.7:4000 (a/b) -> 10.0.0.9:80 (c/d)');
  const socket = record({ type: 'trace-sock', subtype: 'pre-xlate-fwd', socket: { number: '1', cgroupId: '2' } });
  expect(monitorLine(socket, { names: true })).toMatch(/dst 10\.0\.0\.9:80 \(c\/d\) tcp, of a\/b$/);
});
