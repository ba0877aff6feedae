/**
 * The agent's state as Prometheus metrics, with Cilium's names where Cilium has one (reference crds-and-cli.md, section 5).
 *
 * - Nothing is counted twice: what the engine or the kernel counts is read when somebody asks.
 */
import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import { dropReasons } from '../../state/drop-reasons.ts';
import type { FrontendRow } from '../../state/tables.ts';
import type { DebugSources } from '../debug/sources.ts';
import { type EndpointView, endpointsOf, identitiesOf } from '../endpoints.ts';
import { policyNodeView, widestSelectors } from '../policy.ts';
import { statusOf } from '../status.ts';

/** Code in `bpf/drop-reasons.tsv`. */
const FRAGMENTED_PACKET = 9;
const GC_BUCKETS_SECONDS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10];

export function agentMetrics(registry: Registry, sources: DebugSources, now: () => number): void {
  const { inspector, agent } = sources;
  const registers = [registry];
  const state = () => statusOf(sources, now());
  const gauge = (name: string, help: string, labelNames: string[], read: (set: Set) => void): void => {
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        read((labels, value) => this.set(labels, value));
      },
    });
  };
  const counter = (name: string, help: string, labelNames: string[], read: (add: Set) => void): void => {
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset();
        read((labels, value) => this.inc(labels, value));
      },
    });
  };

  gauge('cilium_version', 'Version of the agent, always 1', ['version', 'revision', 'arch'], (set) =>
    set({ version: agent.version, revision: agent.build, arch: process.arch }, 1),
  );
  gauge('cilium_endpoint', 'Endpoints of this node', [], (set) => set({}, state().endpoints.total));
  gauge('cilium_endpoint_state', 'Endpoints by state', ['endpoint_state'], (set) => {
    for (const [endpoint_state, count] of Object.entries(state().endpoints.byState)) set({ endpoint_state }, count);
  });
  gauge('cilium_identity', 'Identities that this node knows, by type', ['type'], (set) => {
    const counts: Record<string, number> = {};
    for (const { id } of identitiesOf(inspector)) {
      const type = id < 256 ? 'reserved' : id < 1 << 24 ? 'cluster_local' : 'node_local';
      counts[type] = (counts[type] ?? 0) + 1;
    }
    for (const [type, count] of Object.entries(counts)) set({ type }, count);
  });
  gauge('cilium_identity_label_sources', 'Identities that have a label of a source', ['source'], (set) => {
    const counts: Record<string, number> = {};
    for (const { labels } of identitiesOf(inspector))
      for (const source of new Set(labels.map((label) => label.slice(0, label.indexOf(':')))))
        counts[source] = (counts[source] ?? 0) + 1;
    for (const [source, count] of Object.entries(counts)) set({ source }, count);
  });
  gauge('cilium_policy', 'Policies in force', [], (set) => set({}, policyNodeView(inspector)?.policies.length ?? 0));
  counter(
    'cilium_policy_change_total',
    'Changes of policies; failed: it is not in force',
    ['outcome', 'source'],
    (add) => {
      const { success = 0, fail = 0 } = sources.policyChanges?.() ?? {};
      add({ outcome: 'success', source: 'k8s' }, success);
      add({ outcome: 'fail', source: 'k8s' }, fail);
    },
  );
  gauge('cilium_policy_max_revision', 'Number of the last change of a policy', [], (set) =>
    set({}, sources.policyChanges?.().revision ?? 0),
  );
  gauge(
    'cilium_policy_endpoint_enforcement_status',
    'Endpoints by the directions in which policy is enforced',
    ['enforcement'],
    (set) => {
      const counts: Record<string, number> = { none: 0, ingress: 0, egress: 0, both: 0, audit: 0 };
      for (const endpoint of endpointsOf(inspector)) {
        const kind = enforcementOf(endpoint);
        counts[kind] = (counts[kind] ?? 0) + 1;
      }
      for (const [enforcement, count] of Object.entries(counts)) set({ enforcement }, count);
    },
  );
  gauge('cilium_policy_selector_match_count_max', 'Identities that the widest selector selects', ['class'], (set) => {
    for (const [kind, count] of Object.entries(widestSelectors(inspector))) set({ class: kind }, count);
  });
  gauge('cilium_ip_addresses', 'Addresses that pods of this node have', ['family'], (set) => {
    for (const { family, used } of state().ipam) set({ family: family.toLowerCase() }, used);
  });
  gauge('cilium_ipam_capacity', 'Addresses that pods of this node can have', ['family', 'cidr'], (set) => {
    for (const { family, cidr, total } of state().ipam) set({ family: family.toLowerCase(), cidr }, total);
  });
  gauge('cilium_controllers_failing', 'Machines that are failing', [], (set) =>
    set({}, state().machines.failing.length),
  );
  gauge('cilium_bpf_map_pressure', 'Fill of a map, 0 to 1', ['map_name'], (set) => {
    for (const { map, ratio } of sources.datapath?.mapPressure() ?? []) set({ map_name: map }, ratio);
  });
  gauge('cilium_bpf_map_capacity', 'Entries that a map can have', ['map_group'], (set) => {
    for (const { map, capacity } of sources.datapath?.mapPressure() ?? []) set({ map_group: map }, capacity);
  });
  gauge('axoneme_bpf_map_entries', 'Entries of a map', ['map_name'], (set) => {
    for (const { map, entries } of sources.datapath?.mapPressure() ?? []) set({ map_name: map }, entries);
  });
  // One sweep goes through both families and all protocols.
  const swept = { family: 'all', protocol: 'all' };
  const gc = () => sources.datapath?.gc?.counters;
  counter(
    'cilium_datapath_conntrack_gc_runs_total',
    'Sweeps over connections',
    ['family', 'protocol', 'status'],
    (add) => add({ ...swept, status: 'completed' }, gc()?.sweeps ?? 0),
  );
  gauge(
    'cilium_datapath_conntrack_gc_entries',
    'Connections that the last sweep left, and that all sweeps took away',
    ['family', 'protocol', 'status'],
    (set) => {
      set({ ...swept, status: 'alive' }, gc()?.conntrackEntries ?? 0);
      set({ ...swept, status: 'deleted' }, gc()?.conntrackDeleted ?? 0);
    },
  );
  gauge(
    'cilium_nat_endpoint_max_connection',
    'Share of the ports for masquerading that the remote end takes that takes most of them, 0 to 1',
    ['family'],
    (set) => {
      for (const [family, share] of Object.entries(gc()?.natSaturation ?? {})) set({ family }, share);
    },
  );
  const gcDuration = new Histogram({
    name: 'cilium_datapath_conntrack_gc_duration_seconds',
    help: 'What a sweep over connections took',
    labelNames: ['family', 'protocol', 'status'],
    buckets: GC_BUCKETS_SECONDS,
    registers,
  });
  sources.datapath?.gc?.onSweep?.((ms) => gcDuration.observe({ ...swept, status: 'completed' }, ms / 1000));
  gauge('cilium_datapath_conntrack_gc_interval_seconds', 'Until the next sweep', ['global'], (set) =>
    set({ global: 'global' }, (gc()?.nextSweepMs ?? 0) / 1000),
  );
  gauge('axoneme_services', 'Services with a frontend', ['type'], (set) => {
    const services = new Map<string, string>();
    for (const { actual } of inspector.rows('bpf.frontends')) {
      const row = actual as FrontendRow | undefined;
      if (row) services.set(row.service, row.type);
    }
    const counts: Record<string, number> = {};
    for (const type of services.values()) counts[type] = (counts[type] ?? 0) + 1;
    for (const [type, count] of Object.entries(counts)) set({ type }, count);
  });

  const packets = (drops: boolean, unit: 'packets' | 'bytes') => (add: Set) => {
    for (const { reason, direction, ...counts } of sources.datapath?.metrics() ?? []) {
      const known = dropReasons.get(reason);
      if ((known?.kind === 'drop') !== drops || known?.kind === 'counter') continue;
      const labels = { direction: direction.toUpperCase() };
      add(drops ? { ...labels, reason: known?.text ?? String(reason) } : labels, counts[unit]);
    }
  };
  counter('cilium_drop_count_total', 'Packets dropped', ['reason', 'direction'], packets(true, 'packets'));
  counter('cilium_drop_bytes_total', 'Bytes dropped', ['reason', 'direction'], packets(true, 'bytes'));
  counter('cilium_forward_count_total', 'Packets forwarded', ['direction'], packets(false, 'packets'));
  counter('cilium_forward_bytes_total', 'Bytes forwarded', ['direction'], packets(false, 'bytes'));

  counter('cilium_fragmented_count_total', 'Fragments of packets', ['direction'], (add) => {
    for (const { reason, direction, packets } of sources.datapath?.metrics() ?? [])
      if (reason === FRAGMENTED_PACKET) add({ direction: direction.toUpperCase() }, packets);
  });

  counter('axoneme_engine_events_total', 'Events that the engine took', [], (add) => add({}, inspector.stats().events));
  counter('axoneme_engine_transitions_total', 'Transitions of machines', [], (add) =>
    add({}, inspector.stats().transitions),
  );
  counter('axoneme_ops_total', 'Ops by table and result', ['table', 'result'], (add) => {
    for (const { table, ok, failed } of inspector.stats().ops) {
      add({ table, result: 'ok' }, ok);
      add({ table, result: 'failed' }, failed);
    }
  });
  counter('axoneme_drift_repaired_total', 'Rows that were changed behind our back and put right', [], (add) =>
    add({}, inspector.stats().driftRepaired),
  );
  gauge('axoneme_machines', 'Machines that live', [], (set) => set({}, inspector.stats().machines));
  gauge('axoneme_rows', 'Rows that are wanted or actual', [], (set) => set({}, inspector.stats().rows));
  gauge('axoneme_rows_unsettled', 'Rows that machines wait for', [], (set) => set({}, inspector.stats().pending));
  gauge('axoneme_ops_in_flight', 'Ops under way', [], (set) => set({}, inspector.stats().inFlight));

  counter(
    'axoneme_export_flows_total',
    'Flows by exporter, sent or dropped for want of room',
    ['exporter', 'result'],
    (add) => {
      for (const { name, sent, dropped } of sources.exports?.() ?? []) {
        add({ exporter: name, result: 'sent' }, sent);
        add({ exporter: name, result: 'dropped' }, dropped);
      }
    },
  );
  gauge('axoneme_export_queue', 'Flows that wait for an exporter', ['exporter'], (set) => {
    for (const { name, queued } of sources.exports?.() ?? []) set({ exporter: name }, queued);
  });
}

function enforcementOf({ ingress, egress }: EndpointView): string {
  if (ingress.includes('Audit') || egress.includes('Audit')) return 'audit';
  const [isIngress, isEgress] = [ingress === 'Enabled', egress === 'Enabled'];
  return isIngress && isEgress ? 'both' : isIngress ? 'ingress' : isEgress ? 'egress' : 'none';
}

type Set = (labels: Record<string, string>, value: number) => void;
