/** What this node does of policy, and what it remembers of the agent before. */
import type { IpsecKey, LocalRestored, PolicyFacts } from '../../cluster/events.ts';
import { POLICY_ENTRIES } from '../../datapath/runtime-config.ts';
import { localIdentity } from '../../policy/local-scope.ts';
import { restoredPeers } from '../../reconcilers/restored-peers.ts';
import type { StoredRow } from '../../state/store.ts';
import {
  type IpcacheRow,
  type LocalEndpointRow,
  type LocalPolicyRow,
  type NodeRow,
  tables,
  type XfrmStateRow,
} from '../../state/tables.ts';
import type { AgentConfig } from '../agent-config.ts';

export function policyFacts({ policy, maps }: AgentConfig): PolicyFacts {
  const { enforcement, audit, hostFirewall, allowLocalhost, labels } = policy;
  const entriesMax = maps[POLICY_ENTRIES] ?? tables['bpf.policy'].map?.entriesMax ?? 0;
  return { enforcement, audit, hostFirewall, allowLocalhost, entriesMax, labels };
}

/** Of what was stored. */
export function restored(stored: readonly StoredRow[]): LocalRestored {
  const of = <V>(table: StoredRow['table']): [string, V][] =>
    stored.filter((row) => row.table === table).map(({ key, value }) => [key, value as V]);
  const cidrs = of<IpcacheRow>('bpf.ipcache').filter(([, { identity }]) => localIdentity.isCidr(identity));
  return {
    type: 'local.restored',
    endpoints: of<LocalEndpointRow>('local.endpoints').map(([, row]) => row),
    cidrIdentities: Object.fromEntries(cidrs.map(([cidr, { identity }]) => [cidr, identity])),
    nodeIds: Object.fromEntries(of<NodeRow>('bpf.nodes').map(([address, { nodeId }]) => [address, nodeId])),
    ipsecKeys: associated(of<XfrmStateRow>('xfrm.states').map(([, row]) => row)),
    policies: of<LocalPolicyRow>('local.policies').map(([, row]) => row),
    ...restoredPeers(stored),
  };
}

/** Keys that associations have, by number. */
function associated(rows: readonly XfrmStateRow[]): IpsecKey[] {
  const keys = new Map(rows.map(({ spi, fingerprint }) => [spi, { id: spi, fingerprint }]));
  return [...keys.values()].sort((a, b) => a.id - b.id);
}
