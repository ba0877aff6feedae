/**
 * What the agent itself did, as Hubble's agent events: endpoints that came and went, addresses that got an identity.
 *
 * - Policies are in `policy-events.ts`.
 * - They come from transitions and ops of the engine: what is not in the world yet is not told.
 */
import { merge, type Observable } from 'rxjs';
import { filter, map, mergeMap } from 'rxjs/operators';
import type { EndpointContext } from '../../machines/endpoint-context.ts';
import type { Inspector, OpRecord, Transition } from '../../reconcilers/inspect.ts';
import type { IpcacheRow } from '../../state/tables.ts';
import type { Names } from '../names.ts';
import { type Timestamp, timestampOf } from './types.ts';

/** `flow.AgentEvent`; one notification beside the type. */
export interface AgentEvent {
  type:
    | 'AGENT_STARTED'
    | 'POLICY_UPDATED'
    | 'POLICY_DELETED'
    | 'ENDPOINT_REGENERATE_SUCCESS'
    | 'ENDPOINT_REGENERATE_FAILURE'
    | 'ENDPOINT_CREATED'
    | 'ENDPOINT_DELETED'
    | 'IPCACHE_UPSERTED'
    | 'IPCACHE_DELETED';
  agent_start?: { time: Timestamp };
  policy_update?: { labels: string[]; revision: number; rule_count: number };
  endpoint_regenerate?: { id: number; labels: string[]; error: string };
  endpoint_update?: { id: number; labels: string[]; error: string; pod_name: string; namespace: string };
  ipcache_update?: {
    cidr: string;
    identity: number;
    old_identity?: { value: number };
    host_ip: string;
    old_host_ip: string;
    encrypt_key: number;
    namespace: string;
    pod_name: string;
  };
}
export type TimedAgentEvent = AgentEvent & { time: Timestamp };

/** Kinds of policies, by their resource. */
export const POLICY_KINDS: Readonly<Record<string, string>> = {
  networkpolicies: 'NetworkPolicy',
  ciliumnetworkpolicies: 'CiliumNetworkPolicy',
  ciliumclusterwidenetworkpolicies: 'CiliumClusterwideNetworkPolicy',
};
/** Whether an event is about a policy, by its subject. */
export const isPolicy = (subject: string): boolean => resourceOf(subject) in POLICY_KINDS;

const resourceOf = (subject: string): string => subject.slice(0, subject.indexOf('/'));

export function agentEvents(inspector: Inspector, names: Names): Observable<TimedAgentEvent> {
  const here = inspector.machines().filter(({ kind, state }) => kind === 'endpoint' && state === 'ready');
  const alive = new Map(here.map(({ key, context }) => [key, context as EndpointContext]));
  const done$ = inspector.ops$.pipe(filter(({ doneAt, error }) => doneAt !== undefined && !error));
  return merge(
    inspector.transitions$.pipe(
      filter(({ machine }) => machine.startsWith('endpoint/')),
      mergeMap((transition) => ofEndpoint(transition, inspector, alive)),
    ),
    done$.pipe(
      filter(({ table }) => table === 'bpf.ipcache'),
      map((op) => ofAddress(op, names)),
    ),
  );
}

function ofEndpoint(
  { machine, to, from, cause }: Transition,
  inspector: Inspector,
  alive: Map<string, EndpointContext>,
): TimedAgentEvent[] {
  const time = timeOf(cause.at);
  if (to === '') {
    const gone = alive.get(machine);
    alive.delete(machine);
    return gone ? [{ type: 'ENDPOINT_DELETED', endpoint_update: updateOf(gone), time }] : [];
  }
  if (to !== 'programmed' && to !== 'failing' && from !== 'failing') return [];
  const context = inspector.machine(machine)?.context as EndpointContext | undefined;
  if (!context) return [];
  const isNew = !alive.has(machine);
  alive.set(machine, context);
  const created: TimedAgentEvent[] =
    isNew && to === 'programmed' ? [{ type: 'ENDPOINT_CREATED', endpoint_update: updateOf(context), time }] : [];
  const { endpointId: id, labels, backoff } = context;
  const error = to === 'failing' ? backoff.reason : '';
  const type = error ? 'ENDPOINT_REGENERATE_FAILURE' : 'ENDPOINT_REGENERATE_SUCCESS';
  return [...created, { type, endpoint_regenerate: { id, labels, error }, time }];
}

const updateOf = ({ endpointId: id, labels, podName: pod_name, podNamespace: namespace }: EndpointContext) => ({
  id,
  labels,
  error: '',
  pod_name,
  namespace,
});

function ofAddress({ key: cidr, action, value, before, doneAt = 0 }: OpRecord, names: Names): TimedAgentEvent {
  const [now, was] = [value as IpcacheRow | undefined, before as IpcacheRow | undefined];
  const [namespace = '', pod_name = ''] = names.of(cidr.slice(0, cidr.indexOf('/'))).pod.split('/');
  return {
    type: action === 'put' ? 'IPCACHE_UPSERTED' : 'IPCACHE_DELETED',
    ipcache_update: {
      cidr,
      identity: now?.identity ?? was?.identity ?? 0,
      ...(now && was && { old_identity: { value: was.identity } }),
      host_ip: now?.tunnelEndpoint ?? '',
      old_host_ip: was?.tunnelEndpoint ?? '',
      encrypt_key: now?.encryptKey ?? 0,
      namespace,
      pod_name,
    },
    time: timeOf(doneAt),
  };
}

export const timeOf = (ms: number): Timestamp => timestampOf(BigInt(ms) * 1_000_000n);
