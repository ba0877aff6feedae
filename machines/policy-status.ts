/** What is said of a policy object on the API server: is it valid, why not, and does this node enforce it. */
import type { AgentFacts } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import type { PolicyObject } from './policy-context.ts';

/** NetworkPolicy has no status. */
const WITH_STATUS: ReadonlySet<string> = new Set(['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies']);
const MESSAGE_MAX = 4096;

export function statusRow({ nodeName, policy }: AgentFacts, object: PolicyObject): Row[] {
  const { resource, apiVersion, kind, namespace, name, generation, problems, lastValid, sinceMs } = object;
  if (!WITH_STATUS.has(resource)) return [];
  const isValid = problems.length === 0;
  const condition = {
    type: 'Valid',
    status: isValid ? 'True' : 'False',
    reason: isValid ? 'PolicyValid' : 'PolicyInvalid',
    message: messageOf(object).slice(0, MESSAGE_MAX),
    lastTransitionTime: new Date(sinceMs).toISOString(),
    observedGeneration: generation,
  };
  const enforcing = (isValid || lastValid !== undefined) && policy?.enforcement !== 'never';
  return [
    {
      table: 'kube.status',
      key: `${resource}/${namespace ? `${namespace}/` : ''}${name}`,
      value: {
        apiVersion,
        kind,
        metadata: { name, ...(namespace && { namespace }) },
        status: { conditions: [condition], nodes: { [nodeName]: { ok: isValid, enforcing } } },
      },
    },
  ];
}

function messageOf({ problems, needsL7, lastValid }: PolicyObject): string {
  if (problems.length > 0) {
    const kept = lastValid ? 'the last valid version stays in force' : 'nothing of it is in force';
    return `${problems.join('; ')}: ${kept}`;
  }
  return needsL7.length > 0
    ? `Policy validation succeeded; needs L7, and denies what only these parts would allow: ${needsL7.join(', ')}`
    : 'Policy validation succeeded';
}
