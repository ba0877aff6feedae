/** Health of nodes in the agent: it answers others' probes, and asks them as rows of `health.probes` say. */
import type { ClusterEvent } from '../../cluster/events.ts';
import { HealthProbesDriver, type ProbeState } from '../../reconcilers/drivers/health-probes.ts';
import type { AgentConfig } from '../agent-config.ts';
import { type Responder, respondTo } from './health-responder.ts';

export interface AgentHealth {
  readonly driver: HealthProbesDriver;
  probes(): ProbeState[];
  /** Hears each answer, until the agent ends. */
  onAnswer(hear: (row: ProbeState['row'], latencyMs: number) => void): void;
  close(): Promise<void>;
}

/** A port that somebody else has is tried again: the agent before may still be ending. */
const RETRY_MS = 2_000;

export function agentHealth(
  { health }: Pick<AgentConfig, 'health'>,
  push: (event: ClusterEvent) => void,
  log: (line: string) => void,
): AgentHealth {
  const ears: Parameters<AgentHealth['onAnswer']>[0][] = [];
  const driver = new HealthProbesDriver({
    now: Date.now,
    tell: (node, results) => push({ type: 'health.probed', node, results }),
    answered: (row, latencyMs) => {
      for (const hear of ears) hear(row, latencyMs);
    },
  });
  let responder: Responder | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;
  let told = false;

  async function respond(): Promise<void> {
    try {
      const made = await respondTo(health.port);
      if (isClosed) await made.close();
      else responder = made;
    } catch (error) {
      if (!told) log(`health: cannot answer on port ${health.port}, trying again: ${String(error)}`);
      told = true;
      if (!isClosed) retry = setTimeout(() => void respond(), RETRY_MS);
    }
  }
  if (health.enabled) void respond();

  return {
    driver,
    probes: () => driver.states(),
    onAnswer: (hear) => void ears.push(hear),
    async close() {
      isClosed = true;
      clearTimeout(retry);
      driver.close();
      await responder?.close();
    },
  };
}
