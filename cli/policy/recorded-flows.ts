/**
 * Flows of before, as questions to live nodes: an array in the form of `policy verdict`, or lines of `observe -o json`.
 *
 * - Of observed flows only what began them counts, not the replies, and each pair of ends and port once. A pod that is no more is its address.
 */
import { readFileSync } from 'node:fs';
import type { ProtocolName } from '../../policy/rule.ts';
import type { FlowEnd } from '../../simulations/policy-oracle/flow.ts';
import { UsageError } from '../usage.ts';
import type { ClusterEnd, ClusterWorld } from './cluster-world.ts';
import { FlowsInvalid, parseFlows } from './flows.ts';

export interface RecordedFlow {
  from: ClusterEnd;
  to: ClusterEnd;
  protocol: ProtocolName;
  port: number;
}

export function readRecordedFlows(path: string, world: ClusterWorld): RecordedFlow[] {
  const text = read(path);
  if (/^\s*\{/.test(text)) return observedFlows(text, path, world);
  return parseFlows(text, path).map(({ id, from, to, protocol, port }) => {
    try {
      return { from: endOf(world, from), to: endOf(world, to), protocol: protocol as ProtocolName, port };
    } catch (error) {
      throw new FlowsInvalid(`${path}: flow ${id}: ${error instanceof Error ? error.message : error}`);
    }
  });
}

function read(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`flows ${path}: ${error instanceof Error ? error.message : error}`);
  }
}

function endOf(world: ClusterWorld, end: FlowEnd): ClusterEnd {
  if ('pod' in end) return world.end('flows', end.pod.includes('/') ? end.pod : `default/${end.pod}`);
  if ('ip' in end) return world.address(end.ip);
  return world.end('flows', end.entity === 'world' ? 'world-ipv4' : end.entity);
}

interface Observed {
  flow?: {
    IP?: { source?: string; destination?: string };
    l4?: Readonly<Record<string, { destination_port?: number; type?: number } | undefined>>;
    source?: ObservedEnd;
    destination?: ObservedEnd;
    is_reply?: boolean;
  };
}
interface ObservedEnd {
  namespace?: string;
  pod_name?: string;
}

/** As in Hubble's `l4`. */
const protocols: Readonly<Record<string, ProtocolName>> = {
  TCP: 'TCP',
  UDP: 'UDP',
  SCTP: 'SCTP',
  ICMPv4: 'ICMP',
  ICMPv6: 'ICMPv6',
};

function observedFlows(text: string, path: string, world: ClusterWorld): RecordedFlow[] {
  const pods = new Set(world.pods());
  const found = new Map<string, RecordedFlow>();
  text.split('\n').forEach((line, i) => {
    if (line.trim() === '') return;
    const flow = parseLine(line, `${path}: line ${i + 1}`).flow;
    const { source: src = '', destination: dst = '' } = flow?.IP ?? {};
    const [name, l4] = Object.entries(flow?.l4 ?? {}).find(([one]) => protocols[one]) ?? [];
    if (!flow || flow.is_reply || !src || !dst || name === undefined) return;
    const place = ({ namespace, pod_name }: ObservedEnd = {}, address: string): ClusterEnd => {
      const pod = `${namespace}/${pod_name}`;
      return pods.has(pod) ? world.end('flows', pod) : world.address(address);
    };
    const [from, to] = [place(flow.source, src), place(flow.destination, dst)];
    const port = l4?.destination_port ?? l4?.type ?? 0;
    const protocol = protocols[name] as ProtocolName;
    found.set(`${from.name} ${to.name} ${port}/${protocol}`, { from, to, protocol, port });
  });
  return [...found.values()];
}

function parseLine(line: string, at: string): Observed {
  try {
    return JSON.parse(line) as Observed;
  } catch (error) {
    throw new FlowsInvalid(
      `${at}: ${error instanceof Error ? error.message : error}, expected a flow of observe -o json`,
    );
  }
}
