/** What must not change over a restart of what this node has with others: numbers of nodes, and keys that are still in use. */
import type { IpsecKey, LocalRestored } from '../cluster/events.ts';
import type { StoredRow } from '../state/store.ts';
import type { NodeRow, XfrmStateRow } from '../state/tables.ts';

export function restoredPeers(stored: readonly StoredRow[]): Pick<LocalRestored, 'nodeIds' | 'ipsecKeys'> {
  const nodeIds: Record<string, number> = {};
  const keys = new Map<string, IpsecKey>();
  let sentWith = 0;
  for (const { table, key, value } of stored) {
    if (table === 'bpf.nodes') {
      const { nodeId, encryptKey } = value as NodeRow;
      nodeIds[key] = nodeId;
      sentWith = encryptKey || sentWith;
    } else if (table === 'xfrm.states') {
      const { spi, fingerprint } = value as XfrmStateRow;
      keys.set(`${spi}/${fingerprint}`, { id: spi, fingerprint });
    }
  }
  // The one that is sent with last: it was the newest that all knew.
  const ipsecKeys = [...keys.values()].sort(
    (a, b) => Number(a.id === sentWith) - Number(b.id === sentWith) || a.id - b.id,
  );
  return { ...(Object.keys(nodeIds).length > 0 && { nodeIds }), ...(ipsecKeys.length > 0 && { ipsecKeys }) };
}
