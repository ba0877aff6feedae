/** Policy: objects and their standing, the world to ask questions of, entries of endpoints. */
import { entriesOf, policyNodeView, policyWorld } from '../policy.ts';
import { json, Refusal, type Route } from './http.ts';
import type { DebugSources } from './sources.ts';

const NONE = 'this node has no policy machine';

export function policyRoutes({ inspector }: DebugSources): Route[] {
  return [
    {
      pattern: '/v1/policy',
      doc: 'policy objects: status, rules; whether all of it is in the kernel',
      answer: () => json(needed(policyNodeView(inspector))),
    },
    {
      pattern: '/v1/policy/world',
      doc: 'everything that verdicts depend on: policies, identities, endpoints, groups, services',
      answer: () => json(needed(policyWorld(inspector))),
    },
    {
      pattern: '/v1/policy/entries/*',
      doc: 'entries of the policy map of the endpoint with this number, and the policies behind each',
      answer({ rest }) {
        if (!/^\d+$/.test(rest)) throw new Refusal(400, `${rest} is no number of an endpoint`, 'a number');
        return json(entriesOf(inspector, Number(rest)));
      },
    },
  ];
}

function needed<T>(value: T | undefined): T {
  if (value === undefined) throw new Refusal(404, NONE, 'an agent with policy');
  return value;
}
