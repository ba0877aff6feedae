/** The lean transitions are XState's own: same states, contexts and actions, message by message. */
import { expect, it } from 'vitest';
import {
  type AnyMachineSnapshot,
  assign,
  setup,
  initialTransition as theirInitial,
  transition as theirs,
} from 'xstate';
import { recipe, speech } from './machine.ts';
import { type Action, initialTransition, transition } from './transition.ts';

interface Context {
  name: string;
  heard: number;
}

const logic = setup({
  types: {} as { context: Context; events: { type: 'up' | 'down' | 'loop' | 'end' }; input: { name: string } },
  actions: { ...speech, hear: assign(recipe<Context, unknown>((draft) => void draft.heard++)) },
  guards: { often: ({ context }) => context.heard > 2 },
}).createMachine({
  context: ({ input }) => ({ name: input.name, heard: 0 }),
  initial: 'low',
  on: { end: '.over' },
  states: {
    low: {
      entry: { type: 'tell', params: ({ context }) => ({ to: context.name, message: undefined as never }) },
      on: { up: { target: 'high', actions: ['hear', { type: 'retry' }] } },
    },
    high: { always: { target: 'top', guard: 'often' }, on: { down: 'low', loop: { actions: 'hear' } } },
    top: { initial: 'inner', states: { inner: {} } },
    over: { type: 'final' },
  },
});

const essence = (snapshot: AnyMachineSnapshot, actions: readonly Action[]) => ({
  value: snapshot.value,
  context: snapshot.context,
  status: snapshot.status,
  actions: actions.map(({ type, params }) => ({ type, params })),
});

it('does what XState does', () => {
  const input = { name: 'a' };
  let ours = initialTransition(logic, input);
  let reference = theirInitial(logic, input);
  expect(essence(...ours)).toEqual(essence(...reference));
  for (const type of ['up', 'loop', 'down', 'up', 'loop', 'loop', 'up', 'end', 'up'] as const) {
    ours = transition(logic, ours[0], { type });
    reference = theirs(logic, reference[0], { type });
    expect(essence(...ours)).toEqual(essence(...reference));
  }
  expect(ours[0].status).toBe('done');
});

it('throws what a machine throws, and works on', () => {
  const fragile = setup({
    types: {} as { events: { type: 'break' | 'go' } },
    guards: {
      broken: () => {
        throw new Error('broken');
      },
    },
  }).createMachine({
    initial: 'a',
    states: { a: { on: { break: { target: 'b', guard: 'broken' }, go: 'b' } }, b: {} },
  });
  const [snapshot] = initialTransition(fragile, undefined);
  expect(() => transition(fragile, snapshot, { type: 'break' })).toThrow(/broken/);
  expect(transition(fragile, snapshot, { type: 'go' })[0].value).toBe('b');
});
