/** The relay's metrics, under Hubble's names: connections to nodes, and what the process takes. */
import type { Server } from 'node:http';
import { collectDefaultMetrics, Gauge } from 'prom-client';
import { newRegistry } from '../metrics/exposition.ts';
import { serveMetrics } from '../metrics/metrics-server.ts';
import type { Peers } from './peers.ts';

/** As gRPC calls the states of a connection. */
const STATES = ['READY', 'TRANSIENT_FAILURE'] as const;

export function startRelayMetrics(listen: string, peers: Peers): Promise<Server> {
  const registry = newRegistry();
  collectDefaultMetrics({ register: registry });
  new Gauge({
    name: 'hubble_relay_pool_peer_connection_status',
    help: 'Connections to nodes by their state',
    labelNames: ['status'],
    registers: [registry],
    async collect() {
      const all = await peers.statuses();
      const ready = all.filter(({ status }) => status).length;
      for (const [at, status] of STATES.entries()) this.set({ status }, at === 0 ? ready : all.length - ready);
    },
  });
  return serveMetrics(listen, registry);
}
