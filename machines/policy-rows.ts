/** What policy wants the world to be: maps, entries, identities of CIDRs, and what is said of policy objects. */
import { entries } from '../policy/resolver.ts';
import { policyEntryKey, type Row } from '../state/tables.ts';
import { HOST_GROUP, statusGroup } from './policy-apply.ts';
import { HOST_ENDPOINT, objectsOf, type PolicyContext, stateOf } from './policy-context.ts';
import { type EndpointPolicyFact, flagsOf, policyRevisionOf } from './policy-facts.ts';
import { statusRow } from './policy-status.ts';

export { statusGroup };

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
    case HOST_GROUP:
      return hostRows(context);
    default:
      return statusRows(context, rest.join('/'));
  }
}

function mapRows({ agent, inForce }: PolicyContext, endpointId: string): Row[] {
  if (!inForce[endpointId] || !agent.policy) return [];
  return [{ table: 'bpf.policy-maps', key: endpointId, value: { entriesMax: BOTH * agent.policy.entriesMax } }];
}

function entryRows(context: PolicyContext, endpointId: number, identity: number): Row[] {
  return entries(stateOf(context), endpointId, identity).map(
    ({ direction, identity: peer, protocol, port, deny, precedence, cookie, origins }): Row => ({
      table: 'bpf.policy',
      key: policyEntryKey(endpointId, direction, peer, protocol, port),
      value: { deny, precedence, cookie, origins: [...origins] },
    }),
  );
}

function cidrRows({ cidrs }: PolicyContext, cidr: string): Row[] {
  const identity = cidrs[cidr];
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
  const kept: Row[] =
    object.problems.length > 0 && lastValid ? [{ table: 'local.policies', key, value: { policy: lastValid } }] : [];
  return [...kept, ...statusRow(context.agent, object)];
}

/** Undefined while nothing is known. */
export function factOf(
  { agent, inForce, withheld, entriesWanted }: PolicyContext,
  endpointId: number,
  audit: boolean,
): EndpointPolicyFact | undefined {
  const now = inForce[endpointId];
  if (!now || !agent.policy) return undefined;
  const problem = withheld[endpointId]
    ? `its policies come to ${entriesWanted[endpointId]} entries, its map has room for ${agent.policy.entriesMax}: what was in force before stays`
    : '';
  return { ...now, audit: audit || agent.policy.audit, problem };
}
