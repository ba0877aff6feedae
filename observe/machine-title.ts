/** What people call a machine: a pod instead of a container's hash, a workload instead of all of its labels. */
import type { MachineView } from '../reconcilers/inspect.ts';

/** Labels that name a workload, best first. */
const NAME_LABELS = ['k8s:app.kubernetes.io/name', 'k8s:app', 'k8s:k8s-app', 'k8s:name'];
const NAMESPACE_LABEL = 'k8s:io.kubernetes.pod.namespace';

export function machineTitle({ key, kind, context }: Pick<MachineView, 'key' | 'kind' | 'context'>): string {
  const slash = key.indexOf('/');
  const rest = slash < 0 ? key : key.slice(slash + 1);
  if (kind === 'endpoint') {
    const { podNamespace, podName } = context as { podNamespace?: string; podName?: string };
    return podNamespace && podName ? `${podNamespace}/${podName}` : rest;
  }
  return kind === 'identity' ? identityTitle(rest) : rest;
}

/** `shop/web · tier=frontend version=v1` of a sorted label set. */
function identityTitle(text: string): string {
  const labels = new Map(
    text
      .split(';')
      .filter(Boolean)
      .map((label): [string, string] => {
        const equal = label.indexOf('=');
        return equal < 0 ? [label, ''] : [label.slice(0, equal), label.slice(equal + 1)];
      }),
  );
  const space = labels.get(NAMESPACE_LABEL);
  const named = NAME_LABELS.find((label) => labels.has(label));
  const others = [...labels]
    .filter(([name]) => name !== named && !/^k8s:io\.(cilium|kubernetes)\./.test(name))
    .map(([name, value]) => `${name.replace(/^k8s:/, '')}${value ? `=${value}` : ''}`);
  const name = [space, named && labels.get(named)].filter(Boolean).join('/');
  return [name, others.join(' ')].filter(Boolean).join(' · ') || text;
}
