/** Policies that came, changed and went, as Hubble's agent events. */
import type { PolicyChange } from '../policy-changes.ts';
import { type TimedAgentEvent, timeOf } from './agent-events.ts';

const LABEL = 'k8s:io.cilium.k8s.policy';

export function policyEvent({ action, kind, namespace, name, rules, seq }: PolicyChange, at: number): TimedAgentEvent {
  const labels = [`${LABEL}.derived-from=${kind}`, `${LABEL}.name=${name}`];
  if (namespace !== '') labels.push(`${LABEL}.namespace=${namespace}`);
  return {
    type: action === 'delete' ? 'POLICY_DELETED' : 'POLICY_UPDATED',
    policy_update: { labels, revision: seq, rule_count: rules },
    time: timeOf(at),
  };
}
