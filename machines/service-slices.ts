/**
 * EndpointSlices as services read them, and the choice of backends among them, as kube-proxy makes it (its topology.go).
 *
 * - Of an endpoint only the first address counts; what is no address or port is left out.
 * - An endpoint named by several slices is one backend: it is as well as the best of them says.
 */
import type { KubeObject } from '../cluster/events.ts';
import { type BackendRow, backendKey, type Protocol } from '../state/tables.ts';
import { canonicalAddress, familyOf } from './cidr.ts';

export type Family = 'IPv4' | 'IPv6';

export interface SliceFacts {
  family: Family;
  ports: SlicePort[];
  endpoints: EndpointFacts[];
}
export interface SlicePort {
  name: string;
  port: number;
  protocol: Protocol;
}
export interface EndpointFacts {
  address: string;
  /** New connections may go there. */
  ready: boolean;
  /** It terminates and still serves: for new connections only when none is ready. */
  draining: boolean;
  node: string;
  /** Hints: zones and nodes that it is meant for. */
  zones?: string[];
  nodes?: string[];
}

interface RawPort {
  name?: unknown;
  port?: unknown;
  protocol?: unknown;
}
interface RawEndpoint {
  addresses?: unknown;
  conditions?: unknown;
  nodeName?: unknown;
  hints?: unknown;
}
interface Conditions {
  ready: boolean | null;
  serving: boolean | null;
  terminating: boolean | null;
}

const PROTOCOLS: readonly unknown[] = ['TCP', 'UDP', 'SCTP'];
export const isProtocol = (value: unknown): value is Protocol => PROTOCOLS.includes(value);
export const isPort = (value: unknown): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65_535;
export const familyName = (address: string): Family => (familyOf(address) === 4 ? 'IPv4' : 'IPv6');
export const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');
export const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
/** The objects of a list, whatever else is in it. */
export const objectsIn = <T extends object>(value: unknown): T[] => listOf(value).filter(isObject) as T[];
export const objectOf = <T extends object>(value: unknown): Partial<T> => (isObject(value) ? (value as T) : {});

/** Undefined: of domain names, which nobody balances. Endpoints that `before` has too are its own, so that rows of them are not made anew. */
export function sliceFacts(object: KubeObject, before?: SliceFacts): SliceFacts | undefined {
  const { addressType } = object;
  if (addressType !== 'IPv4' && addressType !== 'IPv6') return undefined;
  const ports = objectsIn<RawPort>(object.ports).flatMap(({ name, port, protocol }): SlicePort[] => {
    const known = protocol ?? 'TCP';
    return isPort(port) && isProtocol(known) ? [{ name: textOf(name), port, protocol: known }] : [];
  });
  const known = new Map(before?.endpoints.map((endpoint) => [endpoint.address, endpoint]));
  const endpoints: EndpointFacts[] = [];
  for (const raw of objectsIn<RawEndpoint>(object.endpoints)) {
    for (const endpoint of endpointFacts(raw, addressType)) {
      const same = known.get(endpoint.address);
      endpoints.push(same && isSame(same, endpoint) ? same : endpoint);
    }
  }
  return { family: addressType, ports, endpoints };
}

const isSame = (a: EndpointFacts, b: EndpointFacts): boolean =>
  a.ready === b.ready &&
  a.draining === b.draining &&
  a.node === b.node &&
  areSame(a.zones, b.zones) &&
  areSame(a.nodes, b.nodes);
const areSame = (a: readonly string[] | undefined, b: readonly string[] | undefined): boolean =>
  a === b || (a?.length === b?.length && a?.every((one, i) => one === b?.[i]) === true);

function endpointFacts(raw: RawEndpoint, family: Family): EndpointFacts[] {
  const address = canonicalAddress(textOf(listOf(raw.addresses)[0]));
  if (address === undefined || familyName(address) !== family) return [];
  const conditions = objectOf<Conditions>(raw.conditions);
  const ready = conditions.ready ?? true;
  const serving = conditions.serving ?? ready;
  const terminating = conditions.terminating ?? false;
  const hints = objectOf<{ forZones: unknown; forNodes: unknown }>(raw.hints);
  const [zones, nodes] = [hints.forZones, hints.forNodes].map((names) =>
    objectsIn<{ name?: unknown }>(names).map(({ name }) => textOf(name)),
  );
  return [
    {
      address,
      ready: ready === true,
      draining: serving === true && terminating === true,
      node: textOf(raw.nodeName),
      ...(zones?.length && { zones }),
      ...(nodes?.length && { nodes }),
    },
  ];
}

/** Every backend that a slice names, once, whatever its state. */
export function backendsOf(slice: SliceFacts): Map<string, BackendRow> {
  const found = new Map<string, BackendRow>();
  for (const { port, protocol } of slice.ports) {
    for (const endpoint of slice.endpoints) {
      const { key, row } = backendOf(endpoint, port, protocol);
      found.set(key, row);
    }
  }
  return found;
}

interface Backend {
  key: string;
  row: BackendRow;
}
/** One object for each: a slice that changes says most of what it said before. */
const backends = new WeakMap<EndpointFacts, Backend[]>();

function backendOf(endpoint: EndpointFacts, port: number, protocol: Protocol): Backend {
  const known = backends.get(endpoint);
  const found = known?.find(({ row }) => row.port === port && row.protocol === protocol);
  if (found) return found;
  const row = { address: endpoint.address, port, protocol };
  const made = { key: backendKey(row), row };
  if (known) known.push(made);
  else backends.set(endpoint, [made]);
  return made;
}

export interface Choice {
  /** Keys of backends, sorted. */
  backends: string[];
  /** None of them is ready. */
  draining: boolean;
}
export interface Place {
  nodeName: string;
  zone: string;
}

/** Those of all nodes that new connections from here go to. */
export function clusterChoice(slices: readonly SliceFacts[], port: SlicePortName, place: Place): Choice {
  const isNear = nearness(slices, port, place);
  return choose(slices, port, isNear, () => true);
}

/** Those of this node. */
export function localChoice(slices: readonly SliceFacts[], port: SlicePortName, { nodeName }: Place): Choice {
  const isLocal = ({ node }: EndpointFacts): boolean => node === nodeName;
  return choose(slices, port, isLocal, isLocal);
}

type SlicePortName = Pick<SlicePort, 'name' | 'protocol'>;

function* candidates(
  slices: readonly SliceFacts[],
  { name, protocol }: SlicePortName,
): Generator<{ endpoint: EndpointFacts; port: number }> {
  for (const slice of slices) {
    for (const port of slice.ports) {
      if (port.name !== name || port.protocol !== protocol) continue;
      for (const endpoint of slice.endpoints) yield { endpoint, port: port.port };
    }
  }
}

/** The ready ones that fit; if there is none, those that drain and fit for that. */
function choose(
  slices: readonly SliceFacts[],
  port: SlicePortName,
  fitsReady: (endpoint: EndpointFacts) => boolean,
  fitsDraining: (endpoint: EndpointFacts) => boolean,
): Choice {
  const ready = new Set<string>();
  const draining = new Set<string>();
  for (const { endpoint, port: number } of candidates(slices, port)) {
    const key = (): string => backendOf(endpoint, number, port.protocol).key;
    if (endpoint.ready) {
      if (fitsReady(endpoint)) ready.add(key());
    } else if (endpoint.draining && fitsDraining(endpoint)) draining.add(key());
  }
  const isDraining = ready.size === 0 && draining.size > 0;
  return { backends: [...(isDraining ? draining : ready)].sort(), draining: isDraining };
}

/** Hints count only if every ready endpoint has them and one is meant for here; nodes go before zones. */
function nearness(
  slices: readonly SliceFacts[],
  port: SlicePortName,
  { nodeName, zone }: Place,
): (endpoint: EndpointFacts) => boolean {
  let allForNodes = true;
  let allForZones = true;
  let anyForNode = false;
  let anyForZone = false;
  for (const { endpoint } of candidates(slices, port)) {
    if (!endpoint.ready) continue;
    if (!endpoint.nodes) allForNodes = false;
    else if (endpoint.nodes.includes(nodeName)) anyForNode = true;
    if (!endpoint.zones) allForZones = false;
    else if (zone && endpoint.zones.includes(zone)) anyForZone = true;
    if (!allForNodes && !allForZones) break;
  }
  if (allForNodes && anyForNode) return ({ nodes }) => nodes?.includes(nodeName) === true;
  if (allForZones && anyForZone) return ({ zones }) => zones?.includes(zone) === true;
  return () => true;
}

/** Ready endpoints on this node, as a health check counts them: a pod with both families is one. */
export function localReady(slices: readonly SliceFacts[], { nodeName }: Place): number {
  const addresses = { IPv4: new Set<string>(), IPv6: new Set<string>() };
  for (const { family, ports, endpoints } of slices) {
    if (ports.length === 0) continue;
    for (const { address, ready, node } of endpoints) if (ready && node === nodeName) addresses[family].add(address);
  }
  return Math.max(addresses.IPv4.size, addresses.IPv6.size);
}
