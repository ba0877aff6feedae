/** Between two states: what is allowed in both, no more and no less; and who takes while another gives. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  change,
  config,
  endpointIds,
  identityNumbers,
  lookup,
  lookupIn,
  podLabels,
  questions,
  reservedIdentities,
} from '../simulations/policy-fixtures.ts';
import type { Change, VerdictQuestion } from './change.ts';
import { entriesOfBoth, isExchange } from './intersection.ts';
import { apply, emptyPolicyState, enforcement, type PolicyState } from './resolver.ts';
import { directions } from './rule.ts';

const start: Change[] = [
  ...reservedIdentities.map((identity): Change => ({ type: 'identity.upserted', identity })),
  ...['a', 'b'].flatMap((app, i): Change[] => {
    const of = { identity: 301 + i, labels: podLabels('x', { app }) };
    return [
      { type: 'identity.upserted', identity: of },
      { type: 'subject.upserted', subject: { endpointId: 1 + i, namedPorts: [], host: false, ...of } },
    ];
  }),
];
const changes = fc.array(change, { maxLength: 12 });
const states = fc.tuple(changes, fc.array(change, { minLength: 1, maxLength: 4 })).map(([first, then]) => {
  const before = apply(emptyPolicyState(config), [...start, ...first]).state;
  return { before, ...apply(before, then) };
});

const isThere = (state: PolicyState, endpointId: number) => state.tables.subjects.has(endpointId);

test('what both allow is allowed, what either denies is denied', () => {
  fc.assert(
    fc.property(states, ({ before, state: after, touched }) => {
      for (const endpointId of endpointIds) {
        if (!isThere(before, endpointId) || !isThere(after, endpointId)) continue;
        for (const direction of directions) {
          const enforced = [before, after].map((state) => enforcement(state, endpointId)[direction]);
          if (!enforced.includes(true)) continue;
          for (const identity of identityNumbers) {
            for (const what of questions) {
              const question: VerdictQuestion = { endpointId, direction, identity, ...what };
              const [old, young] = [before, after].map((state, i) =>
                enforced[i] ? lookup(state, question) : 'allowed',
              );
              // Rows of groups that were not touched stay as they are.
              const both = lookupIn(
                (one) =>
                  touched.groups.get(endpointId)?.has(one) === false && enforced.every(Boolean)
                    ? entriesOfBoth(after, after, endpointId, one)
                    : entriesOfBoth(before, after, endpointId, one),
                question,
              );
              const name = JSON.stringify([question, old, young]);
              // Nothing and an allowance differ for nobody, but that the node reaches its pods where nothing denies it.
              if (old === 'denied' || young === 'denied') expect(both, name).toBe('denied');
              else if (old === 'allowed' && young === 'allowed') expect(both, name).toBe('allowed');
              else expect(both, name).toBe('none');
            }
          }
        }
      }
    }),
    { numRuns: 150 },
  );
});

test('an exchange is seen', () => {
  let exchanges = 0;
  fc.assert(
    fc.property(states, ({ before, state: after, touched }) => {
      const verdicts = (state: PolicyState, question: VerdictQuestion) =>
        enforcement(state, question.endpointId)[question.direction] ? lookup(state, question) : 'allowed';
      const taken = new Set<string>();
      const given = new Set<string>();
      for (const endpointId of endpointIds) {
        if (!isThere(before, endpointId) || !isThere(after, endpointId)) continue;
        for (const direction of directions)
          for (const identity of identityNumbers)
            for (const what of questions) {
              const question: VerdictQuestion = { endpointId, direction, identity, ...what };
              const [old, young] = [verdicts(before, question), verdicts(after, question)];
              if (old === 'allowed' && young !== 'allowed') taken.add(direction);
              if (old !== 'allowed' && young === 'allowed') given.add(direction);
            }
      }
      const isOne = (taken.has('ingress') && given.has('egress')) || (taken.has('egress') && given.has('ingress'));
      if (!isOne) return;
      exchanges++;
      expect(isExchange(before, after, touched)).toBe(true);
    }),
    { numRuns: 400 },
  );
  expect(exchanges).toBeGreaterThan(5);
});
