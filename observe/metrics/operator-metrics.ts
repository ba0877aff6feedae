/** The operator's metrics, under Cilium's names: what became of identities, whether it leads, and what the process takes. */
import type { Server } from 'node:http';
import { collectDefaultMetrics, Gauge } from 'prom-client';
import { newRegistry } from './exposition.ts';
import { serveMetrics } from './metrics-server.ts';

/** One collecting of identities that nobody uses. */
export interface IdentitySweep {
  outcome: 'success' | 'fail';
  tookMs: number;
  /** That stay, and that went. */
  alive: number;
  deleted: number;
}

export interface OperatorMetrics {
  server: Server;
  count(sweep: IdentitySweep): void;
}

export async function startOperatorMetrics(
  listen: string,
  version: string,
  isLeader: () => boolean,
): Promise<OperatorMetrics> {
  const registry = newRegistry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  new Gauge({
    ...{ name: 'cilium_operator_version', help: 'Version of the operator, always 1', labelNames: ['version', 'arch'] },
    registers,
  }).set({ version, arch: process.arch }, 1);
  new Gauge({
    ...{ name: 'axoneme_operator_leads', help: '1 for the one operator that acts', registers },
    collect() {
      this.set(isLeader() ? 1 : 0);
    },
  });
  // A gauge, as the field has it: a counter's name would end in `_total`.
  const runs = new Gauge({
    ...{ name: 'cilium_operator_identity_gc_runs', help: 'Times that identities were collected', registers },
    labelNames: ['outcome'],
  });
  const entries = new Gauge({
    ...{
      name: 'cilium_operator_identity_gc_entries',
      help: 'Identities that stayed and went the last time',
      registers,
    },
    labelNames: ['status'],
  });
  const latency = new Gauge({
    ...{ name: 'cilium_operator_identity_gc_latency', help: 'Seconds that the last time took', registers },
    labelNames: ['outcome'],
  });
  const count = ({ outcome, tookMs, alive, deleted }: IdentitySweep): void => {
    runs.inc({ outcome });
    latency.set({ outcome }, tookMs / 1000);
    if (outcome === 'fail') return;
    entries.set({ status: 'alive' }, alive);
    entries.set({ status: 'deleted' }, deleted);
  };
  return { server: await serveMetrics(listen, registry), count };
}
