/** Reads the flows of a question: a JSON array, every mistake in it named by index and field. */
import { isIP } from 'node:net';
import type { Entity, Flow, FlowEnd } from '../../simulations/policy-oracle/flow.ts';

export class FlowsInvalid extends Error {}

const PORT_MAX = 65_535;
const TYPE_MAX = 255;
const entities: readonly Entity[] = ['host', 'remote-node', 'world', 'kube-apiserver'];
const protocols: Readonly<Record<string, string>> = {
  TCP: 'TCP',
  UDP: 'UDP',
  SCTP: 'SCTP',
  ICMP: 'ICMP',
  ICMPV4: 'ICMP',
  ICMPV6: 'ICMPv6',
};

export function parseFlows(text: string, origin: string): Flow[] {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new FlowsInvalid(
      `${origin}: ${error instanceof Error ? error.message : error}, expected a JSON array of flows`,
    );
  }
  if (!Array.isArray(value)) throw new FlowsInvalid(`${origin}: is ${shown(value)}, expected a JSON array of flows`);
  return value.map((one, i) => parseFlow(one, `${origin}: flow ${i}`, i));
}

function parseFlow(value: unknown, at: string, index: number): Flow {
  const flow = objectOf(value, at);
  const id = flow.id ?? index;
  if (typeof id !== 'string' && typeof id !== 'number') wrong(at, 'id', id, 'text or a number');
  const protocol = protocols[String(flow.protocol ?? 'TCP').toUpperCase()];
  if (protocol === undefined) wrong(at, 'protocol', flow.protocol, 'one of TCP, UDP, SCTP, ICMP, ICMPv6');
  const isIcmp = protocol.startsWith('ICMP');
  const port = flow.port ?? 0;
  const max = isIcmp ? TYPE_MAX : PORT_MAX;
  if (typeof port !== 'number' || !Number.isInteger(port) || port < 0 || port > max)
    wrong(at, 'port', port, isIcmp ? `an ICMP type from 0 to ${max}` : `a port from 0 to ${max}`);
  return {
    id,
    from: parseEnd(flow.from, at, 'from'),
    to: parseEnd(flow.to, at, 'to'),
    protocol,
    port,
    ...(flow.http !== undefined && { http: objectOf(flow.http, `${at}: http`) }),
    ...(flow.dns !== undefined && { dns: flow.dns }),
    ...(flow.fqdnCache !== undefined && { fqdnCache: flow.fqdnCache }),
  };
}

function parseEnd(value: unknown, at: string, field: string): FlowEnd {
  const end = objectOf(value, `${at}: ${field}`);
  const given = ['pod', 'ip', 'entity'].filter((name) => end[name] !== undefined);
  if (given.length !== 1) wrong(at, field, value, 'exactly one of pod, ip and entity');
  const { pod, ip, entity } = end;
  if (pod !== undefined) {
    if (typeof pod !== 'string' || !/^[^/]+(\/[^/]+)?$/.test(pod)) wrong(at, `${field}.pod`, pod, 'namespace/name');
    return { pod };
  }
  if (ip !== undefined) {
    if (typeof ip !== 'string' || !isIP(ip)) wrong(at, `${field}.ip`, ip, 'an IP address');
    return { ip };
  }
  const found = entities.find((one) => one === entity);
  if (found === undefined) wrong(at, `${field}.entity`, entity, `one of ${entities.join(', ')}`);
  return { entity: found };
}

function objectOf(value: unknown, at: string): Record<string, unknown> {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  throw new FlowsInvalid(`${at}: is ${shown(value)}, expected an object`);
}

function wrong(at: string, field: string, value: unknown, expected: string): never {
  throw new FlowsInvalid(`${at}: ${field} is ${shown(value)}, expected ${expected}`);
}

const shown = (value: unknown): string =>
  value === undefined ? 'missing' : (JSON.stringify(value) ?? String(value)).slice(0, 100);
