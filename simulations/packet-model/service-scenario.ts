/**
 * Random services of one node, written to the maps by the real driver and told to the model row by row.
 *
 * - Rows change as plans change them: what names goes after what is named is there, and before it goes.
 */
import type { Family } from '../../bpf/test/cast.ts';
import type { Op } from '../../datapath/driver.ts';
import { plan } from '../../reconcilers/plan.ts';
import { type BackendRow, backendKey, canonical, type FrontendRow, type Protocol } from '../../state/tables.ts';
import type { AnyRow } from '../packet-model.ts';

export interface Dice {
  below(end: number): number;
  chance(share: number): boolean;
  pick<T>(from: readonly T[]): T;
}

export interface FrontendPlace {
  address: string;
  port: number;
  protocol: Protocol;
  type: FrontendRow['type'];
}

const MAGLEV_SIZE = 251;

/** Addresses and ports that may be frontends of a family. */
export const frontendPlaces = (f: Family): FrontendPlace[] => {
  const [cluster, balancer, external] = f.v6
    ? ['fd00:96::1', '2001:db8:51::50', '2001:db8:51::51']
    : ['10.96.0.1', '198.51.100.50', '198.51.100.51'];
  return [
    { address: cluster, port: 80, protocol: 'TCP', type: 'ClusterIP' },
    { address: cluster, port: 53, protocol: 'UDP', type: 'ClusterIP' },
    { address: cluster, port: 8080, protocol: 'SCTP', type: 'ClusterIP' },
    { address: f.node, port: 30080, protocol: 'TCP', type: 'NodePort' },
    { address: f.node, port: 30053, protocol: 'UDP', type: 'NodePort' },
    { address: balancer, port: 80, protocol: 'TCP', type: 'LoadBalancer' },
    { address: external, port: 80, protocol: 'TCP', type: 'ExternalIP' },
    { address: external, port: 53, protocol: 'UDP', type: 'ExternalIP' },
  ];
};

/** Where backends may be: pods of this node and of another. */
const backendPlaces = (f: Family, { protocol }: FrontendPlace): BackendRow[] =>
  [f.a, f.b, f.remote, f.v6 ? 'fd00:1::3' : '10.0.1.3'].flatMap((address) =>
    (protocol === 'TCP' ? [8080, 80] : protocol === 'UDP' ? [53, 5353] : [8080, 9090]).map((port) => ({
      address,
      port,
      protocol,
    })),
  );

/** Rows of services, as the machine of services would want them. */
export function randomServices(dice: Dice, f: Family, remote = true): Map<string, AnyRow> {
  const rows = new Map<string, AnyRow>();
  const put = (row: AnyRow): void => void rows.set(`${row.table} ${row.key}`, row);
  frontendPlaces(f).forEach((place, i) => {
    if (dice.chance(0.25)) return;
    const name = `demo/web:${i}/${f.name}`;
    const isOutside = place.type !== 'ClusterIP';
    const externalLocal = isOutside && dice.chance(0.3);
    const all = backendPlaces(f, place).filter(({ address }) => remote || address === f.a || address === f.b);
    const backends = all.filter(() => dice.chance(0.35));
    const local = backends.filter(({ address }) => address === f.a || address === f.b);
    const affinityTimeout = dice.chance(0.25) ? 3600 : 0;
    const maglevSize = isOutside && dice.chance(0.3) ? MAGLEV_SIZE : 0;
    const putSet = (key: string, chosen: readonly BackendRow[]): void => {
      for (const backend of chosen) put({ table: 'bpf.backends', key: backendKey(backend), value: backend });
      const value = { backends: chosen.map(backendKey).sort(), maglevSize, affinityTimeout };
      put({ table: 'bpf.backend-sets', key, value });
    };
    putSet(name, backends);
    if (externalLocal) putSet(`${name}/local`, local);
    const key = backendKey(place);
    const sourceRanges = (place.type === 'LoadBalancer' || place.type === 'ExternalIP') && dice.chance(0.3);
    if (sourceRanges) {
      const cidr = f.v6 ? '2001:db8:99::/48' : '203.0.113.0/25';
      put({ table: 'bpf.source-ranges', key: `${key}|${cidr}`, value: { frontend: key, cidr } });
    }
    const value: FrontendRow = {
      type: place.type,
      service: 'demo/web',
      portName: String(i),
      internalSet: name,
      externalSet: externalLocal ? `${name}/local` : name,
      externalLocal,
      sourceRanges,
      forwarding: isOutside && dice.chance(0.3) ? 'dsr' : 'snat',
    };
    put({ table: 'bpf.frontends', key, value });
  });
  return rows;
}

/** Ops from one state to another, in the order of a plan. */
export function opsBetween(before: ReadonlyMap<string, AnyRow>, after: ReadonlyMap<string, AnyRow>): Op[][] {
  const opOf = (row: AnyRow, action: Op['action'], old: unknown): Op => ({
    ...row,
    action,
    value: action === 'put' ? row.value : undefined,
    before: old,
    revision: 1,
    owners: ['test'],
  });
  const puts = [...after].flatMap(([name, row]) =>
    canonical(before.get(name)?.value) === canonical(row.value) ? [] : [opOf(row, 'put', before.get(name)?.value)],
  );
  const deletes = [...before].flatMap(([name, row]) => (after.has(name) ? [] : [opOf(row, 'delete', row.value)]));
  return plan([...puts, ...deletes]).map(({ ops }) => ops);
}
