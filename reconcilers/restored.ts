/** What an agent knows from its store of the life before it, as the event that the log begins with. */
import type { LocalRestored } from '../cluster/events.ts';
import { localIdentity } from '../policy/local-scope.ts';
import type { StoredRow } from '../state/store.ts';
import type { IpcacheRow, LocalEndpointRow, LocalPolicyRow } from '../state/tables.ts';
import { restoredPeers } from './restored-peers.ts';

export function restored(stored: readonly StoredRow[]): LocalRestored {
  const of = <V>(table: StoredRow['table']): [string, V][] =>
    stored.filter((row) => row.table === table).map(({ key, value }) => [key, value as V]);
  const cidrs = of<IpcacheRow>('bpf.ipcache').filter(([, { identity }]) => localIdentity.isCidr(identity));
  return {
    type: 'local.restored',
    endpoints: of<LocalEndpointRow>('local.endpoints').map(([, row]) => row),
    cidrIdentities: Object.fromEntries(cidrs.map(([cidr, { identity }]) => [cidr, identity])),
    policies: of<LocalPolicyRow>('local.policies').map(([, row]) => row),
    ...restoredPeers(stored),
  };
}
