/** The agent's flows and Hubble API. */
import { EMPTY, map, merge, type Observable, startWith } from 'rxjs';
import type { Datapath } from '../../datapath/datapath.ts';
import { monotonicNs } from '../../native/index.ts';
import { type Exporters, startExporters } from '../../observe/export/start.ts';
import { agentEvents, timeOf } from '../../observe/hubble/agent-events.ts';
import { type Hubble, startHubble } from '../../observe/hubble/hubble.ts';
import { Origins } from '../../observe/hubble/origins.ts';
import { ownAddress, peerName, peersOf } from '../../observe/hubble/peers.ts';
import { policyEvent } from '../../observe/hubble/policy-events.ts';
import { keptLinkNames } from '../../observe/link-names.ts';
import { Names } from '../../observe/names.ts';
import type { NodeLabels } from '../../observe/node-labels.ts';
import { podsByNetns } from '../../observe/pods-by-netns.ts';
import type { PolicyChange, PolicyChanges } from '../../observe/policy-changes.ts';
import type { Workloads } from '../../observe/workloads.ts';
import type { Inspector } from '../../reconcilers/inspect.ts';
import type { AgentConfig } from '../agent-config.ts';

export async function agentHubble(
  { hubble, clusterName, nodeName }: AgentConfig,
  inspector: Inspector,
  datapath: Datapath,
  version: string,
  log: (line: string) => void,
  heard: { workloads?: Workloads; nodeLabels?: NodeLabels; policies?: PolicyChanges } = {},
): Promise<Hubble & { exports: Exporters['stats'] }> {
  const names = new Names(inspector);
  const origins = new Origins(inspector);
  const context = {
    names,
    origins,
    clusterName,
    nodeName: peerName(clusterName, nodeName),
    version,
    linkName: keptLinkNames(Date.now),
    bootedAtNs: BigInt(Date.now()) * 1_000_000n - monotonicNs(),
    podOfNetns: podsByNetns(inspector),
    ...(heard.workloads && { workloadsOf: heard.workloads.of }),
    ...(heard.nodeLabels && { nodeLabels: heard.nodeLabels.now }),
  };
  const time = timeOf(Date.now());
  const policyChanges$: Observable<PolicyChange> = heard.policies?.changes$ ?? EMPTY;
  const policyEvents$ = policyChanges$.pipe(map((change) => policyEvent(change, Date.now())));
  const agentEvents$ = merge(agentEvents(inspector, names), policyEvents$).pipe(
    startWith({ type: 'AGENT_STARTED' as const, agent_start: { time }, time }),
  );
  const peers$ = peersOf(inspector, {
    clusterName,
    nodeName,
    listen: hubble.listen,
    isTls: hubble.tlsCert !== '',
  });
  const events = {
    blocks$: datapath.eventBlocks$,
    decoder: datapath.eventDecoder,
    eventsLost: datapath.eventsLost,
  };
  const started = await startHubble(hubble, events, context, {
    agentEvents$,
    peers$,
    address: () => ownAddress(inspector, hubble.listen),
  });
  const exporters = await startExporters(hubble.export, started.flows$, { nodeName, version, log });
  return {
    ...started,
    exports: exporters.stats,
    close: async () => {
      await exporters.close();
      await started.close();
      names.close();
      origins.close();
    },
  };
}
