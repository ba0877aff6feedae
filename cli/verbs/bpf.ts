/** `axoneme bpf MAP list`: what the maps and hooks in the kernel hold, straight from the kernel; and `bpf ct flush`. */

import type { MapPressure } from '../../datapath/metrics.ts';
import type { LoadBalancerEntry } from '../../observe/services.ts';
import type { AttachmentRow, EndpointRow, IpcacheRow, NetdevRow } from '../../state/tables.ts';
import { chosen, noPositionals } from '../output/arguments.ts';
import {
  attachmentsText,
  conntrackText,
  type Entry,
  endpointText,
  type Flows,
  ipcacheText,
  loadBalancerText,
  metricsText,
  type NamedCount,
  natText,
  netdevsText,
} from '../output/bpf-lists.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { formatTable } from '../output/table.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'contents of BPF maps';

interface Listing {
  path: string;
  text: (answer: never) => string;
}

const listings = {
  ipcache: { path: 'ipcache', text: (entries: Entry<IpcacheRow>[]) => ipcacheText(entries) },
  endpoint: { path: 'endpoints', text: (entries: Entry<EndpointRow>[]) => endpointText(entries) },
  ct: { path: 'ct', text: (flows: Flows) => conntrackText(flows) },
  nat: { path: 'nat', text: (flows: Flows) => natText(flows) },
  lb: { path: 'lb', text: (entries: LoadBalancerEntry[]) => loadBalancerText(entries) },
  metrics: { path: 'metrics', text: (counts: NamedCount[]) => metricsText(counts) },
  netdevs: { path: 'netdevs', text: (entries: Entry<NetdevRow>[]) => netdevsText(entries) },
  attachments: { path: 'attachments', text: (entries: Entry<AttachmentRow>[]) => attachmentsText(entries) },
  maps: { path: 'maps', text: (maps: MapPressure[]) => mapsText(maps) },
} satisfies Record<string, Listing>;
const names = Object.keys(listings) as (keyof typeof listings)[];

export const usage = `axoneme bpf MAP list [-o json]
axoneme bpf ct flush

MAP is ${names.join(', ')}
${targetUsage}`;

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, targetFlags);
  const [map, action = 'list', ...rest] = positionals;
  const name = chosen('map', map, names);
  const listing: Listing = listings[name];
  const isFlush = chosen('action', action, name === 'ct' ? ['list', 'flush'] : ['list']) === 'flush';
  noPositionals(rest);
  const isJson = wantsJson(flags.output);
  if (isFlush) {
    const flushed = await (await clientFor(flags)).post<{ deleted: number }>('/v1/bpf/ct/flush');
    if (isJson) printJson(flushed);
    else print(`${flushed.deleted} connections forgotten\n`);
    return 0;
  }
  const answer = await (await clientFor(flags)).get(`/v1/bpf/${listing.path}`);
  if (isJson) printJson(answer);
  else print(listing.text(answer as never));
  return 0;
}

function mapsText(maps: readonly MapPressure[]): string {
  const rows = maps.map(({ map, entries, capacity, ratio }) => [
    map,
    entries,
    capacity,
    `${(ratio * 100).toFixed(1)}%`,
  ]);
  return formatTable(['MAP', 'ENTRIES', 'CAPACITY', 'PRESSURE'], rows);
}
