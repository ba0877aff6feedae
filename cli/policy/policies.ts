/** Policy objects as rules; what is wrong with one is said, and it is left out whole, as a node would. */
import type { KubeObject } from '../../cluster/events.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { type Policy, policyKey, problemText } from '../../policy/rule.ts';

const kinds: ReadonlySet<string> = new Set(['NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy']);

export function readPolicies(objects: readonly KubeObject[]): { policies: Policy[]; problems: string[] } {
  const problems: string[] = [];
  const policies = objects.flatMap((object) => {
    if (!kinds.has(object.kind)) return [];
    const parsed = parsePolicy(object);
    const name = policyKey(object.kind, object.metadata.namespace, object.metadata.name);
    if (!parsed.policy) problems.push(`${name} is not valid and is left out`);
    problems.push(...[...parsed.problems, ...parsed.warnings].map((problem) => `${name}: ${problemText(problem)}`));
    return parsed.policy ? [parsed.policy] : [];
  });
  return { policies, problems };
}
