/** What the simulated kernel knows of other nodes: peers of WireGuard, and tables of plain entries. */
import type { TableName, WireguardPeerRow } from '../state/tables.ts';

export const plainTables = ['rules', 'xfrm.states', 'xfrm.policies', 'bpf.nodes'] as const;
export type PlainTable = (typeof plainTables)[number];
export const isPlainTable = (table: string): table is PlainTable => (plainTables as readonly string[]).includes(table);

/** Entries that name nothing else. */
export class PlainTables {
  readonly #rows = new Map<PlainTable, Map<string, unknown>>(plainTables.map((table) => [table, new Map()]));
  readonly #capacity: (table: TableName) => number | undefined;

  constructor(capacity: (table: TableName) => number | undefined) {
    this.#capacity = capacity;
  }

  dump(table: PlainTable): Map<string, unknown> {
    return new Map(this.#rows.get(table));
  }

  /** `value` undefined: delete. Returns the errno of a refusal. */
  change(table: PlainTable, key: string, value: unknown): string | undefined {
    const rows = this.#rows.get(table) as Map<string, unknown>;
    if (value === undefined) return void rows.delete(key);
    const max = this.#capacity(table);
    if (max !== undefined && rows.size >= max && !rows.has(key)) return 'E2BIG';
    return void rows.set(key, value);
  }
}

/** An address that a peer takes is no longer another's: rows of peers of the same device after a put. */
export function withoutTaken<P extends { row: WireguardPeerRow }>(
  peers: Map<string, P>,
  key: string,
  { dev, allowedIps }: WireguardPeerRow,
): void {
  for (const [other, peer] of peers) {
    if (other === key || peer.row.dev !== dev || !peer.row.allowedIps.some((one) => allowedIps.includes(one))) continue;
    const left = peer.row.allowedIps.filter((one) => !allowedIps.includes(one));
    peers.set(other, { ...peer, row: { ...peer.row, allowedIps: left } });
  }
}
