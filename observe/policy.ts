/** Policy of a node as its machine has it: objects and how they stand, what is in force where, and everything to ask questions of it. */
import {
  HOST_ENDPOINT,
  objectsOf,
  type PolicyContext,
  type PolicyObject,
  policyMachineKey,
  stateOf,
} from '../machines/policy-context.ts';
import { recordsOf } from '../machines/records.ts';
import type { IdentityLabels, PolicyInputs } from '../policy/change.ts';
import { toJSON } from '../policy/resolver.ts';
import type { Rule } from '../policy/rule.ts';
import type { Inspector } from '../reconcilers/inspect.ts';
import { type PolicyEntryRow, policyEntryKey, type TableName } from '../state/tables.ts';
import { endpointsOf } from './endpoints.ts';
import { reservedName } from './names.ts';

export type PolicyStanding = 'valid' | 'needs L7' | 'invalid';

export interface PolicyView {
  /** `kind/namespace/name`. */
  key: string;
  kind: string;
  namespace: string;
  name: string;
  generation: number;
  status: PolicyStanding;
  problems: readonly string[];
  needsL7: readonly string[];
  /** The version in force is an older one. */
  outdated: boolean;
  /** In force. */
  rules: readonly Rule[];
}

export interface PolicyNodeView {
  /** Everything was listed once. */
  known: boolean;
  /** Nothing waits and all rows are in the kernel. */
  settled: boolean;
  policies: PolicyView[];
  /** Endpoints whose entries exceed their map. */
  overflowing: string[];
  /** That policies name. */
  services: { service: string; addresses: readonly string[] }[];
  groups: string[];
}

/** Undefined: this agent has no policy machine. */
export function policyContextOf(inspector: Inspector): PolicyContext | undefined {
  return inspector.machine(policyMachineKey)?.context as PolicyContext | undefined;
}

const policyTables: readonly TableName[] = ['bpf.policy-maps', 'bpf.policy', 'bpf.ipcache', 'bpf.endpoints'];

export function policyNodeView(inspector: Inspector): PolicyNodeView | undefined {
  const context = policyContextOf(inspector);
  if (!context) return undefined;
  const { groups, services } = toJSON(stateOf(context));
  const isApplied = policyTables.every((table) => inspector.rows(table).every(({ state }) => state === 'in-sync'));
  return {
    known: context.known,
    settled:
      context.known &&
      context.waiting.length === 0 &&
      context.closing === undefined &&
      context.retired.length === 0 &&
      isApplied,
    policies: objectsOf(context)
      .values()
      .map(viewOf)
      .sort((a, b) => (a.key < b.key ? -1 : 1)),
    overflowing: overflowingOf(context),
    services: services.map(({ namespace, name, addresses }) => ({ service: `${namespace}/${name}`, addresses })),
    groups: groups.map(({ name }) => name).sort(),
  };
}

function overflowingOf({ endpoints }: PolicyContext): string[] {
  const records = recordsOf(endpoints);
  return records.keys().filter((id) => records.get(id)?.withheld.length !== 0);
}

function viewOf(object: PolicyObject): PolicyView {
  const { kind, namespace, name, generation, problems, needsL7, lastValid } = object;
  return {
    key: `${kind}/${namespace}/${name}`,
    kind,
    namespace,
    name,
    generation,
    status: problems.length > 0 ? 'invalid' : needsL7.length > 0 ? 'needs L7' : 'valid',
    problems,
    needsL7,
    outdated: problems.length > 0 && lastValid !== undefined,
    rules: lastValid?.rules ?? [],
  };
}

/** How many identities the widest selector has, by what it selects. */
export function widestSelectors(inspector: Inspector): Readonly<Record<'cluster' | 'world', number>> {
  const context = policyContextOf(inspector);
  const widest = { cluster: 0, world: 0 };
  if (context)
    stateOf(context).tables.selectors.forEach(({ selector, matched }) => {
      const kind = selector.kind === 'cidr' ? 'world' : 'cluster';
      widest[kind] = Math.max(widest[kind], matched.size);
    });
  return widest;
}

/** What a question about policy needs besides the rules: who is who here. */
export interface PolicyWorld {
  inputs: PolicyInputs;
  pods: { endpointId: number; pod: string; identity: number; addresses: string[] }[];
  hostEndpoint: number;
  /** Endpoints whose denials are only logged, by their own word. An older agent does not tell. */
  audited?: number[];
  /** Prefix to identity. */
  ipcache: { cidr: string; identity: number }[];
}

export function policyWorld(inspector: Inspector): PolicyWorld | undefined {
  const context = policyContextOf(inspector);
  if (!context) return undefined;
  return {
    inputs: toJSON(stateOf(context)),
    pods: endpointsOf(inspector)
      .filter(({ pod, identity }) => pod !== '' && identity !== 0)
      .map(({ id, pod, identity, ipv4, ipv6 }) => ({
        endpointId: id,
        pod,
        identity,
        addresses: [ipv4, ipv6].filter(Boolean),
      })),
    hostEndpoint: HOST_ENDPOINT,
    audited: recordsOf(context.subjects)
      .values()
      .filter(({ audit }) => audit)
      .map(({ endpointId }) => endpointId),
    ipcache: inspector.rows('bpf.ipcache').flatMap(({ key, desired, actual }) => {
      const row = (desired ?? actual) as { identity: number } | undefined;
      return row ? [{ cidr: key, identity: row.identity }] : [];
    }),
  };
}

export interface EntryView {
  direction: string;
  action: 'allow' | 'deny';
  /** Of the peer; 0: any. */
  identity: number;
  labels: string[];
  /** `8080/TCP`, `8000/13/TCP`, `ANY`. */
  port: string;
  policies: readonly string[];
  state: string;
}

/** Entries of an endpoint's policy map as they are believed to be in the kernel, with the policies behind each. */
export function entriesOf(inspector: Inspector, endpointId: number): EntryView[] {
  const context = policyContextOf(inspector);
  const labels = new Map((context ? toJSON(stateOf(context)).identities : []).map((one) => [one.identity, one.labels]));
  const prefix = policyEntryKey(endpointId, 'ingress', 0, '', '').slice(0, String(endpointId).length + 1);
  return inspector
    .rows('bpf.policy')
    .filter(({ key, actual, desired }) => key.startsWith(prefix) && (actual ?? desired) !== undefined)
    .map(({ key, actual, desired, state }) => {
      const [, direction = '', identity = '', protocol = '', port = ''] = key.split('|');
      const { deny, origins } = (actual ?? desired) as PolicyEntryRow;
      const number = Number(identity);
      return {
        direction,
        action: deny ? 'deny' : 'allow',
        identity: number,
        labels: number === 0 ? [] : textsOf(labels.get(number), number),
        port: protocol === 'ANY' ? 'ANY' : port === '*' ? protocol : `${port}/${protocol}`,
        policies: origins,
        state,
      };
    });
}

function textsOf(labels: IdentityLabels | undefined, identity: number): string[] {
  if (labels) return Object.entries(labels).map(([key, value]) => (value === '' ? key : `${key}=${value}`));
  const name = reservedName(identity);
  return name ? [`reserved:${name}`] : [];
}
