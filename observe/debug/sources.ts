/** What the debug endpoint looks at: an engine, a kernel and, on a live node, the datapath. A replay offers the first two. */
import type { Observable } from 'rxjs';
import type { Datapath } from '../../datapath/datapath.ts';
import type { ProbeState } from '../../reconcilers/drivers/health-probes.ts';
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { TableName } from '../../state/tables.ts';
import type { ExporterStats } from '../export/exporter.ts';
import type { FlowCounts } from '../hubble/flow-counts.ts';
import type { LostCounts } from '../hubble/hubble.ts';
import type { GetFlowsRequest, GetFlowsResponse } from '../hubble/observer.ts';
import type { RingView } from '../hubble/ring.ts';
import type { ServerStatus } from '../hubble/source.ts';
import type { Flow } from '../hubble/types.ts';
import type { PolicyCounts } from '../policy-changes.ts';
import type { FilterWords } from '../web/flow-routes.ts';

export type DatapathView = Pick<
  Datapath,
  'metrics' | 'mapPressure' | 'dumpConntrack' | 'dumpNat' | 'flushConntrack' | 'conntrackNow' | 'flowEvents$'
> &
  Partial<Pick<Datapath, 'socketEvents$'>> & {
    gc?: Pick<Datapath['gc'], 'counters'> & Partial<Pick<Datapath['gc'], 'onSweep'>>;
  };

export interface DebugSources {
  inspector: Inspector;
  /** What is really there of a table. */
  kernelRows(table: TableName): Promise<ReadonlyMap<string, unknown>>;
  datapath?: DatapathView;
  agent: AgentView;
  hubble?: HubbleView;
  exports?(): ExporterStats[];
  policyChanges?(): Partial<PolicyCounts>;
  health?: ProbesView;
  /** Prometheus' text. */
  metrics?(): Promise<string>;
}

/** Probes of other nodes. */
export interface ProbesView {
  probes(): ProbeState[];
  /** Hears each answer, as long as the agent runs. */
  onAnswer(hear: (row: ProbeState['row'], latencyMs: number) => void): void;
}

export interface HubbleView {
  /** Of the unix socket; Hubble's clients take it as `unix://…`. */
  socket: string;
  /** `host:port`; empty: none. */
  listen: string;
  status(): ServerStatus;
  /** Flows for the web page. */
  flows?(request: GetFlowsRequest, signal: AbortSignal): AsyncIterable<GetFlowsResponse>;
  ring?: RingView<Flow>;
  flows$?: Observable<Flow>;
  /** Flows by kind, for metrics. */
  counts?: Pick<FlowCounts, 'take' | 'ports'>;
  lost?(): LostCounts;
  /** Of which packets the programs tell. */
  monitor?: { aggregation: string; intervalS: number; flags: readonly string[] };
  words?: FilterWords;
}

export interface AgentView {
  nodeName: string;
  version: string;
  /** Content hash of the BPF object and its configuration. */
  build: string;
  /** Milliseconds since the epoch. */
  startedAt: number;
  features: FeaturesView;
}

export interface FeaturesView {
  readonly kernel: string;
  readonly has: Readonly<Record<string, boolean>>;
  /** One line for each feature that is missing: what it is, since when, and what it disables. */
  readonly missing: readonly string[];
}
