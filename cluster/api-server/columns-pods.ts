/** Columns of pods: READY, STATUS and RESTARTS say what the containers do, as kubectl users know it. */
import { age, ageColumn, column, conditionStatus, nameColumn } from './columns-shared.ts';
import { type ApiObject, arrayAt, type Column, fieldAt, stringAt } from './types.ts';

const statuses = (pod: ApiObject): unknown[] => arrayAt(pod, 'status', 'containerStatuses');

function ready(pod: ApiObject): string {
  const up = statuses(pod).filter(
    (status) => fieldAt(status, 'ready') === true && fieldAt(status, 'state', 'running') !== undefined,
  );
  return `${up.length}/${arrayAt(pod, 'spec', 'containers').length}`;
}

/** The reason that says most: of the deletion, else of a container that waits or ended, else the pod's phase. */
function status(pod: ApiObject): string {
  let reason = stringAt(pod, 'status', 'reason') || stringAt(pod, 'status', 'phase') || 'Unknown';
  const running = statuses(pod).some(
    (entry) => fieldAt(entry, 'ready') === true && fieldAt(entry, 'state', 'running') !== undefined,
  );
  for (const entry of [...statuses(pod)].reverse()) {
    const waiting = stringAt(entry, 'state', 'waiting', 'reason');
    const terminated = fieldAt(entry, 'state', 'terminated');
    if (waiting !== '') reason = waiting;
    else if (terminated !== undefined)
      reason = stringAt(terminated, 'reason') || `ExitCode:${Number(fieldAt(terminated, 'exitCode') ?? 0)}`;
  }
  if (reason === 'Completed' && running) reason = conditionStatus(pod, 'Ready') === 'True' ? 'Running' : 'NotReady';
  if (pod.metadata.deletionTimestamp)
    return stringAt(pod, 'status', 'reason') === 'NodeLost' ? 'Unknown' : 'Terminating';
  return reason;
}

function restarts(pod: ApiObject, now: number): string {
  const total = statuses(pod).reduce<number>((sum, entry) => sum + Number(fieldAt(entry, 'restartCount') ?? 0), 0);
  const last = statuses(pod)
    .map((entry) => stringAt(entry, 'lastState', 'terminated', 'finishedAt'))
    .sort()
    .at(-1);
  return last && total > 0 ? `${total} (${age(last, now)} ago)` : String(total);
}

function readinessGates(pod: ApiObject): string {
  const gates = arrayAt(pod, 'spec', 'readinessGates');
  if (gates.length === 0) return '<none>';
  const met = gates.filter((gate) => conditionStatus(pod, stringAt(gate, 'conditionType')) === 'True');
  return `${met.length}/${gates.length}`;
}

export const podColumns: Record<string, readonly Column[]> = {
  Pod: [
    nameColumn,
    column('Ready', ready),
    column('Status', status),
    column('Restarts', restarts),
    ageColumn,
    column('IP', (pod) => stringAt(pod, 'status', 'podIPs', 0, 'ip') || stringAt(pod, 'status', 'podIP') || '<none>', {
      wide: true,
    }),
    column('Node', (pod) => stringAt(pod, 'spec', 'nodeName') || '<none>', { wide: true }),
    column('Nominated Node', (pod) => stringAt(pod, 'status', 'nominatedNodeName') || '<none>', { wide: true }),
    column('Readiness Gates', readinessGates, { wide: true }),
  ],
};
