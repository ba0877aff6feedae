/** Each filter of Hubble on one flow. */
import { describe, expect, it } from 'vitest';
import { compileFilters, FilterError, type FlowFilter } from './filter.ts';
import type { Flow, FlowEndpoint } from './types.ts';

const end = (change: Partial<FlowEndpoint>): FlowEndpoint => ({
  ID: 0,
  identity: 2,
  cluster_name: '',
  namespace: '',
  labels: ['reserved:world'],
  pod_name: '',
  ...change,
});
const flow: Flow = {
  time: { seconds: 100, nanos: 5 },
  uuid: 'u1',
  emitter: { name: 'Hubble', version: '1' },
  verdict: 'FORWARDED',
  IP: { source: '10.0.1.5', destination: '2001:db8::1', ipVersion: 'IPv6' },
  l4: { TCP: { source_port: 1024, destination_port: 80, flags: { SYN: true, ACK: true } } },
  source: end({
    ID: 3,
    identity: 4000,
    namespace: 'shop',
    pod_name: 'web-0',
    cluster_name: 'c',
    labels: ['k8s:app=web', 'k8s:tier=front'],
  }),
  destination: end({}),
  Type: 'L3_L4',
  node_name: 'c/node-1',
  node_labels: ['kubernetes.io/os=linux', 'zone=a'],
  event_type: { type: 4, sub_type: 3 },
  destination_service: { name: 'db', namespace: 'shop' },
  traffic_direction: 'EGRESS',
  is_reply: { value: false },
  interface: { index: 4, name: 'lxc4' },
  Summary: '',
};

const cases: [FlowFilter, boolean][] = [
  [{}, true],
  [{ source_ip: ['10.0.1.5'] }, true],
  [{ source_ip: ['10.0.1.6', '10.0.0.0/16'] }, true],
  [{ source_ip: ['10.0.2.0/24'] }, false],
  [{ destination_ip: ['2001:db8::/32'] }, true],
  [{ destination_ip: ['0.0.0.0/0'] }, false],
  [{ source_pod: ['shop/web'] }, true],
  [{ source_pod: ['shop/'] }, true],
  [{ source_pod: ['/web-0'] }, true],
  [{ source_pod: ['web'] }, false],
  [{ destination_pod: ['/'] }, false],
  [{ destination_service: ['shop/d'] }, true],
  [{ source_service: ['shop/d'] }, false],
  [{ verdict: ['DROPPED', 'FORWARDED'] }, true],
  [{ verdict: ['DROPPED'] }, false],
  [{ event_type: [{ type: 4 }] }, true],
  [{ event_type: [{ type: 4, match_sub_type: true, sub_type: 0 }] }, false],
  [{ source_label: ['app=web'] }, true],
  [{ source_label: ['k8s:app in (web, api),tier=front'] }, true],
  [{ source_label: ['!reserved:host'] }, true],
  [{ source_label: ['app!=web'] }, false],
  [{ destination_label: ['reserved:world'] }, true],
  [{ protocol: ['TCP'] }, true],
  [{ protocol: ['udp', 'icmp'] }, false],
  [{ source_port: ['1024'], destination_port: ['443', '80'] }, true],
  [{ destination_port: ['443'] }, false],
  [{ reply: [false] }, true],
  [{ reply: [true] }, false],
  [{ source_identity: [4000] }, true],
  [{ destination_identity: [4000] }, false],
  [{ tcp_flags: [{ SYN: true, ACK: true }] }, true],
  [{ tcp_flags: [{ RST: true }] }, false],
  [{ node_labels: ['kubernetes.io/os=linux', 'absent'] }, true],
  [{ node_labels: ['zone=a'] }, true],
  [{ node_labels: ['k8s:zone=a'] }, false],
  [{ node_labels: ['!zone'] }, false],
  [{ node_name: ['node-*'] }, true],
  [{ node_name: ['c/'] }, true],
  [{ node_name: ['d/*'] }, false],
  [{ ip_version: ['IPv6'] }, true],
  [{ traffic_direction: ['INGRESS'] }, false],
  [{ interface: [{ name: 'lxc4' }] }, true],
  [{ interface: [{ index: 5 }] }, false],
  [{ source_cluster_name: ['c'] }, true],
  [{ uuid: ['u2'] }, false],
  [{ encrypted: [true] }, false],
  [{ http_status_code: ['4+'] }, false],
];

describe('a filter', () => {
  it.each(cases)('%j matches: %s', (filter, expected) => {
    expect(compileFilters([filter])(flow)).toBe(expected);
    expect(compileFilters([], [filter])(flow)).toBe(!expected);
  });

  it('takes a dropped flow without a reply flag as no reply, and any other as neither', () => {
    const { is_reply: _, ...unknown } = flow;
    const isNoReply = compileFilters([{ reply: [false] }]);
    expect(isNoReply(unknown)).toBe(false);
    expect(isNoReply({ ...unknown, verdict: 'DROPPED' })).toBe(true);
  });

  it.each([
    { source_ip: ['10.0.0.0/x'] },
    { destination_port: ['http'] },
    { protocol: ['tpc'] },
    { http_path: ['['] },
    { source_label: ['a in (b'] },
    { http_status_code: ['40'] },
    { experimental: { cel_expression: ['true &&'] } },
  ])('refuses %j by field and value', (filter) => {
    expect(() => compileFilters([filter])).toThrow(FilterError);
  });

  it.each<[string, FlowFilter, RegExp]>([
    ['many values', { source_ip: Array(1_000).fill('10.0.0.1') }, /1001: expected at most 1000/],
    ['many expressions', { experimental: { cel_expression: Array(33).fill('true') } }, /33: expected at most 32/],
    ['a long text', { node_name: ['*'.repeat(5_000)] }, /node_name: "\*{40}…": longer than 4096/],
  ])('is not so large that each flow takes long to look at: %s', (_, filter, why) => {
    expect(() => compileFilters([filter])).toThrow(why);
    expect(() => compileFilters([], [filter])).toThrow(why);
  });
});
