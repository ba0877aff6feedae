/**
 * What is said of a policy object on the API server: is it valid, and why not.
 *
 * - All nodes would say the same, to the second: whoever hears that it is said says nothing, and who repeats it changes nothing. What
 *   each node said of itself would be news to each other node, and so cost the square of their number.
 */
import type { KubeObject } from '../cluster/events.ts';
import type { Row } from '../state/tables.ts';
import type { PolicyObject } from './policy-context.ts';

/** NetworkPolicy has no status. */
const WITH_STATUS: ReadonlySet<string> = new Set(['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies']);
const MESSAGE_MAX = 4096;

interface Condition {
  type: string;
  status: string;
  reason: string;
  message: string;
  lastTransitionTime: string;
  observedGeneration: number;
}
type Judged = Omit<PolicyObject, 'isTold'>;

function conditionOf(object: Judged): Condition {
  const isValid = object.problems.length === 0;
  return {
    type: 'Valid',
    status: isValid ? 'True' : 'False',
    reason: isValid ? 'PolicyValid' : 'PolicyInvalid',
    message: messageOf(object).slice(0, MESSAGE_MAX),
    lastTransitionTime: new Date(object.sinceMs).toISOString().replace(/\.\d+Z$/, 'Z'),
    observedGeneration: object.generation,
  };
}

/** Does the object say of itself what we would say of it, whenever that was? */
export function isTold({ status }: KubeObject, judged: Judged): boolean {
  const { conditions = [] } = (status ?? {}) as { conditions?: Condition[] };
  const said = conditions.find(({ type }) => type === 'Valid');
  const own = conditionOf(judged);
  return (
    said?.status === own.status && said.message === own.message && said.observedGeneration === own.observedGeneration
  );
}

export function statusRow(object: PolicyObject): Row[] {
  const { resource, apiVersion, kind, namespace, name } = object;
  if (!WITH_STATUS.has(resource) || object.isTold) return [];
  return [
    {
      table: 'kube.status',
      key: `${resource}/${namespace ? `${namespace}/` : ''}${name}`,
      value: {
        apiVersion,
        kind,
        metadata: { name, ...(namespace && { namespace }) },
        status: { conditions: [conditionOf(object)] },
      },
    },
  ];
}

function messageOf({ problems, needsL7, lastValid }: Judged): string {
  if (problems.length > 0) {
    const kept = lastValid ? 'the last valid version stays in force' : 'nothing of it is in force';
    return `${problems.join('; ')}: ${kept}`;
  }
  return needsL7.length > 0
    ? `Policy validation succeeded; needs L7, and denies what only these parts would allow: ${needsL7.join(', ')}`
    : 'Policy validation succeeded';
}
