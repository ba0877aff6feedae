/** Policy objects as they are judged: which resources they are, what is wrong with one, what of it waits for L7. */
import type { KubeObject } from '../cluster/events.ts';
import { parsePolicy } from '../policy/parse.ts';
import { type Policy, policyKey, problemText } from '../policy/rule.ts';

const kinds = {
  networkpolicies: 'NetworkPolicy',
  ciliumnetworkpolicies: 'CiliumNetworkPolicy',
  ciliumclusterwidenetworkpolicies: 'CiliumClusterwideNetworkPolicy',
} as const;
export type PolicyResource = keyof typeof kinds;

export const policyResources = Object.keys(kinds) as PolicyResource[];
export const isPolicyResource = (resource: string): resource is PolicyResource => Object.hasOwn(kinds, resource);

export interface Judgement {
  key: string;
  /** Undefined: not valid, and `problems` say why. */
  policy: Policy | undefined;
  problems: readonly string[];
  /** `spec.egress[0]: http` */
  needsL7: readonly string[];
}

export const keyOf = (resource: PolicyResource, { metadata }: KubeObject): string =>
  policyKey(kinds[resource], metadata.namespace, metadata.name);

export function judge(resource: PolicyResource, object: KubeObject): Judgement {
  const key = keyOf(resource, object);
  // A list's items may come without their kind.
  const { policy, problems } = parsePolicy({ ...object, kind: kinds[resource] });
  if (!policy) return { key, policy: undefined, problems: problems.map(problemText), needsL7: [] };
  return { key, policy: policy.key === key ? policy : { ...policy, key }, problems: [], needsL7: needsL7Of(policy) };
}

function needsL7Of({ rules }: Policy): string[] {
  return rules
    .flatMap(({ ingress, egress }) => [...(ingress?.elements ?? []), ...(egress?.elements ?? [])])
    .filter(({ needsL7 }) => needsL7.length > 0)
    .map(({ at, needsL7 }) => `${at}: ${needsL7.join(', ')}`);
}

/** Rules name services whose objects must be heard of. */
export const namesServices = ({ rules }: Policy): boolean =>
  rules.some((rule) =>
    [...(rule.ingress?.elements ?? []), ...(rule.egress?.elements ?? [])].some(({ peers }) =>
      peers?.some(({ kind }) => kind === 'service' || kind === 'services'),
    ),
  );
