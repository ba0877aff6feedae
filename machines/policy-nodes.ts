/** What the policy machine hears of other nodes' identities. */
import type { Change } from '../policy/change.ts';
import type { NodeIdentityFact } from './node-identity.ts';
import { change } from './policy-apply.ts';
import type { PolicyContext } from './policy-context.ts';
import { recordsOf } from './records.ts';

/** `from` is the node's machine; without a fact its node is gone. */
export function hearNodeIdentity(
  context: PolicyContext,
  from: string,
  fact: NodeIdentityFact | undefined,
): PolicyContext {
  const before = recordsOf(context.nodeIdentities).get(from);
  const nodeIdentities = recordsOf(context.nodeIdentities).with(from, fact);
  const changes: Change[] = [];
  if (before && before.identity !== fact?.identity) {
    // Its number may be another node's by now.
    const heir = nodeIdentities.values().find(({ identity }) => identity === before.identity);
    changes.push(
      heir ? { type: 'identity.upserted', identity: heir } : { type: 'identity.removed', identity: before.identity },
    );
  }
  if (fact) changes.push({ type: 'identity.upserted', identity: fact });
  return change({ ...context, nodeIdentities }, changes);
}
