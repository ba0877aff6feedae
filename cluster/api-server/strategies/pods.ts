/** Pods: defaults as the real server fills them, an (almost) immutable spec, and graceful deletion through the kubelet. */
import { forbiddenField } from '../errors.ts';
import {
  type ApiObject,
  arrayAt,
  type Cause,
  fieldAt,
  isRecord,
  type JsonRecord,
  type Strategy,
  sameJson,
  stringAt,
} from '../types.ts';
import { validatePod } from './pod-validation.ts';

export const podStrategy: Strategy = {
  defaults(draft) {
    if (!isRecord(draft.spec)) return;
    const spec = draft.spec;
    spec.restartPolicy ??= 'Always';
    spec.terminationGracePeriodSeconds ??= 30;
    spec.dnsPolicy ??= 'ClusterFirst';
    spec.securityContext ??= {};
    spec.schedulerName ??= 'default-scheduler';
    spec.enableServiceLinks ??= true;
    spec.serviceAccountName ??= spec.serviceAccount ?? 'default';
    spec.serviceAccount ??= spec.serviceAccountName;
    const hostNetwork = spec.hostNetwork === true;
    for (const list of ['containers', 'initContainers', 'ephemeralContainers']) {
      for (const container of arrayAt(spec, list)) if (isRecord(container)) containerDefaults(container, hostNetwork);
    }
    for (const volume of arrayAt(spec, 'volumes')) if (isRecord(volume)) volumeDefaults(volume);
    for (const toleration of ['not-ready', 'unreachable']) tolerate(spec, `node.kubernetes.io/${toleration}`);
  },
  prepareCreate(draft) {
    draft.status = { phase: 'Pending', qosClass: qosClass(draft) };
    return [];
  },
  prepareUpdate(draft, old) {
    return unchangedSpec(draft, old);
  },
  validate: validatePod,
  gracePeriodSeconds(pod, requested) {
    const phase = stringAt(pod, 'status', 'phase');
    if (stringAt(pod, 'spec', 'nodeName') === '' || phase === 'Succeeded' || phase === 'Failed') return 0;
    return requested ?? Number(fieldAt(pod, 'spec', 'terminationGracePeriodSeconds') ?? 30);
  },
};

function containerDefaults(container: JsonRecord, hostNetwork: boolean): void {
  const image = typeof container.image === 'string' ? container.image : '';
  const tag = /:([^:/@]+)$/.exec(image)?.[1];
  container.imagePullPolicy ??=
    !image.includes('@') && (tag === undefined || tag === 'latest') ? 'Always' : 'IfNotPresent';
  container.terminationMessagePath ??= '/dev/termination-log';
  container.terminationMessagePolicy ??= 'File';
  container.resources ??= {};
  const limits = fieldAt(container, 'resources', 'limits');
  if (isRecord(limits) && isRecord(container.resources))
    container.resources.requests = { ...limits, ...(container.resources.requests as object | undefined) };
  for (const port of arrayAt(container, 'ports')) {
    if (!isRecord(port)) continue;
    port.protocol ??= 'TCP';
    if (hostNetwork) port.hostPort ??= port.containerPort;
  }
  for (const probe of [container.livenessProbe, container.readinessProbe, container.startupProbe])
    if (isRecord(probe)) probeDefaults(probe);
  for (const env of arrayAt(container, 'env')) {
    const reference = fieldAt(env, 'valueFrom', 'fieldRef');
    if (isRecord(reference)) reference.apiVersion ??= 'v1';
  }
}

function probeDefaults(probe: JsonRecord): void {
  probe.timeoutSeconds ??= 1;
  probe.periodSeconds ??= 10;
  probe.successThreshold ??= 1;
  probe.failureThreshold ??= 3;
  if (!isRecord(probe.httpGet)) return;
  probe.httpGet.path ??= '/';
  probe.httpGet.scheme ??= 'HTTP';
}

function volumeDefaults(volume: JsonRecord): void {
  if (Object.keys(volume).length <= 1) volume.emptyDir = {};
  for (const source of ['configMap', 'secret', 'projected', 'downwardAPI']) {
    const held = volume[source];
    if (isRecord(held)) held.defaultMode ??= 0o644;
  }
}

function tolerate(spec: JsonRecord, key: string): void {
  const tolerations = arrayAt(spec, 'tolerations');
  const covered = tolerations.some(
    (entry) =>
      (fieldAt(entry, 'key') === key || fieldAt(entry, 'key') === undefined) &&
      [undefined, '', 'NoExecute'].includes(fieldAt(entry, 'effect') as string),
  );
  if (!covered)
    spec.tolerations = [...tolerations, { key, operator: 'Exists', effect: 'NoExecute', tolerationSeconds: 300 }];
}

/** Guaranteed: every container has equal requests and limits of both; BestEffort: none has any. */
function qosClass(pod: ApiObject): string {
  const containers = [...arrayAt(pod, 'spec', 'containers'), ...arrayAt(pod, 'spec', 'initContainers')];
  const resources = containers.map((container) => ({
    requests: fieldAt(container, 'resources', 'requests') ?? {},
    limits: fieldAt(container, 'resources', 'limits') ?? {},
  }));
  if (resources.every(({ requests, limits }) => sameJson(requests, {}) && sameJson(limits, {}))) return 'BestEffort';
  const guaranteed = resources.every(
    ({ requests, limits }) =>
      sameJson(requests, limits) && fieldAt(limits, 'cpu') !== undefined && fieldAt(limits, 'memory') !== undefined,
  );
  return guaranteed ? 'Guaranteed' : 'Burstable';
}

/** Images, deadlines and further tolerations may change; the node only through a binding. */
function unchangedSpec(draft: ApiObject, old: ApiObject): Cause[] {
  const comparable = (pod: ApiObject): JsonRecord => {
    const spec = structuredClone(pod.spec ?? {}) as JsonRecord;
    for (const field of ['activeDeadlineSeconds', 'tolerations', 'terminationGracePeriodSeconds', 'schedulingGates'])
      delete spec[field];
    for (const container of [...arrayAt(spec, 'containers'), ...arrayAt(spec, 'initContainers')])
      if (isRecord(container)) delete container.image;
    return spec;
  };
  const [before, after] = [comparable(old), comparable(draft)];
  const changed = [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (field) => !sameJson(before[field], after[field]),
  );
  if (changed.length === 0) return [];
  return [
    forbiddenField(
      'spec',
      `pod updates may not change fields other than \`spec.containers[*].image\`, \`spec.initContainers[*].image\`, \`spec.activeDeadlineSeconds\`, \`spec.tolerations\` (only additions to existing tolerations), \`spec.terminationGracePeriodSeconds\` (changed: ${changed.map((field) => `spec.${field}`).join(', ')})`,
    ),
  ];
}
