/** Services for people, gathered from machines and rows; and what of them is in the kernel's maps, by name. */
import type { ServiceContext } from '../machines/service-context.ts';
import { backendsOf } from '../machines/service-slices.ts';
import type { Inspector, MachineView, RowState } from '../reconcilers/inspect.ts';
import type { BackendSetRow, FrontendRow, SourceRangeRow } from '../state/tables.ts';

/** `terminating` serves what it has; `unready` gets nothing new. Chosen ones of a set that only drains are `terminating`. */
export type BackendState = 'active' | 'terminating' | 'unready';

export interface BackendView {
  backend: string;
  state: BackendState;
}

export interface FrontendView {
  frontend: string;
  type: FrontendRow['type'];
  /** `namespace/name`; of a HostPort the pod's. */
  service: string;
  portName: string;
  /** Where connections from this node go. */
  backends: BackendView[];
  /** Where those from outside the node go; absent: to the same. */
  external?: BackendView[];
  externalTrafficPolicy: 'Cluster' | 'Local';
  /** Seconds; 0: none. */
  affinityTimeout: number;
  /** Clients that may use it; absent: all. */
  sourceRanges?: string[];
  /** Whether it is in the kernel as it is wanted. */
  row: RowState;
}

export interface ServiceView {
  service: string;
  /** State of its machine. */
  state: string;
  /** What it waits for or what failed last; '' when all is well. */
  reason: string;
  machine: string;
  frontends: FrontendView[];
  /** Every endpoint that its slices name, chosen or not. */
  backends: BackendView[];
}

export const serviceForms = ['NAMESPACE/NAME', 'ADDRESS:PORT/PROTOCOL', 'ADDRESS:PORT', 'ADDRESS'] as const;

export function frontendsOf(inspector: Inspector): FrontendView[] {
  const sets = valuesOf<BackendSetRow>(inspector, 'bpf.backend-sets');
  const ranges = new Map<string, string[]>();
  for (const { frontend, cidr } of valuesOf<SourceRangeRow>(inspector, 'bpf.source-ranges').values())
    ranges.set(frontend, [...(ranges.get(frontend) ?? []), cidr]);
  const draining = drainingSets(inspector);
  return inspector
    .rows('bpf.frontends')
    .flatMap(({ key, desired, actual, state }): FrontendView[] => {
      const row = (desired ?? actual) as FrontendRow | undefined;
      if (!row) return [];
      const { type, service, portName, internalSet, externalSet, externalLocal } = row;
      const members = (set: string): BackendView[] =>
        (sets.get(set)?.backends ?? []).map((backend) => ({
          backend,
          state: draining.has(set) ? 'terminating' : 'active',
        }));
      return [
        {
          frontend: key,
          type,
          service,
          portName,
          backends: members(internalSet),
          ...(externalSet !== internalSet && { external: members(externalSet) }),
          externalTrafficPolicy: externalLocal ? 'Local' : 'Cluster',
          affinityTimeout: sets.get(internalSet)?.affinityTimeout ?? 0,
          ...(row.sourceRanges && { sourceRanges: (ranges.get(key) ?? []).sort() }),
          row: state,
        },
      ];
    })
    .sort((a, b) => (a.service === b.service ? compare(a.frontend, b.frontend) : compare(a.service, b.service)));
}

export function servicesOf(inspector: Inspector): ServiceView[] {
  const frontends = Map.groupBy(frontendsOf(inspector), ({ service }) => service);
  return inspector
    .machines()
    .filter(({ kind }) => kind === 'service' || kind === 'host-port')
    .map((machine) => serviceView(machine, frontends))
    .sort((a, b) => compare(a.service, b.service));
}

function serviceView(machine: MachineView, frontends: ReadonlyMap<string, FrontendView[]>): ServiceView {
  const { key, state, context } = machine;
  const service = key.slice(key.indexOf('/') + 1);
  const { backoff, lost } = context as Partial<ServiceContext>;
  const lostTo = Object.entries(lost ?? {}).map(([frontend, { owner }]) => `${frontend} is served for ${owner}`);
  const isService = machine.kind === 'service';
  return {
    service,
    state,
    reason: backoff && backoff.attempt > 0 ? backoff.reason : lostTo.sort().join(', '),
    machine: key,
    frontends: (frontends.get(service) ?? []).filter(({ type }) => (type === 'HostPort') !== isService),
    backends: isService ? endpointsOf(context as ServiceContext) : [],
  };
}

function endpointsOf({ slices }: ServiceContext): BackendView[] {
  const found = new Map<string, BackendState>();
  for (const slice of Object.values(slices)) {
    for (const [backend, { address }] of backendsOf(slice)) {
      const endpoint = slice.endpoints.find((candidate) => candidate.address === address);
      const state = endpoint?.ready ? 'active' : endpoint?.draining ? 'terminating' : 'unready';
      const before = found.get(backend);
      if (before === undefined || ORDER.indexOf(state) < ORDER.indexOf(before)) found.set(backend, state);
    }
  }
  return [...found].map(([backend, state]) => ({ backend, state })).sort((a, b) => compare(a.backend, b.backend));
}
const ORDER: readonly BackendState[] = ['active', 'terminating', 'unready'];

function drainingSets(inspector: Inspector): Set<string> {
  const draining = new Set<string>();
  for (const { kind, context } of inspector.machines()) {
    if (kind !== 'service') continue;
    for (const [key, set] of Object.entries((context as ServiceContext).sets)) if (set.draining) draining.add(key);
  }
  return draining;
}

/** By any of `serviceForms`. */
export function isMeant(service: ServiceView, word: string): boolean {
  return service.service === word || service.frontends.some(({ frontend }) => formsOf(frontend).includes(word));
}

function formsOf(frontend: string): string[] {
  const [end = '', protocol] = frontend.split('/');
  const address = end.slice(0, end.lastIndexOf(':'));
  return [frontend, protocol ? end : '', address, address.replace(/^\[|\]$/g, '')];
}

/** Words that would have named a service. */
export const wordsOf = (services: readonly ServiceView[]): string[] =>
  services.flatMap(({ service, frontends }) => [service, ...frontends.map(({ frontend }) => frontend)]);

/** An entry of map `frontends` with what its numbers lead to. */
export interface LoadBalancerEntry {
  frontend: string;
  type: FrontendRow['type'];
  service: string;
  portName: string;
  internalSet: string;
  externalSet: string;
  backends: string[];
  external: string[];
  flags: string[];
  sourceRanges: string[];
}

/** Everything as it is in the kernel. */
export function loadBalancerOf(
  frontends: ReadonlyMap<string, unknown>,
  sets: ReadonlyMap<string, unknown>,
  ranges: ReadonlyMap<string, unknown>,
): LoadBalancerEntry[] {
  const cidrs = new Map<string, string[]>();
  for (const { frontend, cidr } of ranges.values() as Iterable<SourceRangeRow>)
    cidrs.set(frontend, [...(cidrs.get(frontend) ?? []), cidr]);
  return ([...frontends] as [string, FrontendRow][])
    .map(([frontend, row]) => {
      const { type, service, portName, internalSet, externalSet } = row;
      const internal = sets.get(internalSet) as BackendSetRow | undefined;
      const external = sets.get(externalSet) as BackendSetRow | undefined;
      return {
        frontend,
        type,
        service,
        portName,
        internalSet,
        externalSet,
        backends: internal?.backends ?? [],
        external: external?.backends ?? [],
        flags: [
          ...(row.externalLocal ? ['external-local'] : []),
          ...(row.sourceRanges ? ['source-ranges'] : []),
          ...(row.forwarding === 'dsr' ? ['dsr'] : []),
          ...(internal?.affinityTimeout ? [`affinity=${internal.affinityTimeout}s`] : []),
          ...(external?.maglevSize ? [`maglev=${external.maglevSize}`] : []),
        ],
        sourceRanges: (cidrs.get(frontend) ?? []).sort(),
      };
    })
    .sort((a, b) => compare(a.frontend, b.frontend));
}

function valuesOf<R>(inspector: Inspector, table: 'bpf.backend-sets' | 'bpf.source-ranges'): Map<string, R> {
  const found = new Map<string, R>();
  for (const { key, desired, actual } of inspector.rows(table)) {
    const value = (desired ?? actual) as R | undefined;
    if (value !== undefined) found.set(key, value);
  }
  return found;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
