/** Connections of a simulated cluster that stay open whatever is upgraded: each in the maps of the nodes that it goes through. */
import { writeMapped } from '../../datapath/address.ts';
import type { Cluster } from '../cluster/cluster.ts';
import type { ClusterNode } from '../cluster/node.ts';
import type { Sandbox } from '../node/runtime.ts';
import type { Entry, LearntMap } from './learnt.ts';

interface End {
  node: ClusterNode;
  /** Of this life of its kernel. */
  boots: number;
  containerId: string;
}

interface Kept {
  node: ClusterNode;
  map: LearntMap;
  key: Entry;
  value: Entry;
}

export interface Connection {
  ends: End[];
  kept: Kept[];
}

const TCP = 6;
const PORT = 8080;
const FIRST_PORT = 40_000;
const SERVICE_PORT = 80;
/** Reply seen, established. */
const FLAGS = 6;
const SERVICE_FLAG = 64;
const SYN_ACK = 18;
const SERVICE = words('10.96.7.7');

function words(address: string): number[] {
  const bytes = Buffer.alloc(16);
  writeMapped(address, bytes, 0);
  return [0, 4, 8, 12].map((offset) => bytes.readUInt32BE(offset));
}

/** From one running pod to another, perhaps through a service; undefined when there are not two. */
export function connect(cluster: Cluster, from: number, to: number, number: number): Connection | undefined {
  const running = cluster.sandboxes.flatMap(({ node, sandboxes }) =>
    sandboxes.filter(({ state, result }) => state === 'running' && result).map((sandbox) => ({ node, sandbox })),
  );
  const [client, server] = [running[from % running.length], running[to % running.length]];
  if (!client || !server || client === server) return undefined;
  const [a, b] = [addressOf(client.sandbox), addressOf(server.sandbox)];
  const sport = FIRST_PORT + number;
  const created = Math.floor(cluster.clock.now / 1_000) % 2 ** 31;
  const nodes = [...new Set([client.node, server.node])];
  const isService = number % 2 === 1;
  const value: Entry = {
    ...{ expires: created + 8_000, flags: FLAGS + (isService ? SERVICE_FLAG : 0), tcp_flags: [SYN_ACK, SYN_ACK] },
    ...{ src_identity: 256 + number, dst_identity: 300 + number, policy_revision: [number, number + 1], created },
    ...{ last_report: [number, number], backend_id: isService ? 7 : 0 },
  };
  const kept: Kept[] = nodes.map((node) => ({
    ...{ node, map: 'conntrack', value },
    key: { 'a.w': a, 'b.w': b, port_a: sport, port_b: PORT, proto: TCP },
  }));
  if (isService)
    kept.push({
      ...{ node: client.node, map: 'service_flows' },
      key: { 'saddr.w': a, 'daddr.w': SERVICE, sport, dport: SERVICE_PORT, proto: TCP, direction: 0 },
      value: { 'addr.w': b, port: PORT, flags: 0, backend_id: 7, frontend_id: 3, created, verified: created },
    });
  const there = kept.filter(({ node, map }) => node.learnt.knows(map));
  for (const { node, map, key, value: entry } of there) node.learnt.add(map, key, entry);
  const ends = [client, server].map(({ node, sandbox: { containerId } }) => ({ node, boots: node.boots, containerId }));
  return { ends, kept: there };
}

const addressOf = ({ result }: Sandbox): number[] => words(result?.ips[0]?.address.replace(/\/.*/, '') ?? '');

const isOpen = ({ ends }: Connection): boolean =>
  ends.every(
    ({ node, boots, containerId }) =>
      node.boots === boots &&
      node.runtime.sandboxes.some((sandbox) => sandbox.containerId === containerId && sandbox.state === 'running'),
  );

/** Every connection whose ends still run is known where it was, as it was. */
export function checkConnections(connections: readonly Connection[]): string[] {
  return connections.filter(isOpen).flatMap(({ kept }) =>
    kept.flatMap(({ node, map, key, value }) => {
      const known = node.learnt.get(map, key);
      if (!known) return [`lost: ${node.name} no longer knows a connection of ${map} ${JSON.stringify(key)}`];
      const changed = Object.keys(known).filter(
        (field) => value[field] !== undefined && JSON.stringify(known[field]) !== JSON.stringify(value[field]),
      );
      return changed.length === 0
        ? []
        : [`lost: ${node.name} has ${changed.join(', ')} of a connection of ${map} otherwise than it was`];
    }),
  );
}
