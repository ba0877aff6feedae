/**
 * The datapath of one node, put together: programs and maps loaded, the drivers of its tables, its events and its counters.
 *
 * - Closing lets go of handles only: programs, maps and links live on by their pins.
 */
import type { Observable } from 'rxjs';
import type { ClusterEvent } from '../cluster/events.ts';
import { type BpfMap, btfOfObject } from '../native/index.ts';
import type { BackendRow } from '../state/tables.ts';
import { BpfClock } from './clock.ts';
import { Codecs, type Fields } from './codec.ts';
import { ConntrackGc, type GcCounters, type Intervals } from './conntrack-gc.ts';
import { deviceRole } from './device-role.ts';
import type { Driver } from './driver.ts';
import { AddrsDriver } from './drivers/addrs.ts';
import { AttachmentsDriver } from './drivers/attachments.ts';
import { BpfTablesDriver } from './drivers/bpf-tables.ts';
import { CgroupAttachmentsDriver } from './drivers/cgroup-attachments.ts';
import { LinksDriver } from './drivers/links.ts';
import { PolicyDriver } from './drivers/policy.ts';
import { RoutesDriver } from './drivers/routes.ts';
import { RulesDriver } from './drivers/rules.ts';
import { ServicesDriver } from './drivers/services.ts';
import { SysctlsDriver } from './drivers/sysctls.ts';
import { TunnelsDriver } from './drivers/tunnels.ts';
import { WireguardDriver } from './drivers/wireguard.ts';
import { XdpAttachmentsDriver } from './drivers/xdp-attachments.ts';
import { XfrmDriver } from './drivers/xfrm.ts';
import { eventLayout } from './event-layout.ts';
import {
  type DatapathEvent,
  datapathEvents,
  type EventBlock,
  EventDecoder,
  eventBlocks,
  type SockEvent,
  socketEvents,
} from './events.ts';
import { type Features, probeFeatures } from './features.ts';
import { Keyring } from './keyring.ts';
import { linkNames } from './link-names.ts';
import { watchLinks } from './link-watch.ts';
import {
  cgroupLinksFolder,
  type Loaded,
  linksFolder,
  loadDatapath,
  objectPath,
  programsFolder,
  xdpLinksFolder,
} from './loader.ts';
import { eventsLost, type MapPressure, type PacketCount, packetCounts, pressureOf } from './metrics.ts';
import type { DatapathConfig } from './runtime-config.ts';
import { backendsIn, destroyOrphans, destroySockets, translatedSockets } from './sock-destroy.ts';
import { sockPart } from './sock-part.ts';
import type { WireguardKeys } from './wireguard-keys.ts';

export interface DatapathOptions {
  /** Path of the node's namespace when it is not the process's own. */
  netns?: string;
  /** A compiled object other than bpf/build/datapath.o. */
  object?: string;
  gcIntervalMs?: Intervals;
  /** Paths of the pods' namespaces, where sockets that are connected to a backend that goes are looked for. */
  podNamespaces?: () => Iterable<string>;
  /** The node's keys, without which rows of encryption cannot be put. */
  keys?: { keyring: Keyring; wireguard: WireguardKeys };
  /** Failures of what runs by itself, such as a sweep. */
  onError?: (error: unknown) => void;
}

export interface FlowEntry {
  key: Fields;
  value: Fields;
}

export interface Datapath {
  /** Names object and configuration; attachment rows carry it. */
  readonly build: string;
  readonly features: Features;
  /** What happened to pinned maps at the start: resized, or emptied since their layout changed. */
  readonly notices: readonly string[];
  /** Of tables sysctls, links, tunnels, attachments, addrs, routes, rules and all of BPF maps. */
  readonly drivers: readonly Driver[];
  readonly linkEvents$: Observable<ClusterEvent>;
  /** Events as they lie in the ring buffer, and what reads them. */
  readonly eventBlocks$: Observable<EventBlock>;
  readonly eventDecoder: EventDecoder;
  /** Those of packets, decoded. */
  readonly flowEvents$: Observable<DatapathEvent>;
  readonly socketEvents$: Observable<SockEvent>;
  /** Events that the ring buffer had no room for, by processor. */
  eventsLost(): number[];
  /** Ends UDP sockets that are connected to these backends through a service; how many. 0 where the kernel cannot. */
  destroySockets(gone: readonly BackendRow[]): Promise<number>;
  /** The same for backends that went while no agent was there to see to their sockets. */
  destroyOrphanSockets(): Promise<number>;
  readonly gc: {
    start(): void;
    stop(): Promise<void>;
    sweep(): Promise<Readonly<GcCounters>>;
    counters: Readonly<GcCounters>;
    /** Hears how many milliseconds each sweep took. */
    onSweep(hear: (tookMs: number) => void): void;
  };
  /** `struct config` as the programs see it. */
  readonly runtimeConfig: Readonly<Fields>;
  metrics(): PacketCount[];
  /** Of every map that can fill up. Reads `policy` and `fragments`; the others are as of their last dump or sweep. */
  mapPressure(): MapPressure[];
  maps(name: string): BpfMap;
  /** At most `limit` entries, all by default. */
  dumpConntrack(limit?: number): FlowEntry[];
  dumpNat(limit?: number): FlowEntry[];
  /** Forgets all connections; how many there were. */
  flushConntrack(): number;
  /** Seconds of the conntrack clock, to which `expires` and `created` of entries relate. */
  conntrackNow(): number;
  close(): Promise<void>;
}

const DUMP_CHUNK = 1024;
const noKeys = { privateKeyOf: () => undefined };

const hasXdp = ({ services }: DatapathConfig): boolean =>
  services !== undefined && services.mode !== 'off' && services.xdp !== 'off';

export async function openDatapath(config: DatapathConfig, options: DatapathOptions = {}): Promise<Datapath> {
  const features = probeFeatures();
  const hasSockets = (config.sockHooks ?? []).length > 0;
  const clock = new BpfClock();
  let loaded: Loaded;
  let hz: number;
  try {
    hz = await clock.hz();
    const parts = hasSockets ? [sockPart(config.sockHooks ?? [], features, options.netns)] : [];
    if (hasXdp(config)) parts.push({ path: objectPath('xdp') });
    loaded = loadDatapath(config, hz, options.object, parts);
  } catch (error) {
    clock.close();
    throw error;
  }
  const { btf, runtime } = loaded;
  const maps = (name: string): BpfMap => {
    const map = loaded.maps.get(name);
    if (!map) throw new TypeError(`there is no map ${name}; known are ${[...loaded.maps.keys()].join(', ')}`);
    return map;
  };
  const netns = options.netns === undefined ? {} : { netns: options.netns };
  const links = linkNames(options.netns);
  const codecs = new Codecs(btf, links);
  const tables = new BpfTablesDriver([
    { table: 'bpf.endpoints', map: maps('endpoints'), ...codecs.map('endpoints') },
    { table: 'bpf.ipcache', map: maps('ipcache'), ...codecs.map('ipcache') },
    { table: 'bpf.netdevs', map: maps('netdevs'), value: codecs.map('netdevs').value, key: codecs.link() },
    { table: 'bpf.devices', map: maps('devices'), value: codecs.map('devices').value, key: deviceRole },
    { table: 'bpf.nodes', map: maps('nodes'), ...codecs.map('nodes') },
  ]);
  const attachments = new AttachmentsDriver({
    ...netns,
    build: runtime.build,
    programs: loaded.programs,
    linksFolder: linksFolder(config.pinRoot),
    programsFolder: programsFolder(config.pinRoot),
    links,
    tcx: features.has.tcx,
  });
  const cgroups = new CgroupAttachmentsDriver({
    build: runtime.build,
    programs: loaded.programs,
    linksFolder: cgroupLinksFolder(config.pinRoot),
    programsFolder: programsFolder(config.pinRoot),
  });
  const xdp = new XdpAttachmentsDriver({
    ...netns,
    build: runtime.build,
    programs: loaded.programs,
    linksFolder: xdpLinksFolder(config.pinRoot),
    programsFolder: programsFolder(config.pinRoot),
    links,
  });
  const isTranslated = translatedSockets(maps('sock_revnat'), btf);
  const canDestroy = features.has.sockDestroy && hasSockets;
  const whose = () => ({ namespaces: [options.netns, ...(options.podNamespaces?.() ?? [])], isTranslated });
  const destroyGone = async (gone: readonly BackendRow[]): Promise<number> =>
    canDestroy ? destroySockets(gone, whose()) : 0;
  const onError = options.onError ?? ((error) => process.emitWarning(error instanceof Error ? error : String(error)));
  const services = new ServicesDriver({
    maps,
    codecs,
    onBackendsGone: (gone) => void destroyGone(gone).catch(onError),
  });
  const eventBlocks$ = eventBlocks(maps('events'));
  const eventDecoder = new EventDecoder(eventLayout(btf, btfOfObject(objectPath('sock'))));
  const conntrackNow = (): number => clock.seconds(hz);
  const gc = new ConntrackGc({
    conntrack: maps('conntrack'),
    nat: maps('nat'),
    serviceFlows: maps('service_flows'),
    btf,
    nowS: conntrackNow,
    timeoutTcpEstablishedS: Number(runtime.values['timeoutTcpEstablished']),
    timeoutAnyS: Number(runtime.values['timeoutAny']),
    natPorts: Number(runtime.values['natPortMax']) - Number(runtime.values['natPortMin']) + 1,
    onError,
    ...(options.gcIntervalMs && { intervalMs: options.gcIntervalMs }),
  });
  const dump = (name: string, limit: number): FlowEntry[] => dumpFlows(maps(name), new Codecs(btf).map(name), limit);

  return {
    build: runtime.build,
    features,
    notices: loaded.notices,
    drivers: [
      new SysctlsDriver(options.netns),
      new LinksDriver(options.netns),
      new TunnelsDriver(options.netns),
      new WireguardDriver(options.keys?.wireguard ?? noKeys, options.netns),
      new XfrmDriver(options.keys?.keyring ?? new Keyring(), options.netns),
      ...[attachments, cgroups, xdp].map((driver) => handingOver(driver, loaded.handOver)),
      new AddrsDriver(options.netns, features.has.addressProtocol),
      new RoutesDriver(options.netns),
      new RulesDriver(options.netns),
      tables,
      services,
      new PolicyDriver({ policy: maps('policy'), revision: maps('policy_revision'), btf }),
    ],
    linkEvents$: watchLinks(netns),
    eventBlocks$,
    eventDecoder,
    flowEvents$: datapathEvents(eventBlocks$, eventDecoder),
    socketEvents$: socketEvents(eventBlocks$, eventDecoder),
    eventsLost: () => eventsLost(maps('metrics')),
    destroySockets: destroyGone,
    destroyOrphanSockets: async () =>
      canDestroy ? destroyOrphans(() => backendsIn(maps('backends'), codecs), whose()) : 0,
    gc,
    runtimeConfig: runtime.values,
    metrics: () => packetCounts(maps('metrics'), btf),
    mapPressure: () => pressures(maps, [...tablesOf(tables), ...services.entries()], gc.counters),
    maps,
    dumpConntrack: (limit = Number.POSITIVE_INFINITY) => dump('conntrack', limit),
    dumpNat: (limit = Number.POSITIVE_INFINITY) => dump('nat', limit),
    flushConntrack: () => flush(maps('conntrack')),
    conntrackNow,
    async close() {
      await gc.stop();
      loaded.close();
      clock.close();
    },
  };
}

/** What programs of another build learn while they are being replaced is not lost. */
function handingOver(driver: Required<Driver>, handOver: () => number): Driver {
  return {
    tables: driver.tables,
    lane: driver.lane,
    async apply(ops) {
      const results = await driver.apply(ops);
      handOver();
      return results;
    },
    async dump(table, known) {
      const found = await driver.dump(table, known);
      handOver();
      return found;
    },
  };
}

function dumpFlows(map: BpfMap, { key, value }: ReturnType<Codecs['map']>, limit: number): FlowEntry[] {
  const { keySize, valueBytes } = map.info;
  const entries: FlowEntry[] = [];
  for (const { keys, values, count } of map.chunks(DUMP_CHUNK)) {
    for (let i = 0; i < count; i++) {
      if (entries.length >= limit) return entries;
      entries.push({ key: key.read(keys, i * keySize) as Fields, value: value.read(values, i * valueBytes) as Fields });
    }
  }
  return entries;
}

function flush(map: BpfMap): number {
  const { keys, count } = map.scan();
  return count === 0 ? 0 : map.deleteBatch(keys, count);
}

function pressures(
  maps: (name: string) => BpfMap,
  counted: readonly (readonly [string, number])[],
  counters: GcCounters,
): MapPressure[] {
  const entries: (readonly [string, number])[] = [
    ...counted,
    ['policy', maps('policy').scan().count],
    ['conntrack', counters.conntrackEntries],
    ['nat', counters.natEntries],
    ['service_flows', counters.serviceFlowEntries],
    ['fragments', maps('fragments').scan().count],
  ];
  return entries.map(([name, count]) => pressureOf(name, count, maps(name).info.maxEntries));
}

const tablesOf = (tables: BpfTablesDriver): [string, number][] => [
  ['endpoints', tables.entries('bpf.endpoints')],
  ['ipcache', tables.entries('bpf.ipcache')],
  ['netdevs', tables.entries('bpf.netdevs')],
  ['nodes', tables.entries('bpf.nodes')],
];
