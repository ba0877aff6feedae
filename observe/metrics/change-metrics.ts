/**
 * What changes cost and how they end, counted as the engine tells of them; Cilium's names (reference crds-and-cli.md, section 5).
 *
 * - An exemplar names the object and the number of the event at the root: `axoneme explain` tells the rest.
 * - Ops come by the thousand: an exemplar is given once for each event, and counts are kept plainly until somebody asks.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { Subscription } from 'rxjs';
import type { Inspector, OpRecord, Transition } from '../../reconcilers/inspect.ts';
import type { LocalEndpointRow, TableName } from '../../state/tables.ts';
import { isPolicy } from '../hubble/agent-events.ts';

const BUCKETS_SECONDS = [0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30];
/** OpenMetrics allows 128 characters for all labels of an exemplar. */
const SUBJECT_MAX = 90;
const SERVICE_TABLES = new Set<TableName>(['bpf.frontends', 'bpf.backend-sets', 'bpf.backends']);

type Labels = Record<string, string>;

/** Returns what ends the counting. */
export function changeMetrics(registry: Registry, inspector: Inspector): () => void {
  const registers = [registry];
  const histogram = (name: string, help: string, labelNames: string[]) => {
    const made = new Histogram({
      ...{ name, help, labelNames, registers, buckets: BUCKETS_SECONDS },
      enableExemplars: true,
    });
    /** By labels: the event whose exemplar stands. */
    const told = new Map<string, number>();
    return (labels: Labels, key: string, seconds: number, { seq, subject }: OpRecord['cause']): void => {
      const isTold = told.get(key) === seq;
      told.set(key, seq);
      const exemplarLabels = isTold ? {} : { seq: String(seq), subject: subject.slice(0, SUBJECT_MAX) };
      made.observe({ labels, value: Math.max(0, seconds), exemplarLabels });
    };
  };
  const counts = (name: string, help: string, labelNames: string[]) => {
    const known = new Map<string, { labels: Labels; count: number }>();
    new Counter({
      ...{ name, help, labelNames, registers },
      collect() {
        this.reset();
        for (const { labels, count } of known.values()) this.inc(labels, count);
      },
    });
    return (...values: string[]): void => {
      const key = values.join('\n');
      const one = known.get(key);
      if (one) one.count++;
      else
        known.set(key, {
          labels: Object.fromEntries(labelNames.map((label, at) => [label, values[at] ?? ''])),
          count: 1,
        });
    };
  };

  const reconciled = histogram(
    'axoneme_reconcile_duration_seconds',
    'From the event that made an op necessary to its result',
    ['table'],
  );
  const policyDelay = histogram(
    'cilium_policy_implementation_delay',
    'From a change of a policy to its entries in the kernel',
    ['source'],
  );
  const serviceDelay = histogram(
    'cilium_service_implementation_delay',
    'From a change of a service to its entries in the kernel',
    ['action'],
  );
  const regenerated = histogram(
    'cilium_endpoint_regeneration_time_stats_seconds',
    'From what made an endpoint leave its last good state to the next one',
    ['scope', 'status'],
  );
  const incremental = histogram(
    'cilium_policy_incremental_update_duration',
    'From a new or changed identity to its entries in the kernel',
    ['scope'],
  );
  const runs = histogram('cilium_controllers_runs_duration_seconds', 'Of ops, from plan to result', ['status']);
  const runsTotal = counts('cilium_controllers_runs_total', 'Ops of machines by result', ['status']);
  const ipcacheErrors = counts('cilium_ipcache_errors_total', 'Addresses that the kernel did not take', [
    'type',
    'error',
  ]);
  const mapOps = counts('cilium_bpf_map_ops_total', 'Changes of maps', ['map_name', 'operation', 'outcome']);
  const errors = counts('cilium_errors_warnings_total', 'Errors that were logged', ['level', 'subsystem']);
  const ipam = counts('cilium_ipam_events_total', 'Addresses that pods were given or gave back', ['action', 'family']);
  const regenerations = counts('cilium_endpoint_regenerations_total', 'Endpoints that were programmed anew', [
    'reason',
    'outcome',
    'error',
  ]);
  new Gauge({
    name: 'axoneme_engine_event_seq',
    help: 'Number of the last event',
    registers,
    collect() {
      this.set(inspector.stats().seq);
    },
  });

  /** Since when an endpoint is on its way. */
  const began = new Map<string, number>();

  function ofOp(op: OpRecord): void {
    const { table, action, cause, plannedAt, doneAt, error } = op;
    if (doneAt === undefined) return;
    if (table.startsWith('bpf.'))
      mapOps(table.slice(4), action === 'put' ? 'update' : 'delete', error ? 'fail' : 'success');
    const status = error ? 'failure' : 'success';
    if (error?.kind !== 'cancelled') {
      runsTotal(status);
      runs({ status }, status, (doneAt - plannedAt) / 1000, cause);
    }
    if (error) {
      if (error.kind === 'cancelled') return;
      errors('error', table);
      if (table === 'bpf.ipcache') ipcacheErrors(action === 'put' ? 'upsert' : 'delete', error.errno ?? error.kind);
      return;
    }
    reconciled({ table }, table, (doneAt - plannedAt) / 1000, cause);
    const took = (doneAt - cause.at) / 1000;
    if (table === 'bpf.policy') {
      if (isPolicy(cause.subject)) policyDelay({ source: 'k8s' }, 'k8s', took, cause);
      else if (action === 'put') incremental({ scope: 'global' }, 'global', took, cause);
    }
    if (SERVICE_TABLES.has(table) && /^(services|endpointslices)\//.test(cause.subject)) {
      const done = action === 'put' ? 'upsert' : 'delete';
      serviceDelay({ action: done }, done, took, cause);
    }
    if (table === 'local.endpoints' && (action === 'delete' || op.before === undefined)) {
      const row = (op.value ?? op.before) as Partial<LocalEndpointRow> | undefined;
      const what = action === 'put' ? 'allocate' : 'release';
      if (row?.ipv4) ipam(what, 'ipv4');
      if (row?.ipv6) ipam(what, 'ipv6');
    }
  }

  function ofEndpoint({ machine, from, to, cause }: Transition): void {
    if (to === '') {
      began.delete(machine);
      return;
    }
    if (from === '' || from === 'ready') began.set(machine, cause.at);
    if (to !== 'programmed' && to !== 'ready' && to !== 'failing') return;
    const since = began.get(machine);
    if (since === undefined) return;
    began.delete(machine);
    const status = to === 'failing' ? 'failure' : 'success';
    regenerations(cause.type, status, to === 'failing' ? 'failed' : '');
    regenerated({ scope: 'total', status }, status, (cause.at - since) / 1000, cause);
  }

  const subscription = new Subscription();
  subscription.add(inspector.ops$.subscribe(ofOp));
  subscription.add(
    inspector.transitions$.subscribe((transition) => {
      if (transition.machine.startsWith('endpoint/')) ofEndpoint(transition);
    }),
  );
  return () => subscription.unsubscribe();
}
