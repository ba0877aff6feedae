/** Policy objects as rules; what is wrong with one is said, and it is left out whole, as a node would. */
import type { KubeObject } from '../../cluster/events.ts';
import { parseCidrGroup, parsePolicy } from '../../policy/parse.ts';
import { type Policy, policyKey, problemText } from '../../policy/rule.ts';

const kinds: ReadonlySet<string> = new Set(['NetworkPolicy', 'CiliumNetworkPolicy', 'CiliumClusterwideNetworkPolicy']);

export function readPolicies(objects: readonly KubeObject[]): { policies: Policy[]; problems: string[] } {
  const problems: string[] = [];
  for (const object of objects) {
    if (object.kind !== 'CiliumCIDRGroup') continue;
    const name = `CiliumCIDRGroup//${object.metadata.name}`;
    problems.push(...parseCidrGroup(object).problems.map((problem) => `${name}: ${problemText(problem)}`));
  }
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
