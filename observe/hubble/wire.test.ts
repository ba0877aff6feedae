/** Our encoder against the one that the protocol's files come with: what a client reads is the same. */
import { loadSync } from '@grpc/proto-loader';
import { describe, expect, it } from 'vitest';
import { Frames } from './frames.ts';
import { PROTO_FILES, PROTO_OPTIONS } from './proto-files.ts';
import { wireEncoder } from './wire.ts';

const definitions = loadSync(PROTO_FILES, PROTO_OPTIONS);
const NAME = 'observer.GetFlowsResponse';
const { serialize, deserialize } = definitions[NAME] as unknown as {
  serialize(message: object): Buffer;
  deserialize(bytes: Buffer): object;
};
const encode = wireEncoder(definitions, NAME);
const time = { seconds: 1_790_000_000, nanos: 999_999_999 };
const end = Object.freeze({
  ID: 77,
  identity: 16_777_217,
  cluster_name: 'c',
  namespace: 'größe',
  labels: ['k8s:app=web', '', 'any:x=ü'],
  pod_name: 'a'.repeat(300),
  workloads: [{ name: 'web', kind: 'Deployment' }],
});
const policy = { name: 'p', namespace: 'n', labels: ['x'], revision: 2 ** 40, kind: 'CiliumNetworkPolicy' };
const flow = {
  time,
  uuid: '01234567-89ab-8def-8000-000000000001',
  emitter: { name: 'Hubble', version: '1' },
  verdict: 'DROPPED',
  drop_reason: 133,
  drop_reason_desc: 'POLICY_DENIED',
  ethernet: { source: '02:00:00:00:00:01', destination: '02:00:00:00:00:02' },
  IP: { source: 'fd00::1', destination: 'fd00::2', ipVersion: 'IPv6', source_xlated: '' },
  l4: { TCP: { source_port: 65_535, destination_port: 0, flags: { SYN: true, ACK: false } } },
  source: end,
  destination: end,
  Type: 'L3_L4',
  node_name: 'c/n',
  node_labels: Object.freeze(['a=b', '', 'größe=ü']),
  event_type: { type: 1, sub_type: 133 },
  destination_service: { name: 's', namespace: 'n' },
  traffic_direction: 'EGRESS',
  policy_match_type: 2,
  trace_observation_point: 'TO_ENDPOINT',
  trace_reason: 'REPLY',
  file: { name: 'nat.h', line: 120 },
  is_reply: { value: false },
  interface: { index: 7, name: 'lxc1' },
  egress_denied_by: [policy, policy],
  ingress_allowed_by: [],
  sock_xlate_point: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
  socket_cookie: Number.MAX_SAFE_INTEGER,
  cgroup_id: 2 ** 32,
  Summary: 'TCP Flags: SYN',
  nothing_of_the_protocol: 5,
};

describe('what a client reads', () => {
  it.each<[string, object]>([
    ['a flow with everything', { flow, node_name: 'c/n', time }],
    ['the same again, its ends being known', { flow, node_name: 'c/n', time }],
    [
      'UDP, a reply',
      { flow: { l4: { UDP: { source_port: 1, destination_port: 2 } }, is_reply: { value: true } }, time },
    ],
    ['SCTP', { flow: { l4: { SCTP: { source_port: 1, destination_port: 2, chunk_type: 'ABORT' } } }, time }],
    ['ICMP', { flow: { l4: { ICMPv6: { type: 128, code: 0 } } } }],
    ['what is not set', { flow: { verdict: 'NO_SUCH', IP: undefined, l4: null }, node_name: '' }],
    ['an empty flow', { flow: {} }],
    ['a negative number', { flow: { event_type: { type: -1, sub_type: 1 } } }],
    [
      'lost events',
      {
        lost_events: {
          source: 'PERF_EVENT_RING_BUFFER',
          num_events_lost: 2 ** 50,
          cpu: { value: 0 },
          first: time,
          last: time,
        },
        node_name: 'n',
        time,
      },
    ],
    ['status of a node', { node_status: { state_change: 'NODE_ERROR', node_names: ['a', 'b'], message: 'x' } }],
    ['more than fits at first', { flow: { Summary: 'ß'.repeat(50_000) }, node_name: 'n' }],
  ])('%s', (_, message) => {
    expect(deserialize(encode(message))).toEqual(deserialize(serialize(message)));
  });

  it('a field of a type that is not known is refused, never written wrongly', () => {
    const status = wireEncoder(definitions, 'observer.ServerStatusResponse');
    expect(() => status({ flows_rate: 1.5 })).toThrow('TYPE_DOUBLE');
  });
});

it('many messages in one write have a prefix each, behind one that grpc-js makes', () => {
  const messages = [{ flow }, { node_name: 'b' }, {}].map(encode);
  const frames = new Frames(messages);
  const output = Buffer.alloc(frames.byteLength + 5, 0xff);
  output.writeUInt8(0, 0);
  output.writeUInt32BE(frames.byteLength, 1);
  frames.copy(output, 5);
  const read: Buffer[] = [];
  for (let at = 0; at < output.length; ) {
    expect(output[at]).toBe(0);
    const length = output.readUInt32BE(at + 1);
    read.push(output.subarray(at + 5, at + 5 + length));
    at += 5 + length;
  }
  expect(read).toEqual(messages);
});
