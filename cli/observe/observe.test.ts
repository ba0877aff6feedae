/** Flags of `observe` as filters, times, and flows as lines. */

import { describe, expect, it } from 'vitest';
import { flowJson } from '../../observe/hubble/flow-json.ts';
import type { Flow } from '../../observe/hubble/types.ts';
import { coloursFor } from '../output/colours.ts';
import { UsageError } from '../usage.ts';
import { parseFilters } from './filters.ts';
import { compact, dict, lostText, tab } from './flow-text.ts';
import { parseTime } from './time.ts';

describe('filters', () => {
  it.each<[string, object[], object[]]>([
    ['', [], []],
    [
      '--from-pod shop/web --to-port 80 --to-port 443',
      [{ source_pod: ['shop/web'], destination_port: ['80', '443'] }],
      [],
    ],
    [
      '-n shop --verdict dropped',
      [
        { source_pod: ['shop/'], verdict: ['DROPPED'] },
        { destination_pod: ['shop/'], verdict: ['DROPPED'] },
      ],
      [],
    ],
    ['--protocol=tcp --not --from-identity host', [{ protocol: ['tcp'] }], [{ source_identity: [1] }]],
    ['--not --ip 10.0.0.1', [], [{ source_ip: ['10.0.0.1'] }, { destination_ip: ['10.0.0.1'] }]],
    [
      '-t trace:to-network -6',
      [{ event_type: [{ type: 4, match_sub_type: true, sub_type: 11 }], ip_version: ['IPv6'] }],
      [],
    ],
    [
      '--tcp-flags syn,ack --drop-reason-desc policy-denied',
      [{ tcp_flags: [{ SYN: true, ACK: true }], drop_reason_desc: ['POLICY_DENIED'] }],
      [],
    ],
    [
      '--http-header x-id:1:2 --http-url /a --ip-version v6 --interface eth0 --snat-ip 192.0.2.1 --ip-trace-id 7 --unencrypted',
      [
        {
          http_header: [{ key: 'x-id', value: '1:2' }],
          http_url: ['/a'],
          ip_version: ['IPv6'],
          interface: [{ name: 'eth0' }],
          source_ip_xlated: ['192.0.2.1'],
          ip_trace_id: [7],
          encrypted: [false],
        },
      ],
      [],
    ],
    [
      '-n shop --pod web --pod /db --from-namespace jobs',
      [
        { source_pod: ['shop/web', 'jobs/web', 'shop/db', 'jobs/db'] },
        { destination_pod: ['shop/web', 'shop/db'], source_pod: ['jobs/'] },
      ],
      [],
    ],
    ['--not --cel-expression _flow.uuid==""', [], [{ experimental: { cel_expression: ['_flow.uuid==""'] } }]],
  ])('%s', (line, whitelist, blacklist) => {
    const args = line.split(' ').filter(Boolean);
    expect(parseFilters(args)).toEqual({ whitelist, blacklist, rest: [] });
  });

  it('leaves what is no filter', () => {
    expect(parseFilters(['--last', '5', '--pod', 'a/b', '-f']).rest).toEqual(['--last', '5', '-f']);
  });

  it.each<[flag: string, value: string, why: string]>([
    ['verdict', 'good', 'expected FORWARDED'],
    ['to-identity', 'nobody', 'expected a number or one of host'],
    ['type', 'flow', 'expected drop'],
    ['http-header', 'x', 'expected NAME:VALUE'],
    ['ip-version', '5', 'expected 4 or 6'],
    ['http-path', '(', 'missing closing )'],
    ['http-url', '[a', 'missing closing ]'],
    ['dns-query', '*', 'missing argument'],
    ['from-label', 'a==b==', 'label selector "a==b=="'],
    ['label', 'x in (a', 'parentheses'],
    ['label', 'x,,y', 'commas'],
    ['label', 'x,', 'commas'],
    ['ip', '10.0.0.300', 'expected an IP address'],
    ['to-ip', '10.0.0.0/40', 'expected an IP address'],
    ['ip', 'fd00::/129', 'expected an IP address'],
    ['port', 'http', 'expected a port number'],
    ['to-port', '65536', 'expected a port number'],
    ['protocol', 'foo', 'expected tcp'],
    ['tcp-flags', 'SYN,FOO', 'expected FIN, SYN'],
    ['drop-reason-desc', 'POLICY_DENIE', 'did you mean POLICY_DENIED?'],
    ['http-status', '7x', 'expected three digits'],
    ['cel-expression', 'x+', 'Unexpected token'],
  ])('refuses --%s %s by name', (flag, value, why) => {
    const refused = (): unknown => parseFilters([`--${flag}`, value]);
    expect(refused).toThrow(UsageError);
    expect(refused).toThrow(`flag --${flag} is ${JSON.stringify(value)}`);
    expect(refused).toThrow(why);
  });

  it.each(['--pod', '--not --last 3', '--not', '-n shop --pod jobs/web'])('refuses %s', (line) => {
    expect(() => parseFilters(line.split(' '))).toThrow(UsageError);
  });
});

describe('times', () => {
  it('are that long ago, or dates', () => {
    expect(parseTime('since', '1h30m', 10_000_000)).toEqual({ seconds: 4_600, nanos: 0 });
    expect(parseTime('since', '1970-01-01T00:00:01.5Z', 0)).toEqual({ seconds: 1, nanos: 500_000_000 });
    expect(() => parseTime('until', 'soon', 0)).toThrow(/--until is "soon"; expected a duration/);
  });
});

describe('a flow', () => {
  const plain = coloursFor({ isTTY: false } as NodeJS.WriteStream);
  const flow: Flow = {
    time: { seconds: 1, nanos: 2_000_000 },
    uuid: 'u',
    emitter: { name: 'Hubble', version: '1' },
    verdict: 'DROPPED',
    drop_reason: 133,
    drop_reason_desc: 'POLICY_DENIED',
    IP: { source: '10.0.1.5', destination: '2001:db8::1', ipVersion: 'IPv6' },
    l4: { TCP: { source_port: 1024, destination_port: 80, flags: { SYN: true } } },
    source: { ID: 3, identity: 4000, namespace: 'shop', pod_name: 'web-0', cluster_name: '', labels: ['k8s:app=web'] },
    destination: {
      ID: 0,
      identity: 10,
      namespace: '',
      pod_name: '',
      cluster_name: '',
      labels: ['reserved:world-ipv6'],
    },
    Type: 'L3_L4',
    node_name: 'node-1',
    event_type: { type: 1, sub_type: 133 },
    traffic_direction: 'EGRESS',
    egress_denied_by: [{ name: 'lock', namespace: 'shop', labels: [], revision: 0, kind: 'CiliumNetworkPolicy' }],
    Summary: 'TCP Flags: SYN',
  };

  it('is a line: who to whom, what, and by whose rule', () => {
    expect(compact(flow, plain)).toMatch(
      /: shop\/web-0:1024 \(ID:4000\) <> \[2001:db8::1\]:80 \(world-ipv6\) policy denied DROPPED by shop\/lock \(TCP Flags: SYN\)$/,
    );
    expect(tab(flow)[2]).toBe('[2001:db8::1]:80 (world-ipv6)');
    expect(dict(flow, 'node-1', plain)).toContain('VERDICT: DROPPED');
  });

  it('says what policy did, and where a socket was translated', () => {
    const { drop_reason: _, drop_reason_desc: __, ...rest } = flow;
    const verdict: Flow = { ...rest, event_type: { type: 5, sub_type: 0 }, policy_match_type: 2 };
    expect(tab(verdict).slice(3, 5)).toEqual(['policy-verdict:L3-L4 EGRESS', 'DENIED']);
    const socket: Flow = {
      ...rest,
      verdict: 'TRANSLATED',
      event_type: { type: 7, sub_type: 2 },
      sock_xlate_point: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
    };
    expect(tab(socket).slice(3, 5)).toEqual(['post-xlate-fwd', 'TRANSLATED']);
  });

  it('has a service by its name, where nothing else is known of the address', () => {
    const unknown = { ID: 0, identity: 0, namespace: '', pod_name: '', cluster_name: '', labels: [] };
    const service = { name: 'web', namespace: 'shop' };
    const to = (destination: Flow['destination']) => tab({ ...flow, destination, destination_service: service })[2];
    expect(to(unknown)).toBe('shop/web:80');
    expect(to(flow.destination)).toBe('shop/web:80 (world-ipv6)');
    expect(to(flow.source)).toBe('shop/web-0:80 (ID:4000)');
    expect(tab({ ...flow, destination: unknown })[2]).toBe('[2001:db8::1]:80 (unknown)');
  });

  it('points back when it is a reply', () => {
    const reply: Flow = { ...flow, is_reply: { value: true }, verdict: 'FORWARDED' };
    expect(compact(reply, plain)).toContain('[2001:db8::1]:80 (world-ipv6) <- shop/web-0:1024 (ID:4000)');
  });

  it('is JSON with the names of the protocol, and without what is empty', () => {
    const json = flowJson({ flow: { ...flow, is_reply: { value: false } }, node_name: 'node-1', time: flow.time });
    expect(json).toMatchObject({
      flow: {
        time: '1970-01-01T00:00:01.002000000Z',
        verdict: 'DROPPED',
        is_reply: false,
        source: { pod_name: 'web-0' },
      },
      node_name: 'node-1',
    });
    expect(JSON.stringify(json)).not.toContain('cluster_name');
  });

  it('says what was lost, with the names of the protocol, on processor 0 too', () => {
    const lost_events = { source: 'PERF_EVENT_RING_BUFFER', num_events_lost: 2 ** 40, cpu: {} } as const;
    expect(flowJson({ lost_events, node_name: 'n', time: flow.time } as never)).toEqual({
      lost_events: { source: 'PERF_EVENT_RING_BUFFER', num_events_lost: String(2 ** 40), cpu: 0 },
      node_name: 'n',
      time: '1970-01-01T00:00:01.002000000Z',
    });
    expect(lostText({ ...lost_events, cpu: { value: 1 } }, plain)).toBe(
      `EVENTS LOST: PERF_EVENT_RING_BUFFER CPU(1) ${2 ** 40}`,
    );
  });
});
