/**
 * EndpointSlices as services read them, and the choice of backends among them, as kube-proxy makes it (its topology.go).
 *
 * - Of an endpoint only the first address counts; what is no address or port is left out.
 * - An endpoint named by several slices is one backend: it is as well as the best of them says.
 */
import type { KubeObject } from '../cluster/events.ts';
import { type BackendRow, backendKey, type Protocol, type Row } from '../state/tables.ts';
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
  const known = before?.endpoints ?? [];
  const places = before && placesIn(known);
  const endpoints: EndpointFacts[] = [];
  const origins: number[] = [];
  for (const raw of listOf(object.endpoints)) {
    const endpoint = isObject(raw) ? endpointFacts(raw, addressType) : undefined;
    if (!endpoint) continue;
    const origin = places?.(endpoint.address) ?? NEW;
    const same = known[origin];
    endpoints.push(same && isSame(same, endpoint) ? same : endpoint);
    origins.push(origin);
  }
  const slice = { family: addressType, ports, endpoints } as const;
  if (before) offered.set(slice, offerAgain(slice, origins, before));
  return slice;
}

const NEW = -1;

/** Where an address is in a list that is mostly asked for in its own order, now and then with one left out. */
function placesIn(endpoints: readonly EndpointFacts[]): (address: string) => number | undefined {
  let next = 0;
  let all: Map<string, number> | undefined;
  return (address) => {
    if (endpoints[next]?.address !== address && endpoints[next + 1]?.address === address) next++;
    if (endpoints[next]?.address === address) return next++;
    if (next >= endpoints.length && !all) return undefined;
    all ??= new Map(endpoints.map((endpoint, i) => [endpoint.address, i]));
    return all.get(address);
  };
}

const isSame = (a: EndpointFacts, b: EndpointFacts): boolean =>
  a.ready === b.ready &&
  a.draining === b.draining &&
  a.node === b.node &&
  areSame(a.zones, b.zones) &&
  areSame(a.nodes, b.nodes);
const areSame = (a: readonly string[] | undefined, b: readonly string[] | undefined): boolean =>
  a === b || (a?.length === b?.length && a?.every((one, i) => one === b?.[i]) === true);

function endpointFacts(raw: RawEndpoint, family: Family): EndpointFacts | undefined {
  const address = canonicalAddress(textOf(listOf(raw.addresses)[0]));
  if (address === undefined || familyName(address) !== family) return undefined;
  const conditions = objectOf<Conditions>(raw.conditions);
  const ready = conditions.ready ?? true;
  const serving = conditions.serving ?? ready;
  const terminating = conditions.terminating ?? false;
  const facts = {
    address,
    ready: ready === true,
    draining: serving === true && terminating === true,
    node: textOf(raw.nodeName),
  };
  if (!isObject(raw.hints)) return facts;
  const hints = objectOf<{ forZones: unknown; forNodes: unknown }>(raw.hints);
  const zones = namesIn(hints.forZones);
  const nodes = namesIn(hints.forNodes);
  return { ...facts, ...(zones.length > 0 && { zones }), ...(nodes.length > 0 && { nodes }) };
}
const namesIn = (list: unknown): string[] => objectsIn<{ name?: unknown }>(list).map(({ name }) => textOf(name));

/** A row of `bpf.backends`. */
export type Backend = Extract<Row, { table: 'bpf.backends' }>;

/** The backends that a slice names, whatever their state. */
interface Offer {
  /** By port, by endpoint. */
  byPort: readonly (readonly Backend[])[];
  /** Each once; of a single port that names none twice the very list. */
  all: readonly Backend[];
}
/** One object for each backend: a slice that changes says most of what it said before. */
const offered = new WeakMap<SliceFacts, Offer>();

function offerOf(slice: SliceFacts): Offer {
  const known = offered.get(slice);
  if (known) return known;
  const made = offerFrom(slice.ports.map((port) => slice.endpoints.map((endpoint) => backendOf(endpoint, port))));
  offered.set(slice, made);
  return made;
}

/** What was offered `before` at the same address and port is offered again; `origins` are the endpoints' places there. */
function offerAgain(slice: SliceFacts, origins: readonly number[], before: SliceFacts): Offer {
  const old = offerOf(before);
  const byPort = slice.ports.map((port): readonly Backend[] => {
    const same = old.byPort[before.ports.findIndex((one) => one.port === port.port && one.protocol === port.protocol)];
    return slice.endpoints.map((endpoint, i) => same?.[origins[i] as number] ?? backendOf(endpoint, port));
  });
  const [only] = byPort;
  const isPlain = only && byPort.length === 1 && old.all === old.byPort[0] && areEachOnce(only, origins);
  return isPlain ? { byPort, all: only } : offerFrom(byPort);
}

/** Those that are new, after ones of before that were each once there. */
function areEachOnce(backends: readonly Backend[], origins: readonly number[]): boolean {
  let last = NEW;
  let news = 0;
  for (let i = 0; i < backends.length; i++) {
    const origin = origins[i] as number;
    if (origin === NEW) {
      const { key } = backends[i] as Backend;
      if (++news > NEWS_MAX || backends.some((other, at) => at !== i && other.key === key)) return false;
    } else if (origin <= last) return false;
    else last = origin;
  }
  return true;
}
/** More are sooner told apart all at once. */
const NEWS_MAX = 4;

function offerFrom(byPort: Offer['byPort']): Offer {
  const keys = new Set<string>();
  const all: Backend[] = [];
  for (const backends of byPort) for (const backend of backends) if (isNew(keys, backend.key)) all.push(backend);
  const [only] = byPort;
  return { byPort, all: only?.length === all.length && byPort.length === 1 ? only : all };
}

function isNew(keys: Set<string>, key: string): boolean {
  const { size } = keys;
  return keys.add(key).size > size;
}

function backendOf({ address }: EndpointFacts, { port, protocol }: SlicePort): Backend {
  const value = { address, port, protocol };
  return { table: 'bpf.backends', key: backendKey(value), value };
}

export const backendRowsOf = (slice: SliceFacts): readonly Backend[] => offerOf(slice).all;

export const backendsOf = (slice: SliceFacts): Map<string, BackendRow> =>
  new Map(backendRowsOf(slice).map(({ key, value }) => [key, value]));

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
  return choose(slices, port, isNear, anywhere);
}

/** Those of this node. */
export function localChoice(slices: readonly SliceFacts[], port: SlicePortName, { nodeName }: Place): Choice {
  const isLocal = ({ node }: EndpointFacts): boolean => node === nodeName;
  return choose(slices, port, isLocal, isLocal);
}

type SlicePortName = Pick<SlicePort, 'name' | 'protocol'>;

const isPortOf = ({ name, protocol }: SlicePortName, port: SlicePort): boolean =>
  port.name === name && port.protocol === protocol;

/** The ready ones that fit; if there is none, those that drain and fit for that. */
function choose(
  slices: readonly SliceFacts[],
  port: SlicePortName,
  fitsReady: (endpoint: EndpointFacts) => boolean,
  fitsDraining: (endpoint: EndpointFacts) => boolean,
): Choice {
  const ready: string[] = [];
  const draining: string[] = [];
  for (const slice of slices) {
    const { byPort } = offerOf(slice);
    for (let at = 0; at < slice.ports.length; at++) {
      if (!isPortOf(port, slice.ports[at] as SlicePort)) continue;
      const backends = byPort[at] ?? [];
      for (let i = 0; i < backends.length; i++) {
        const endpoint = slice.endpoints[i] as EndpointFacts;
        const { key } = backends[i] as Backend;
        if (endpoint.ready) {
          if (fitsReady(endpoint)) ready.push(key);
        } else if (endpoint.draining && fitsDraining(endpoint)) draining.push(key);
      }
    }
  }
  const isDraining = ready.length === 0 && draining.length > 0;
  return { backends: inOrder(isDraining ? draining : ready), draining: isDraining };
}

/** Sorted, each once. */
function inOrder(keys: string[]): string[] {
  keys.sort();
  for (let i = 1; i < keys.length; i++) if (keys[i] === keys[i - 1]) return [...new Set(keys)];
  return keys;
}

const anywhere = (): boolean => true;

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
  for (const { ports, endpoints } of slices) {
    if (!ports.some((one) => isPortOf(port, one))) continue;
    for (const { ready, nodes, zones } of endpoints) {
      if (!ready) continue;
      if (!nodes) allForNodes = false;
      else if (nodes.includes(nodeName)) anyForNode = true;
      if (!zones) allForZones = false;
      else if (zone && zones.includes(zone)) anyForZone = true;
      if (!allForNodes && !allForZones) return anywhere;
    }
  }
  if (allForNodes && anyForNode) return ({ nodes }) => nodes?.includes(nodeName) === true;
  if (allForZones && anyForZone) return ({ zones }) => zones?.includes(zone) === true;
  return anywhere;
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
