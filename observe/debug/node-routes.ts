/** The node as people know it: status, health, endpoints, identities, BPF maps, and the datapath's events. */
import { uptime } from 'node:os';
import { EMPTY, map, merge, mergeMap, type Observable } from 'rxjs';
import type { Inspector } from '../../reconcilers/inspect.ts';
import { dropReasons } from '../../state/drop-reasons.ts';
import type { TableName } from '../../state/tables.ts';
import { clusterNodesOf } from '../cluster-nodes.ts';
import { endpointForms, endpointMatcher, endpointsOf, identitiesOf } from '../endpoints.ts';
import { keptLinkNames } from '../link-names.ts';
import { describe, describeSocket, type MonitorRecord } from '../monitor.ts';
import type { Names } from '../names.ts';
import { podsByNetns } from '../pods-by-netns.ts';
import { entriesOf } from '../policy.ts';
import { healthOfNode, statusOf } from '../status.ts';
import { isFollow, json, Refusal, type Route } from './http.ts';
import type { DatapathView, DebugSources } from './sources.ts';

/** Entries of one answer: conntrack may hold a quarter of a million. */
const FLOWS_MAX = 100_000;

const bpfTables: Readonly<Record<string, TableName>> = {
  ipcache: 'bpf.ipcache',
  endpoints: 'bpf.endpoints',
  netdevs: 'bpf.netdevs',
  attachments: 'attachments',
};
const bpfOwn = ['ct', 'nat', 'metrics', 'maps'] as const;

export function nodeRoutes(sources: DebugSources, names: Names, now: () => number): Route[] {
  const { inspector, datapath } = sources;
  return [
    { pattern: '/v1/status', doc: 'the node in one object', answer: () => json(statusOf(sources, now())) },
    {
      pattern: '/v1/health',
      doc: '200 when ok, 503 when starting or degraded, with reasons',
      answer() {
        const health = healthOfNode(sources);
        return json(health, health.status === 'ok' ? 200 : 503);
      },
    },
    {
      pattern: '/metrics',
      doc: 'metrics in Prometheus’ text format',
      async answer() {
        if (!sources.metrics) throw new Refusal(404, 'there are no metrics here: this is a replay', 'a running agent');
        return { kind: 'text', body: await sources.metrics() };
      },
    },
    { pattern: '/v1/endpoints', doc: 'endpoints of this node', answer: () => json(endpointsOf(inspector)) },
    {
      pattern: '/v1/endpoints/*',
      doc: `one endpoint with the entries of its policy map, by ${endpointForms.join(', ')}`,
      answer({ rest }) {
        const isMeant = endpointMatcher(rest);
        if (!isMeant) throw new Refusal(400, `${rest} names no endpoint`, endpointForms.join(', '));
        const found = endpointsOf(inspector).find(isMeant);
        if (!found) throw new Refusal(404, `no endpoint is ${rest}`, 'an endpoint from /v1/endpoints');
        return json({ ...found, policy: entriesOf(inspector, found.id), details: inspector.machine(found.machine) });
      },
    },
    {
      pattern: '/v1/nodes',
      doc: 'this node and the others: states, addresses, pod ranges, tunnels and keys',
      answer: () => json(clusterNodesOf(inspector)),
    },
    {
      pattern: '/v1/identities',
      doc: 'identities in use on this node, and the reserved ones',
      answer: () => json(identitiesOf(inspector)),
    },
    {
      pattern: '/v1/bpf/*',
      doc: `contents of ${[...Object.keys(bpfTables), ...bpfOwn].join(', ')}`,
      async answer({ rest }) {
        const table = Object.hasOwn(bpfTables, rest) ? bpfTables[rest] : undefined;
        if (table) return json([...(await sources.kernelRows(table))].map(([key, value]) => ({ key, value })));
        const own = bpfOwn.find((name) => name === rest);
        if (!own)
          throw new Refusal(
            404,
            `no map is named ${rest}`,
            `one of ${[...Object.keys(bpfTables), ...bpfOwn].join(', ')}`,
          );
        return json(contentsOf(own, needed(datapath), names));
      },
    },
    {
      pattern: '/v1/monitor',
      doc: '?follow: events of the datapath with names, as they happen',
      answer({ params }) {
        if (!isFollow(params)) throw new Refusal(400, 'events are not kept', '?follow');
        return { kind: 'stream', lines: records(needed(datapath), names, inspector, now) };
      },
    },
  ];
}

function needed(datapath: DatapathView | undefined): DatapathView {
  if (datapath) return datapath;
  throw new Refusal(404, 'there is no datapath here: this is a replay', 'a running agent');
}

function contentsOf(what: (typeof bpfOwn)[number], datapath: DatapathView, names: Names): unknown {
  switch (what) {
    case 'ct':
      return { now: datapath.conntrackNow(), entries: datapath.dumpConntrack(FLOWS_MAX) };
    case 'nat':
      return {
        now: datapath.conntrackNow(),
        entries: datapath.dumpNat(FLOWS_MAX).map((entry) => ({ ...entry, pod: podOf(entry.key, entry.value, names) })),
      };
    case 'metrics':
      return datapath
        .metrics()
        .map((count) => ({ ...count, text: dropReasons.get(count.reason)?.text ?? String(count.reason) }));
    case 'maps':
      return datapath.mapPressure();
  }
}

/** Of the two ends of a translation the one that is a pod of ours. */
function podOf(key: Readonly<Record<string, unknown>>, value: Readonly<Record<string, unknown>>, names: Names): string {
  return names.of(String(key['saddr'] ?? '')).pod || names.of(String(value['addr'] ?? '')).pod;
}

function records(
  { flowEvents$, socketEvents$ = EMPTY }: DatapathView,
  names: Names,
  inspector: Inspector,
  now: () => number,
): Observable<MonitorRecord> {
  const linkName = keptLinkNames(now);
  const bootedAt = now() - uptime() * 1000;
  const podOfNetns = podsByNetns(inspector);
  return merge(
    flowEvents$.pipe(map((event) => describe(event, { names, linkName, bootedAt }))),
    socketEvents$.pipe(mergeMap((event) => describeSocket(event, { names, bootedAt, podOfNetns }))),
  );
}
