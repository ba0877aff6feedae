/** The laws of incremental resolution: history leaves no trace, touched names all that changed, entries mean what the rules mean. */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  change,
  config,
  endpointIds,
  identityNumbers,
  lookup,
  podLabels,
  questions,
  reservedIdentities,
} from '../simulations/policy-fixtures.ts';
import type { Change, VerdictQuestion } from './change.ts';
import {
  apply,
  emptyPolicyState,
  enforcement,
  entries,
  identitiesOf,
  type PolicyState,
  prefixes,
  revive,
} from './resolver.ts';
import { directions } from './rule.ts';
import { verdictOf } from './verdict.ts';

const allGroups = (state: PolicyState) =>
  new Map(
    endpointIds.flatMap((endpointId) =>
      identityNumbers.map(
        (identity) => [`${endpointId}/${identity}`, JSON.stringify(entries(state, endpointId, identity))] as const,
      ),
    ),
  );
const picture = (state: PolicyState) => ({
  enforcement: endpointIds.map((id) => enforcement(state, id)),
  groups: allGroups(state),
  prefixes: prefixes(state),
});

const start: Change[] = [
  ...reservedIdentities.map((identity): Change => ({ type: 'identity.upserted', identity })),
  ...[1, 2].map(
    (endpointId): Change => ({
      type: 'subject.upserted',
      subject: {
        endpointId,
        identity: 300 + endpointId,
        labels: podLabels('x', { app: endpointId === 1 ? 'a' : 'b' }),
        namedPorts: [{ name: 'web', protocol: 'TCP', port: 8080 }],
        host: false,
      },
    }),
  ),
  ...[301, 302].map(
    (identity): Change => ({
      type: 'identity.upserted',
      identity: { identity, labels: podLabels('x', { app: identity === 301 ? 'a' : 'b' }) },
    }),
  ),
];
const changes = fc.array(fc.array(change, { minLength: 1, maxLength: 3 }), { maxLength: 12 });
const begun = () => apply(emptyPolicyState(config), start).state;

describe('any sequence of changes', () => {
  test('ends as from scratch, and no older state notices', () => {
    fc.assert(
      fc.property(changes, (steps) => {
        let state = begun();
        const older: [PolicyState, ReturnType<typeof picture>][] = [];
        for (const step of steps) {
          older.push([state, picture(state)]);
          state = apply(state, step).state;
        }
        expect(picture(state)).toEqual(picture(revive(JSON.parse(JSON.stringify(state)))));
        for (const [old, seen] of older) expect(picture(old)).toEqual(seen);
      }),
      { numRuns: 150 },
    );
  });

  test('names all that it touched', () => {
    fc.assert(
      fc.property(changes, (steps) => {
        let state = begun();
        for (const step of steps) {
          const before = picture(state);
          const { state: next, touched } = apply(state, step);
          const after = picture(next);
          state = next;
          for (const [group, text] of after.groups) {
            const [endpointId, identity] = group.split('/').map(Number) as [number, number];
            if (text !== before.groups.get(group))
              expect(
                touched.groups.get(endpointId)?.has(identity),
                `${group}: ${before.groups.get(group)} to ${text}`,
              ).toBe(true);
            if (text !== '[]') expect(identitiesOf(state, endpointId)).toContain(identity);
          }
          endpointIds.forEach((id, i) => {
            if (JSON.stringify(after.enforcement[i]) !== JSON.stringify(before.enforcement[i]))
              expect(touched.enforcement).toContain(id);
          });
          const known = new Set([...before.prefixes, ...touched.prefixesAdded]);
          for (const gone of touched.prefixesRemoved) known.delete(gone);
          expect([...known].sort()).toEqual(after.prefixes);
        }
      }),
      { numRuns: 150 },
    );
  });

  test('gives entries that mean the same as the rules', () => {
    fc.assert(
      fc.property(changes, (steps) => {
        const state = steps.reduce((from, step) => apply(from, step).state, begun());
        const { allowLocalhost, audit } = state.tables.config;
        for (const endpointId of endpointIds) {
          for (const direction of directions) {
            if (!enforcement(state, endpointId)[direction]) continue;
            for (const identity of identityNumbers) {
              const isLocalhost = allowLocalhost && direction === 'ingress' && identity === 1 && endpointId !== 3;
              for (const what of questions) {
                const question: VerdictQuestion = { endpointId, direction, identity, ...what };
                const found = lookup(state, question);
                const byMap = found === 'none' ? (isLocalhost ? 'allowed' : 'denied') : found;
                const { verdict, audited, reason } = verdictOf(state, question);
                expect(audited ? 'denied' : verdict, `${JSON.stringify(question)}: ${reason}`).toBe(byMap);
                expect(audited).toBe(audit && byMap === 'denied');
              }
            }
          }
        }
      }),
      { numRuns: 100 },
    );
  });
});
