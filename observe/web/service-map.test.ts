/** The service map's arithmetic: what several places and nodes saw is one flow, and memory is bounded. */
import { expect, it } from 'vitest';
import type { Flow, FlowEndpoint } from '../hubble/types.ts';
import { merged, ServiceMap } from './service-map.ts';

const end = (name: string): FlowEndpoint => ({
  ...{ ID: 1, identity: 1000, cluster_name: 'c', namespace: 'shop', pod_name: `${name}-0` },
  labels: [`k8s:app=${name}`],
});
const NOW = 1_700_000_000_000;

function flow(change: Partial<Flow>, from = 'web', to = 'db', port = 5432): Flow {
  return {
    time: { seconds: NOW / 1000, nanos: 0 },
    uuid: '',
    emitter: { name: 'Hubble', version: '' },
    verdict: 'FORWARDED',
    source: end(from),
    destination: end(to),
    l4: { TCP: { source_port: 40_000, destination_port: port, flags: {} } },
    Type: 'L3_L4',
    node_name: 'n',
    event_type: { type: 4, sub_type: 0 },
    traffic_direction: 'EGRESS',
    trace_observation_point: 'TO_ENDPOINT',
    is_reply: { value: false },
    Summary: '',
    ...change,
  };
}
const verdict = (direction: Flow['traffic_direction'], change: Partial<Flow> = {}): Flow => {
  const { trace_observation_point: _, is_reply: __, ...rest } = flow({ ...change, traffic_direction: direction });
  return { ...rest, event_type: { type: 5, sub_type: 0 } };
};
const answer = (trace_observation_point: string): Flow => ({
  ...flow({ is_reply: { value: true }, trace_observation_point }, 'db', 'web', 40_000),
  l4: { TCP: { source_port: 5432, destination_port: 40_000, flags: {} } },
});
const counts = (...maps: ServiceMap[]): string[] =>
  merged(maps.map((map) => map.view(NOW))).edges.map((edge) => `${edge.from} ${edge.to} ${edge.verdict} ${edge.flows}`);

it('counts a connection once, though both nodes, policy and the way back tell of it', () => {
  const [here, there] = [new ServiceMap(), new ServiceMap()];
  for (let i = 0; i < 3; i++) {
    here.add(verdict('EGRESS'));
    here.add(flow({ trace_observation_point: 'TO_NETWORK' }));
    there.add(verdict('INGRESS'));
    there.add(flow({}));
    there.add(answer('TO_NETWORK'));
    here.add(answer('TO_ENDPOINT'));
  }
  expect(counts(here, there)).toEqual(['shop/web shop/db forwarded 3']);
  // One node alone is enough to know.
  expect(counts(here)).toEqual(['shop/web shop/db forwarded 3']);
  expect(counts(there)).toEqual(['shop/web shop/db forwarded 3']);
});

it('adds up what different nodes saw of different connections', () => {
  const [one, other] = [new ServiceMap(), new ServiceMap()];
  one.add(flow({}));
  other.add(flow({}));
  other.add(flow({}));
  expect(counts(one, other)).toEqual(['shop/web shop/db forwarded 3']);
});

it('counts a denied packet once, though verdict and drop tell of it, and passes over sockets', () => {
  const map = new ServiceMap();
  const denied = { verdict: 'DROPPED', drop_reason_desc: 'POLICY_DENIED' } as const;
  map.add(verdict('INGRESS', denied));
  const { trace_observation_point: _, ...drop } = flow({ ...denied, event_type: { type: 1, sub_type: 133 } });
  map.add(drop);
  map.add(flow({ Type: 'SOCK', verdict: 'TRANSLATED' }));
  expect(counts(map)).toEqual(['shop/web shop/db denied 1']);
  expect(map.view(NOW).edges[0]?.reasons).toEqual({ POLICY_DENIED: 1 });
});

it('has one API server, whatever its addresses, and a way to select it', () => {
  const map = new ServiceMap();
  for (const last of [1, 2]) {
    const labels = [`cidr:172.28.2.${last}/32`, 'reserved:kube-apiserver', 'reserved:world-ipv4'];
    const apiServer = { ...end(''), identity: 2 ** 24 + last, namespace: '', pod_name: '', labels };
    map.add(flow({ destination: apiServer }, 'web', '', 6443));
  }
  expect(counts(map)).toEqual(['shop/web kube-apiserver forwarded 2']);
  const [node] = map.view(NOW).nodes.filter(({ name }) => name === 'kube-apiserver');
  expect(node).toMatchObject({ kind: 'other', words: [['label', 'reserved:kube-apiserver']] });
});

it('keeps so many edges, and forgets those that were idle for long', () => {
  const map = new ServiceMap();
  for (let port = 1; port <= 6_000; port++) map.add(flow({}, 'web', 'db', port));
  expect(map.view(NOW).edges).toHaveLength(5_000);
  expect(map.view(NOW + 11 * 60_000)).toEqual({ nodes: [], edges: [] });
});
