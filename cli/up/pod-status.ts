/** A pod's status as a pure function of what its containers do, the way a kubelet reports it. */
import type { Condition, Pod } from './pod.ts';

export type ContainerState =
  | { kind: 'waiting'; reason: string; message: string }
  | { kind: 'running'; startedAt: string }
  | { kind: 'terminated'; exitCode: number; reason: string; message: string; startedAt: string; finishedAt: string };

export interface ContainerReport {
  name: string;
  image: string;
  id: string;
  state: ContainerState;
  lastState: Extract<ContainerState, { kind: 'terminated' }> | undefined;
  restarts: number;
}

export interface PodReport {
  pod: Pod;
  podIPs: readonly string[];
  hostIPs: readonly string[];
  initContainers: readonly ContainerReport[];
  containers: readonly ContainerReport[];
  startTime: string;
  now: string;
}

export function podStatus(report: PodReport): Record<string, unknown> {
  const { podIPs, hostIPs, initContainers, containers, startTime } = report;
  return {
    phase: phaseOf(report),
    conditions: conditionsOf(report),
    hostIP: hostIPs[0],
    hostIPs: hostIPs.map((ip) => ({ ip })),
    ...(podIPs.length > 0 && { podIP: podIPs[0], podIPs: podIPs.map((ip) => ({ ip })) }),
    startTime,
    ...(initContainers.length > 0 && { initContainerStatuses: initContainers.map(containerStatus) }),
    containerStatuses: containers.map(containerStatus),
    qosClass: 'BestEffort',
  };
}

function phaseOf({ pod, containers, initContainers }: PodReport): string {
  const policy = pod.spec.restartPolicy ?? 'Always';
  const ended = containers.flatMap(({ state }) => (state.kind === 'terminated' ? [state.exitCode] : []));
  const initFailed = initContainers.some(({ state }) => state.kind === 'terminated' && state.exitCode !== 0);
  if (policy === 'Never' && initFailed) return 'Failed';
  if (policy !== 'Always' && ended.length === containers.length) {
    if (ended.every((code) => code === 0)) return 'Succeeded';
    if (policy === 'Never') return 'Failed';
  }
  const started = containers.some(({ state, restarts }) => state.kind !== 'waiting' || restarts > 0);
  return started ? 'Running' : 'Pending';
}

function conditionsOf(report: PodReport): Condition[] {
  const { pod, podIPs, containers, initContainers, now } = report;
  const before = new Map(pod.status?.conditions?.map((condition) => [condition.type, condition]));
  const waiting = containers.filter(({ state }) => state.kind !== 'running').map(({ name }) => name);
  const finished = ['Succeeded', 'Failed'].includes(phaseOf(report));
  const unready = finished ? 'PodCompleted' : 'ContainersNotReady';
  const initialized = initContainers.every(({ state }) => state.kind === 'terminated' && state.exitCode === 0);
  const condition = (type: string, holds: boolean, reason: string, message: string): Condition => {
    const status = holds ? 'True' : 'False';
    const last = before.get(type);
    const lastTransitionTime = last?.status === status && last.lastTransitionTime ? last.lastTransitionTime : now;
    return { type, status, lastTransitionTime, ...(!holds && { reason, ...(message && { message }) }) };
  };
  const message = `containers with unready status: [${waiting.join(' ')}]`;
  return [
    condition('PodReadyToStartContainers', podIPs.length > 0, '', ''),
    condition('Initialized', initialized, 'ContainersNotInitialized', ''),
    // A pod that is being deleted stays ready as long as its containers run: it serves until they stop.
    condition('Ready', waiting.length === 0, unready, message),
    condition('ContainersReady', waiting.length === 0, unready, message),
    condition('PodScheduled', true, '', ''),
  ];
}

function containerStatus(report: ContainerReport): Record<string, unknown> {
  const { name, image, id, state, lastState, restarts } = report;
  const running = state.kind === 'running';
  return {
    name,
    image,
    imageID: '',
    containerID: id ? `axoneme://${id}` : '',
    ready: running,
    started: running,
    restartCount: restarts,
    state: stateOf(state),
    lastState: lastState ? stateOf(lastState) : {},
  };
}

function stateOf({ kind, ...facts }: ContainerState): Record<string, unknown> {
  return { [kind]: Object.fromEntries(Object.entries(facts).filter(([, value]) => value !== '')) };
}
