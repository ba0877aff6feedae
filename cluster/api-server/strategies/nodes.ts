/** Nodes: pod CIDRs are one per family, agree with the old single field, and never change once given. */
import { forbiddenField, invalidValue } from '../errors.ts';
import { cidr } from '../names.ts';
import { arrayAt, type Cause, isRecord, type Strategy, sameJson, stringAt } from '../types.ts';

export const nodeStrategy: Strategy = {
  defaults(draft) {
    if (!isRecord(draft.spec)) draft.spec = {};
    const spec = draft.spec as { podCIDR?: string; podCIDRs?: string[] };
    if (spec.podCIDR && !spec.podCIDRs) spec.podCIDRs = [spec.podCIDR];
    if (spec.podCIDRs?.[0] && !spec.podCIDR) spec.podCIDR = spec.podCIDRs[0];
  },
  validate(draft, old) {
    const causes: Cause[] = [];
    const cidrs = arrayAt(draft, 'spec', 'podCIDRs').map(String);
    cidrs.forEach((value, i) => causes.push(...cidr(value, `spec.podCIDRs[${i}]`)));
    if (cidrs.length > 2)
      causes.push(invalidValue('spec.podCIDRs', cidrs, 'may hold no more than one CIDR for each IP family'));
    if (cidrs.length === 2 && cidrs[0]?.includes(':') === cidrs[1]?.includes(':'))
      causes.push(invalidValue('spec.podCIDRs', cidrs, 'must be one IPv4 and one IPv6 CIDR'));
    if (cidrs.length > 0 && stringAt(draft, 'spec', 'podCIDR') !== cidrs[0])
      causes.push(
        invalidValue('spec.podCIDR', stringAt(draft, 'spec', 'podCIDR'), `must be the first of podCIDRs, ${cidrs[0]}`),
      );
    const before = arrayAt(old, 'spec', 'podCIDRs');
    if (before.length > 0 && !sameJson(before, cidrs))
      causes.push(forbiddenField('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'));
    return causes;
  },
};
