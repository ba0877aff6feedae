/** What policy wants the world to be: maps, entries, identities of CIDRs, and what is said of policy objects. */
import type { PolicyEntry } from '../policy/change.ts';
import { entriesOfBoth } from '../policy/intersection.ts';
import { entries } from '../policy/resolver.ts';
import { policyEntryKey, type Row } from '../state/tables.ts';
import type { Fact } from './machine.ts';
import { HOST_ENDPOINT, objectsOf, type PolicyContext, revived, stateOf } from './policy-context.ts';
import { type EndpointPolicyFact, endpointPolicyTopic, flagsOf, policyRevisionOf } from './policy-facts.ts';
import { HOST_GROUP } from './policy-settle.ts';
import { statusRow } from './policy-status.ts';
import { recordsOf } from './records.ts';

/** While a policy is replaced by another its map holds the entries of both. */
const BOTH = 2;
const HOST_IDENTITY = 1;
/** The host's place among endpoints: no packet has this address. */
const HOST_ADDRESS = '0.0.0.0';
const NO_MAC = '00:00:00:00:00:00';

export function groupRows(context: PolicyContext, group: string): Row[] {
  const [kind, ...rest] = group.split('/');
  switch (kind) {
    case 'map':
      return mapRows(context, String(rest[0]));
    case 'entries':
      return entryRows(context, Number(rest[0]), Number(rest[1]));
    case 'cidr':
      return cidrRows(context, rest.join('/'));
    case 'endpoint':
      return [];
    case HOST_GROUP:
      return hostRows(context);
    default:
      return statusRows(context, rest.join('/'));
  }
}

function mapRows({ agent, endpoints }: PolicyContext, endpointId: string): Row[] {
  if (!recordsOf(endpoints).get(endpointId) || !agent.policy) return [];
  return [{ table: 'bpf.policy-maps', key: endpointId, value: { entriesMax: BOTH * agent.policy.entriesMax } }];
}

function entryRows(context: PolicyContext, endpointId: number, identity: number): Row[] {
  return entriesNow(context, endpointId, identity).map(
    ({ direction, identity: peer, protocol, port, deny, precedence, cookie, origins }): Row => ({
      table: 'bpf.policy',
      key: policyEntryKey(endpointId, direction, peer, protocol, port),
      value: { deny, precedence, cookie, origins: [...origins] },
    }),
  );
}

/** Of an endpoint that was there before the change in whose middle we are: what it allows before and after. */
function entriesNow(context: PolicyContext, endpointId: number, identity: number): PolicyEntry[] {
  const state = stateOf(context);
  const before = context.closing && revived(context.closing.before);
  return before?.tables.subjects.has(endpointId) && state.tables.subjects.has(endpointId)
    ? entriesOfBoth(before, state, endpointId, identity)
    : entries(state, endpointId, identity);
}

function cidrRows({ cidrs }: PolicyContext, cidr: string): Row[] {
  const identity = recordsOf(cidrs).get(cidr);
  if (identity === undefined) return [];
  return [{ table: 'bpf.ipcache', key: cidr, value: { identity, tunnelEndpoint: '', encryptKey: 0, flags: 0 } }];
}

function hostRows(context: PolicyContext): Row[] {
  const fact = context.agent.policy?.hostFirewall ? factOf(context, HOST_ENDPOINT, false) : undefined;
  if (!fact) return [];
  const flags = flagsOf(fact);
  const value = { link: '', identity: HOST_IDENTITY, id: HOST_ENDPOINT, flags, mac: NO_MAC, hostMac: NO_MAC };
  return [{ table: 'bpf.endpoints', key: HOST_ADDRESS, value: { ...value, policyRevision: policyRevisionOf(flags) } }];
}

function statusRows(context: PolicyContext, key: string): Row[] {
  const object = context.known ? objectsOf(context).get(key) : undefined;
  if (!object) return [];
  const { lastValid } = object;
  const kept: Row[] = lastValid ? [{ table: 'local.policies', key, value: { policy: lastValid } }] : [];
  return [...kept, ...statusRow(object)];
}

/** Undefined while nothing is known. */
function factOf({ agent, endpoints }: PolicyContext, id: number, audit: boolean): EndpointPolicyFact | undefined {
  const now = recordsOf(endpoints).get(id);
  if (!now || !agent.policy) return undefined;
  const { identity, ingress, egress, withheld, entries: wanted } = now;
  const problem =
    withheld.length > 0
      ? `its policies come to ${wanted} entries, its map has room for ${agent.policy.entriesMax}: what was in force before stays`
      : '';
  return { identity, ingress, egress, audit: audit || agent.policy.audit, problem };
}

/** What an endpoint is told. */
export function groupFacts(context: PolicyContext, group: string): Fact[] {
  const [kind, endpointId] = group.split('/');
  if (kind !== 'endpoint' || !context.known) return [];
  const id = Number(endpointId);
  const machine = recordsOf(context.machines).get(id);
  const audit = machine !== undefined && recordsOf(context.subjects).get(machine)?.audit === true;
  const value = machine === undefined ? undefined : factOf(context, id, audit);
  return value ? [{ topic: endpointPolicyTopic(id), value }] : [];
}
