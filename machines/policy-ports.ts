/**
 * Named ports of pods elsewhere, as CiliumEndpoints tell them: heard only while a policy names ports that its peers name.
 *
 * - An identity has the ports of all who bear it: pods that differ in nothing but their ports share one.
 */
import type { KubeObject } from '../cluster/events.ts';
import type { NamedPort } from '../policy/change.ts';
import type { Policy } from '../policy/rule.ts';
import { canonical } from '../state/tables.ts';
import type { PolicyContext } from './policy-context.ts';
import { type Recorded, Records, recordsOf } from './records.ts';

export const PORT_TOPICS = ['every/ciliumendpoints', 'every/ciliumendpointslices', 'source/kube/ciliumendpoints'];

/** Named ports of a rule's ingress are its subject's own. */
export const namesPeerPorts = ({ rules }: Policy): boolean =>
  rules.some((rule) => rule.egress?.elements.some(({ ports }) => ports?.some(({ kind }) => kind === 'named')));

/** What one object says of one pod. */
export interface PeerPorts {
  identity: number;
  /** JSON of them. */
  text: string;
}

const protocols = ['TCP', 'UDP', 'SCTP'] as const;

function portsIn(said: unknown): NamedPort[] {
  return (Array.isArray(said) ? said : []).flatMap((one): NamedPort[] => {
    const { name, port, protocol } = (one ?? {}) as Partial<Record<string, unknown>>;
    const known = protocols.find((each) => each === protocol);
    const isPort = typeof port === 'number' && Number.isInteger(port) && port > 0 && port < 65_536;
    return typeof name === 'string' && name !== '' && isPort && known ? [{ name, port, protocol: known }] : [];
  });
}

function saidBy(object: KubeObject): PeerPorts[] {
  const all = Array.isArray(object['endpoints'])
    ? (object['endpoints'] as Record<string, unknown>[]).map((one) => ({
        id: one?.['id'],
        ports: one?.['named-ports'],
      }))
    : [object.status ?? {}].map((status) => {
        const { identity, 'named-ports': ports } = status as { identity?: { id?: unknown }; 'named-ports'?: unknown };
        return { id: identity?.id, ports };
      });
  return all.flatMap(({ id, ports }) => {
    const named = portsIn(ports);
    return typeof id === 'number' && id > 0 && named.length > 0 ? [{ identity: id, text: canonical(named) }] : [];
  });
}

type Bearers = Recorded<Readonly<Record<string, number>>>;

function counted(bearers: Bearers, { identity, text }: PeerPorts, by: 1 | -1): Bearers {
  const records = recordsOf(bearers);
  const { [text]: count = 0, ...others } = records.get(identity) ?? {};
  const now = count + by > 0 ? { ...others, [text]: count + by } : others;
  return records.with(identity, Object.keys(now).length > 0 ? now : undefined);
}

/** With the identities whose ports may be others than before. */
export function hearPeerPorts(
  context: PolicyContext,
  resource: string,
  object: KubeObject,
  gone: boolean,
): { context: PolicyContext; identities: number[] } {
  const { namespace, name } = object.metadata;
  const source = `${resource}/${namespace ? `${namespace}/` : ''}${name}`;
  const before = recordsOf(context.peerPorts).get(source) ?? [];
  const now = gone ? [] : saidBy(object);
  if (canonical(before) === canonical(now)) return { context, identities: [] };
  let { portBearers } = context;
  for (const one of before) portBearers = counted(portBearers, one, -1);
  for (const one of now) portBearers = counted(portBearers, one, 1);
  const peerPorts = recordsOf(context.peerPorts).with(source, now.length > 0 ? now : undefined);
  const identities = [...new Set([...before, ...now].map(({ identity }) => identity))];
  return { context: { ...context, peerPorts, portBearers }, identities };
}

/** Nobody names ports any more: what is heard no longer is forgotten. */
export const withoutPeerPorts = (context: PolicyContext): PolicyContext => ({
  ...context,
  peerPorts: Records.from({}),
  portBearers: Records.from({}),
});
