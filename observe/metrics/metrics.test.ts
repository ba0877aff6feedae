/** Metrics over HTTP: of an engine that has taken events, and of flows. */
import { connect } from 'node:net';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { Flow } from '../hubble/types.ts';
import { type Metrics, startMetrics } from './metrics-server.ts';

const PORT = 20_000 + (process.pid % 10_000);
const listen = `127.0.0.1:${PORT}`;
const engine = new Engine(kinds, { rows: () => [], write: () => {} });
const end = (labels: string[]) => ({ ID: 0, identity: 2, cluster_name: '', namespace: 'shop', labels, pod_name: '' });
const flow: Flow = {
  time: { seconds: 1, nanos: 0 },
  uuid: '',
  emitter: { name: 'Hubble', version: '1' },
  verdict: 'DROPPED',
  drop_reason_desc: 'POLICY_DENIED',
  IP: { source: '10.0.0.1', destination: '203.0.113.1', ipVersion: 'IPv4' },
  l4: { TCP: { source_port: 1, destination_port: 2, flags: { SYN: true } } },
  source: end(['k8s:app=web']),
  destination: end(['reserved:world']),
  Type: 'L3_L4',
  node_name: 'n',
  event_type: { type: 1, sub_type: 133 },
  traffic_direction: 'EGRESS',
  Summary: 'TCP Flags: SYN',
};

let metrics: Metrics;
beforeAll(async () => {
  const agent = {
    nodeName: 'n',
    version: '1.2.3',
    build: 'abc',
    startedAt: 0,
    features: { kernel: '6', has: {}, missing: [] },
  };
  const sources = { inspector: engine, agent, kernelRows: async () => new Map() };
  metrics = await startMetrics(listen, sources, () => 1000);
  engine.step({ seq: 1, at: 1, source: 'test', event: { type: 'source.synced', source: 'local' } });
  metrics.count(flow);
  metrics.count(flow);
});
afterAll(() => metrics?.close());

it('has the field’s names and labels', async () => {
  const answer = await fetch(`http://${listen}/metrics`);
  expect(answer.headers.get('content-type')).toContain('text/plain');
  const text = await answer.text();
  for (const line of [
    'cilium_version{version="1.2.3",revision="abc",arch="x64"} 1',
    'cilium_endpoint 0',
    'axoneme_engine_events_total 1',
    'hubble_flows_processed_total{type="Drop",subtype="",verdict="DROPPED",protocol="TCP"} 2',
    'hubble_drop_total{reason="POLICY_DENIED",protocol="TCP"} 2',
    'hubble_flows_to_world_total{protocol="TCP",verdict="DROPPED"} 2',
    'hubble_tcp_flags_total{flag="SYN",family="IPv4"} 2',
  ])
    expect(text).toContain(line);
  expect(text).toMatch(/nodejs_eventloop_lag_seconds /);
  expect(text).toBe(text.replaceAll('NaN', ''));
});

it('is asked again without counting again', async () => {
  await metrics.text();
  expect(await metrics.text()).toContain('axoneme_engine_events_total 1\n');
});

it('answers nothing else, and is gone when closed', async () => {
  expect((await fetch(`http://${listen}/`)).status).toBe(404);
  expect((await fetch(`http://${listen}/metrics`, { method: 'POST' })).status).toBe(404);
  await metrics.close();
  await new Promise<void>((resolve, reject) => {
    connect(PORT, '127.0.0.1')
      .once('error', () => resolve())
      .once('connect', () => reject(new Error('still there')));
  });
});
