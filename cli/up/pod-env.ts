/** The environment and command line of a container, with what the downward API and `$(NAME)` put into them; pure. */
import { dirname } from 'node:path';
import type { Container, Pod } from './pod.ts';

export interface PodFacts {
  pod: Pod;
  podIPs: readonly string[];
  hostIPs: readonly string[];
  /** Path of a kubeconfig that works from inside the pod. */
  kubeconfig: string;
}

const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** Throws with the variable's name when its value cannot be had. */
export function environmentOf(container: Container, facts: PodFacts): Record<string, string> {
  const env: Record<string, string> = {
    PATH,
    HOSTNAME: facts.pod.metadata.name,
    KUBECONFIG: facts.kubeconfig,
    // kubectl keeps what it discovers at home; it must end with the cluster.
    HOME: dirname(facts.kubeconfig),
  };
  for (const { name, value, valueFrom } of container.env ?? []) {
    if (!valueFrom) env[name] = expand(value ?? '', env);
    else if (valueFrom.fieldRef) env[name] = fieldOf(valueFrom.fieldRef.fieldPath, facts, name);
    else {
      throw new Error(
        `env ${name} of container ${container.name}: valueFrom.${Object.keys(valueFrom).join()} is not played here, expected fieldRef or a value`,
      );
    }
  }
  return env;
}

/** undefined: the container has no command, and is played by a server. */
export function argvOf(container: Container, env: Readonly<Record<string, string>>): string[] | undefined {
  if (!container.command || container.command.length === 0) return undefined;
  return [...container.command, ...(container.args ?? [])].map((word) => expand(word, env));
}

/** `$(NAME)` of a known variable; `$$` is a dollar; what is unknown stays as it is. */
function expand(text: string, env: Readonly<Record<string, string>>): string {
  return text.replace(/\$\$|\$\(([A-Za-z_][\w.-]*)\)/g, (match, name: string | undefined) => {
    if (name === undefined) return '$';
    return env[name] ?? match;
  });
}

function fieldOf(path: string, { pod, podIPs, hostIPs }: PodFacts, variable: string): string {
  const { metadata, spec } = pod;
  const subscript = /^metadata\.(labels|annotations)\['(.+)'\]$/.exec(path);
  if (subscript) return metadata[subscript[1] as 'labels' | 'annotations']?.[subscript[2] ?? ''] ?? '';
  const known: Record<string, string> = {
    'metadata.name': metadata.name,
    'metadata.namespace': metadata.namespace,
    'metadata.uid': metadata.uid,
    'spec.nodeName': spec.nodeName ?? '',
    'spec.serviceAccountName': spec.serviceAccountName ?? 'default',
    'status.podIP': podIPs[0] ?? '',
    'status.podIPs': podIPs.join(),
    'status.hostIP': hostIPs[0] ?? '',
    'status.hostIPs': hostIPs.join(),
  };
  const value = known[path];
  if (value === undefined)
    throw new Error(`env ${variable}: fieldPath is ${path}, expected one of ${Object.keys(known).join(', ')}`);
  return value;
}
