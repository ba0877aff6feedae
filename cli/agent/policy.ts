/** What this node does of policy, and what it remembers of the agent before. */
import type { LocalRestored, PolicyFacts } from '../../cluster/events.ts';
import { POLICY_ENTRIES } from '../../datapath/runtime-config.ts';
import type { StoredRow } from '../../state/store.ts';
import { type IpcacheRow, type LocalEndpointRow, type LocalPolicyRow, tables } from '../../state/tables.ts';
import type { AgentConfig } from '../agent-config.ts';

export function policyFacts({ policy, maps }: AgentConfig): PolicyFacts {
  const { enforcement, audit, hostFirewall, allowLocalhost, labels } = policy;
  const entriesMax = maps[POLICY_ENTRIES] ?? tables['bpf.policy'].map?.entriesMax ?? 0;
  return { enforcement, audit, hostFirewall, allowLocalhost, entriesMax, labels };
}

/** reference/identities-and-labels.md, section 1: bits 24 and up are the scope; 1 is local. */
const isLocal = (identity: number): boolean => identity >>> 24 === 1;

/** Of what was stored. */
export function restored(stored: readonly StoredRow[]): LocalRestored {
  const of = <V>(table: StoredRow['table']): [string, V][] =>
    stored.filter((row) => row.table === table).map(({ key, value }) => [key, value as V]);
  const cidrs = of<IpcacheRow>('bpf.ipcache').filter(([, { identity }]) => isLocal(identity));
  return {
    type: 'local.restored',
    endpoints: of<LocalEndpointRow>('local.endpoints').map(([, row]) => row),
    cidrIdentities: Object.fromEntries(cidrs.map(([cidr, { identity }]) => [cidr, identity])),
    policies: of<LocalPolicyRow>('local.policies').map(([, row]) => row),
  };
}
