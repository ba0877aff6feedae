/** Endpoints and identities for people, gathered from machines and rows. */
import { type EndpointContext, missing } from '../machines/endpoint-context.ts';
import { reservedIdentities } from '../machines/identity.ts';
import type { Inspector, MachineView } from '../reconcilers/inspect.ts';
import type { EndpointRow } from '../state/tables.ts';

export type Enforcement = 'Disabled' | 'Enabled' | 'Disabled (Audit)';

export interface EndpointView {
  id: number;
  pod: string;
  containerId: string;
  ifname: string;
  ingress: Enforcement;
  egress: Enforcement;
  identity: number;
  labels: string[];
  ipv6: string;
  ipv4: string;
  /** State of its machine. */
  state: string;
  /** What it waits for or what failed last; '' when all is well. */
  reason: string;
  link: string;
  mac: string;
  netns: string;
  machine: string;
}

export interface IdentityView {
  id: number;
  labels: string[];
  reserved: boolean;
  /** Endpoints of this node. */
  endpoints: number;
  state: string;
}

/** enum endpoint_flags of bpf/lib/structs.h. */
const ENFORCE = { ingress: 1, egress: 2 };
const AUDIT = 4;

export function endpointsOf(inspector: Inspector): EndpointView[] {
  return inspector
    .machines()
    .filter(({ kind }) => kind === 'endpoint')
    .map((machine) => endpointView(machine, inspector))
    .sort((a, b) => a.id - b.id);
}

function endpointView(machine: MachineView, inspector: Inspector): EndpointView {
  const context = machine.context as EndpointContext;
  const address = context.ipv4 || context.ipv6;
  const row = address
    ? (inspector.explain('bpf.endpoints', address)?.row.desired as EndpointRow | undefined)
    : undefined;
  const {
    endpointId: id,
    podNamespace,
    podName,
    containerId,
    ifname,
    identity,
    labels,
    ipv4,
    ipv6,
    link,
    mac,
    netns,
  } = context;
  return {
    id,
    pod: podName ? `${podNamespace}/${podName}` : '',
    containerId,
    ifname,
    ingress: enforcement(row?.flags ?? 0, ENFORCE.ingress),
    egress: enforcement(row?.flags ?? 0, ENFORCE.egress),
    identity,
    labels,
    ipv6,
    ipv4,
    state: machine.state,
    reason: reasonOf(context, machine.state),
    link,
    mac,
    netns,
    machine: machine.key,
  };
}

/** States in which nothing of it is wired yet. */
const WAITING: ReadonlySet<string> = new Set(['created', 'identity', 'awaiting-policy']);

function reasonOf(context: EndpointContext, state: string): string {
  if (WAITING.has(state)) return missing(context);
  const { backoff, policyProblem, identityProblem } = context;
  return (backoff.attempt > 0 && backoff.reason) || policyProblem || identityProblem;
}

function enforcement(flags: number, direction: number): Enforcement {
  if ((flags & direction) === 0) return 'Disabled';
  return (flags & AUDIT) === 0 ? 'Enabled' : 'Disabled (Audit)';
}

/** The ways to name an endpoint, beside its number. */
export const endpointForms = [
  'ID',
  'cep-name:NAMESPACE/POD',
  'pod-name:NAMESPACE/POD',
  'ipv4:ADDRESS',
  'ipv6:ADDRESS',
  'container-id:ID',
  'cni-attachment-id:CONTAINER:IFNAME',
] as const;

/** Undefined when the text has none of the forms. */
export function endpointMatcher(text: string): ((endpoint: EndpointView) => boolean) | undefined {
  if (/^\d+$/.test(text)) return ({ id }) => id === Number(text);
  const colon = text.indexOf(':');
  const value = text.slice(colon + 1);
  switch (text.slice(0, Math.max(colon, 0))) {
    case 'cep-name':
    case 'pod-name':
      return ({ pod }) => pod === value;
    case 'ipv4':
      return ({ ipv4 }) => ipv4 === value;
    case 'ipv6':
      return ({ ipv6 }) => ipv6 === value;
    case 'container-id':
      return ({ containerId }) => containerId === value;
    case 'cni-attachment-id':
      return ({ containerId, ifname }) => `${containerId}:${ifname}` === value;
    default:
      return undefined;
  }
}

/** Reserved identities, and those that endpoints of this node have or ask for. */
export function identitiesOf(inspector: Inspector): IdentityView[] {
  const uses = new Map<number, number>();
  const found = new Map<number, IdentityView>();
  for (const { identity, labels } of endpointsOf(inspector)) {
    if (identity === 0) continue;
    uses.set(identity, (uses.get(identity) ?? 0) + 1);
    found.set(identity, { id: identity, labels, reserved: false, endpoints: 0, state: 'allocated' });
  }
  for (const { kind, context, state } of inspector.machines()) {
    if (kind !== 'identity') continue;
    const { text, numbers } = context as { text: string; numbers: number[] };
    const id = numbers[0] ?? 0;
    found.set(id, { id, labels: text.split(';').filter(Boolean), reserved: false, endpoints: 0, state });
  }
  for (const [name, id] of Object.entries(reservedIdentities)) {
    found.set(id, { id, labels: [`reserved:${name}`], reserved: true, endpoints: 0, state: 'allocated' });
  }
  return [...found.values()]
    .map((view) => ({ ...view, endpoints: uses.get(view.id) ?? 0 }))
    .sort((a, b) => a.id - b.id);
}
