/** What this node does of policy. */
import type { PolicyFacts } from '../../cluster/events.ts';
import { POLICY_ENTRIES } from '../../datapath/runtime-config.ts';
import { tables } from '../../state/tables.ts';
import type { AgentConfig } from '../agent-config.ts';

export function policyFacts({ policy, maps }: AgentConfig): PolicyFacts {
  const entriesMax = maps[POLICY_ENTRIES] ?? tables['bpf.policy'].map?.entriesMax ?? 0;
  return { ...policy, entriesMax };
}
