/** Counted changes, and both formats of what was counted. */
import { Subject } from 'rxjs';
import { expect, it } from 'vitest';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { OpRecord, Transition } from '../../reconcilers/inspect.ts';
import { changeMetrics } from './change-metrics.ts';
import { expose, formOf, newRegistry, OPENMETRICS, PROMETHEUS } from './exposition.ts';
import { KubeCounts } from './kube-metrics.ts';
import { propagationMetrics } from './propagation-metrics.ts';

const cause = { seq: 7, at: 1_000, source: 'kube', type: 'kube.upserted', subject: 'networkpolicies/shop/db' } as const;
const op = (change: Partial<OpRecord>): OpRecord => ({
  ...{ table: 'bpf.policy', key: 'k', action: 'put', revision: 1, owners: [], reason: 'desired' },
  ...{ cause, plannedAt: 1_010, doneAt: 1_030, ...change },
});

const registry = newRegistry();
const ops$ = new Subject<OpRecord>();
const transitions$ = new Subject<Transition>();
const engine = new Engine(kinds, { rows: () => [], write: () => {} });
const stop = changeMetrics(registry, Object.assign(engine, { ops$, transitions$ }));

it('counts ops, addresses, services and endpoints', async () => {
  const { doneAt: _, ...planned } = op({});
  ops$.next(planned);
  ops$.next(op({}));
  ops$.next(op({ key: 'other', doneAt: 1_500 }));
  ops$.next(op({ action: 'delete', error: { kind: 'failed', errno: 'ENOENT', message: 'x' } as never }));
  ops$.next(op({ table: 'bpf.frontends', cause: { ...cause, seq: 8, subject: 'services/shop/web' } }));
  ops$.next(op({ table: 'local.endpoints', value: { ipv4: '10.0.0.5', ipv6: '' } }));
  const moves: [string, string][] = [
    ['', 'created'],
    ['created', 'programmed'],
    ['programmed', 'ready'],
    ['ready', 'failing'],
  ];
  for (const [at, [from, to]] of moves.entries())
    transitions$.next({ machine: 'endpoint/a', from, to, on: 'x', cause: { ...cause, at: 1_000 + at * 100 } });
  ops$.next(op({ cause: { ...cause, seq: 9, subject: 'endpoint/shop/web-0' } }));
  ops$.next(op({ table: 'bpf.ipcache', error: { kind: 'failed', errno: 'E2BIG', message: 'x' } as never }));
  ops$.next(op({ error: { kind: 'cancelled', message: 'x' } as never }));
  const text = await expose(registry, PROMETHEUS);
  for (const line of [
    'cilium_bpf_map_ops_total{map_name="policy",operation="update",outcome="success"} 3',
    'cilium_bpf_map_ops_total{map_name="policy",operation="delete",outcome="fail"} 1',
    'cilium_errors_warnings_total{level="error",subsystem="bpf.policy"} 1',
    'cilium_policy_implementation_delay_bucket{le="0.05",source="k8s"} 1',
    'cilium_policy_implementation_delay_count{source="k8s"} 2',
    'cilium_policy_incremental_update_duration_count{scope="global"} 1',
    'cilium_ipcache_errors_total{type="upsert",error="E2BIG"} 1',
    'cilium_controllers_runs_total{status="success"} 5',
    'cilium_controllers_runs_total{status="failure"} 2',
    'cilium_controllers_runs_duration_seconds_count{status="failure"} 2',
    'cilium_service_implementation_delay_count{action="upsert"} 1',
    'cilium_ipam_events_total{action="allocate",family="ipv4"} 1',
    'cilium_endpoint_regenerations_total{reason="kube.upserted",outcome="success",error=""} 1',
    'cilium_endpoint_regenerations_total{reason="kube.upserted",outcome="failure",error="failed"} 1',
  ])
    expect(text).toContain(`${line}\n`);
});

it('measures how long the cluster takes to hear of a new endpoint, and of none that was there', async () => {
  const ops$ = new Subject<OpRecord>();
  const kube = new KubeCounts(() => 0);
  const of = newRegistry();
  const end = propagationMetrics(of, { ops$ }, kube, () => 1_260);
  const wrote = (name: string, before?: object): void =>
    ops$.next(op({ table: 'kube.objects', key: `ciliumendpoints/shop/${name}`, before, plannedAt: 1_000 }));
  const told = (name: string, resource = 'ciliumendpoints'): void =>
    kube.count({
      type: 'kube.upserted',
      resource,
      object: { apiVersion: 'v', kind: 'K', metadata: { name, namespace: 'shop', uid: 'u' } },
    });
  wrote('new');
  wrote('known', {});
  told('new', 'pods');
  for (const name of ['new', 'new', 'known', 'elsewhere']) told(name);
  const text = await expose(of, PROMETHEUS);
  expect(text).toContain('cilium_endpoint_propagation_delay_seconds_sum 0.26\n');
  expect(text).toContain('cilium_endpoint_propagation_delay_seconds_count 1\n');
  end();
});

it('counts services that came, changed and went, as the API server tells of them', async () => {
  const kube = new KubeCounts(() => 0);
  const object = { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop', uid: 'u' } };
  const other = { ...object, metadata: { ...object.metadata, namespace: 'else' } };
  for (const one of [object, object, other, object])
    kube.count({ type: 'kube.upserted', resource: 'services', object: one });
  kube.count({ type: 'kube.deleted', resource: 'services', object });
  kube.count({ type: 'kube.upserted', resource: 'services', object });
  kube.count({ type: 'kube.upserted', resource: 'pods', object });
  const of = newRegistry();
  kube.register(of);
  const lines = (await expose(of, PROMETHEUS))
    .split('\n')
    .filter((line) => line.startsWith('cilium_services_events_total{'));
  expect(lines).toEqual([
    'cilium_services_events_total{action="add"} 3',
    'cilium_services_events_total{action="update"} 2',
    'cilium_services_events_total{action="delete"} 1',
  ]);
});

it('tells by exemplars which object it was, to those who take OpenMetrics', async () => {
  const open = await expose(registry, OPENMETRICS);
  expect(open).toMatch(
    /cilium_policy_implementation_delay_bucket\{le="0.05",source="k8s"\} 1 # \{seq="7",subject="networkpolicies\/shop\/db"\} 0.03 \d/,
  );
  expect(open).toContain('# TYPE cilium_bpf_map_ops counter\n');
  expect(open.endsWith('# EOF\n')).toBe(true);
  const plain = await expose(registry, PROMETHEUS);
  expect(plain).toContain('# TYPE cilium_bpf_map_ops_total counter\n');
  expect(plain).not.toMatch(/ # \{|# EOF/);
  const [samples, same] = [open, plain].map((text) =>
    text.split('\n').flatMap((line) => (line === '' || line.startsWith('#') ? [] : [line.replace(/ # \{.*/, '')])),
  );
  expect(same).toEqual(samples);
  stop();
});

it.each([
  [undefined, PROMETHEUS],
  ['*/*', PROMETHEUS],
  ['application/openmetrics-text', OPENMETRICS],
  // As Prometheus asks.
  ['application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1', OPENMETRICS],
  ['text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.2', PROMETHEUS],
  ['application/openmetrics-text;q=0, text/plain', PROMETHEUS],
])('accept %s: %s', (accept, form) => {
  expect(formOf(accept)).toBe(form);
});
