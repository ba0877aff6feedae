/** An endpoint as policies see it. */
import type { KubeObject } from '../cluster/events.ts';
import type { NamedPort } from '../policy/change.ts';
import type { EndpointContext } from './endpoint-context.ts';
import type { SubjectFact } from './policy-facts.ts';

/** On a pod: `true` logs what its policy denies and lets it pass. */
const AUDIT = 'policy.axoneme.io/audit';

export function subjectOf({ endpointId, wanted: { identity, labels }, pod }: EndpointContext): SubjectFact {
  const pairs = labels.map((label) => {
    const at = label.indexOf('=');
    return at < 0 ? ([label, ''] as const) : ([label.slice(0, at), label.slice(at + 1)] as const);
  });
  return {
    endpointId,
    identity,
    labels: Object.fromEntries(pairs),
    namedPorts: pod ? namedPortsOf(pod) : [],
    audit: pod?.metadata.annotations?.[AUDIT] === 'true',
  };
}

interface Container {
  ports?: { name?: string; containerPort?: number; protocol?: string }[];
  restartPolicy?: string;
}

const protocols = ['TCP', 'UDP', 'SCTP'] as const;

/** Of all containers that run beside each other; sidecars are init containers that go on. */
export function namedPortsOf(pod: KubeObject): NamedPort[] {
  const { containers = [], initContainers = [] } = (pod.spec ?? {}) as {
    containers?: Container[];
    initContainers?: Container[];
  };
  const running = [...containers, ...initContainers.filter(({ restartPolicy }) => restartPolicy === 'Always')];
  return running
    .flatMap(({ ports }) => ports ?? [])
    .flatMap(({ name, containerPort: port, protocol = 'TCP' }): NamedPort[] => {
      const known = protocols.find((one) => one === protocol);
      return name && port && known ? [{ name, port, protocol: known }] : [];
    });
}
