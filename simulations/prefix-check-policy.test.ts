/**
 * Whatever happens to policies and labels: the machine's own plans never hurt what is allowed, and never let through what is denied.
 * Flows between pods are judged whole, by the policies of both ends.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tables } from '../state/tables.ts';
import { type Action, action, flowsOf, rowsOf, take, world } from './policy-actions.ts';
import { PolicyWorld } from './policy-world.ts';
import { checkPrefixes } from './prefix-check.ts';

/** What is wrong with the plans that the actions cause. */
function wrongs(actions: readonly Action[]): string[] {
  const made = world();
  const found = actions.flatMap((one) => {
    const before = rowsOf(made);
    const flows = flowsOf(made);
    take(made, one);
    const steps = made.steps.filter(({ table }) => tables[table].lane === 'kernel');
    return checkPrefixes(before, steps, flows).map((wrong) => `${JSON.stringify(one)}: ${wrong}`);
  });
  expect(made.engine.machine('policy')?.state).toBe('steady');
  return found;
}

/** The next life of a node, after all that happened while no agent was there. */
function restarted(made: PolicyWorld, before: readonly Action[], meanwhile: readonly Action[]): PolicyWorld {
  const policies = new Map<string, Action>();
  for (const one of [...before, ...meanwhile]) {
    if (one.kind === 'policy') policies.set(one.name, one);
    if (one.kind === 'no policy') policies.delete(one.name);
  }
  const next = PolicyWorld.after(made);
  for (const one of [...policies.values(), ...meanwhile.filter(({ kind }) => kind === 'label')]) take(next, one);
  return next.node().namespace('shop').synced();
}

/** What is wrong with the plans of its agent. */
function wrongsOfRestart(before: readonly Action[], meanwhile: readonly Action[]): string[] {
  const made = world();
  for (const one of before) take(made, one);
  const rows = rowsOf(made);
  const flows = flowsOf(made);
  const next = restarted(made, before, meanwhile);
  const steps = next.history.filter(({ table }) => tables[table].lane === 'kernel');
  expect(next.engine.machine('policy')?.state).toBe('steady');
  return checkPrefixes(rows, steps, flows);
}

const ENFORCE_INGRESS = 1;
const everybody = { endpointSelector: {} };
const toSome = [{ toCIDR: ['198.51.100.0/24'] }];
const all = [{ toEndpoints: [{}] }];
const fromV1 = [{ fromEndpoints: [{ matchLabels: { version: 'v1' } }] }];

describe('plans of the policy machine', () => {
  it('are safe at every op, over all plans that an event causes', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 6 }), (actions) => {
        expect(wrongs(actions)).toEqual([]);
      }),
      { numRuns: 60 },
    );
  }, 60_000);

  it('close the one end before they open the other', () => {
    const closed = { ...everybody, ingress: all, egress: toSome };
    const turned = { ...everybody, ingress: [], egress: all };
    expect(
      wrongs([
        { kind: 'policy', name: 'p', spec: closed },
        { kind: 'policy', name: 'p', spec: turned },
        { kind: 'policy', name: 'p', spec: closed },
      ]),
    ).toEqual([]);
  });

  it('give an address its new identity under what both labels allow', () => {
    const v2 = { endpointSelector: { matchLabels: { version: 'v2' } }, egress: all };
    expect(
      wrongs([
        { kind: 'policy', name: 'p', spec: v2 },
        { kind: 'policy', name: 'q', spec: { ...everybody, ingress: fromV1, egress: toSome } },
        { kind: 'label', pod: 'shop/a', version: 'v2' },
        { kind: 'label', pod: 'shop/a', version: 'v1' },
      ]),
    ).toEqual([]);
  });

  // Of several pods' labels, and of labels and policies, one comes after the other, as when an agent is there: nobody saw which was first.
  it.each([
    ['policies', (one: Action) => one.kind !== 'label', 4],
    ['the labels of a pod', (one: Action) => one.kind === 'label', 1],
  ])(
    'are safe at every op of the first plans of an agent, when %s changed while none was there',
    (_, isOfThem, maxLength) => {
      fc.assert(
        fc.property(
          fc.array(action, { minLength: 1, maxLength: 4 }),
          fc.array(action.filter(isOfThem), { minLength: 1, maxLength }),
          (before, meanwhile) => {
            expect(wrongsOfRestart(before, meanwhile)).toEqual([]);
          },
        ),
        { numRuns: 60 },
      );
    },
    60_000,
  );

  it('close the one end before they open the other, also after a restart', () => {
    const closed = { ...everybody, ingress: all, egress: toSome };
    const turned = { ...everybody, ingress: [], egress: all };
    expect(
      wrongsOfRestart([{ kind: 'policy', name: 'p', spec: closed }], [{ kind: 'policy', name: 'p', spec: turned }]),
    ).toEqual([]);
  });

  it('enforce the first policy there is, when it was made and labels changed while no agent was there', () => {
    const next = restarted(
      world(),
      [],
      [
        { kind: 'policy', name: 'p', spec: { ...everybody, ingress: [{}] } },
        { kind: 'label', pod: 'shop/a', version: 'v2' },
      ],
    );
    const flags = Object.values(next.rows('bpf.endpoints')).map((row) => row.flags);
    expect(flags.length).toBeGreaterThan(1);
    expect(flags).toEqual(flags.map(() => ENFORCE_INGRESS));
  });

  it('end where a fresh start ends', () => {
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 8 }), (actions) => {
        const made = world();
        for (const one of actions) take(made, one);
        const entries = (one: PolicyWorld) => {
          // Numbers of CIDRs differ; their CIDRs do not.
          const cidrs = new Map(
            Object.entries(one.rows('bpf.ipcache')).map(([cidr, { identity }]) => [identity, cidr]),
          );
          const name = (key: string) =>
            key.replace(/^(\d+\|\w+\|)(\d+)/, (_, head: string, id: string) =>
              Number(id) >= 2 ** 24 ? `${head}${cidrs.get(Number(id))}` : `${head}${id}`,
            );
          return Object.entries(one.rows('bpf.policy'))
            .map(([key, { deny }]) => `${name(key)} ${deny ? 'deny' : 'allow'}`)
            .sort();
        };
        const again = world();
        // Labels first, in the same order: numbers of identities are the same.
        for (const one of actions) if (one.kind === 'label') take(again, one);
        for (const one of actions) if (one.kind !== 'label') take(again, one);
        expect(entries(made)).toEqual(entries(again));
      }),
      { numRuns: 60 },
    );
  }, 60_000);
});
