/** Machine definitions as diagrams: every form of state and transition has its line. */
import { expect, it } from 'vitest';
import { and, assign, createMachine, not, setup } from 'xstate';
import { kinds } from '../machines/kinds.ts';
import { mermaidOf } from './mermaid.ts';

const lines = (logic: unknown): string[] => mermaidOf(logic).trimEnd().split('\n');

it('draws states, events, guards, actions, final states and what may happen anywhere', () => {
  const machine = setup({
    actions: { learn: () => {}, shout: () => {} },
    guards: { big: () => true, red: () => false },
  }).createMachine({
    id: 'plain',
    initial: 'small',
    on: { news: { actions: 'learn' }, stop: '.over' },
    states: {
      small: {
        entry: 'shout',
        always: { target: 'large', guard: 'big' },
        on: {
          grow: [
            { target: 'large', guard: and(['big', not('red')]), actions: ['learn', 'shout'] },
            { target: 'small', reenter: true },
          ],
        },
      },
      large: { on: { look: { actions: assign({}) } }, exit: 'shout', after: { 500: 'small' } },
      over: { type: 'final' },
    },
  });
  expect(lines(machine)).toEqual([
    'stateDiagram-v2',
    '  state "small" as small',
    '  small : entry / shout',
    '  state "large" as large',
    '  large : look',
    '  large : exit / shout',
    '  state "over" as over',
    '  [*] --> small',
    '  small --> large : always [big]',
    '  small --> large : grow [big and not red] / learn, shout',
    '  small --> small : grow',
    '  large --> small : after 500',
    '  over --> [*]',
    '  state "any state" as any_state',
    '  any_state --> over : stop',
    '  any_state : news / learn',
  ]);
});

it('nests states and divides parallel regions', () => {
  const machine = createMachine({
    id: 'deep',
    initial: 'up',
    states: {
      up: {
        type: 'parallel',
        onDone: 'down',
        states: {
          left: { initial: 'on', states: { on: { on: { toggle: 'off' } }, off: { type: 'final' } } },
          right: { initial: 'on', states: { on: { type: 'final' } } },
        },
      },
      'way-down': { on: { rise: '#deep.up.left.off' } },
      down: {},
    },
  });
  const drawn = lines(machine);
  expect(drawn).toContain('  state "up" as up {');
  expect(drawn).toContain('    --');
  expect(drawn).toContain('      state "on" as up__left__on');
  expect(drawn).toContain('      up__left__on --> up__left__off : toggle');
  expect(drawn).toContain('  up --> down : done');
  expect(drawn).toContain('  way_down --> up__left__off : rise');
  const depth = drawn.map((line) => Number(line.endsWith('{')) - Number(line.trim() === '}')).reduce((a, b) => a + b);
  expect(depth).toBe(0);
});

it.each(kinds.map((kind) => [kind.name, kind] as const))('draws %s with all its states', (_, { logic }) => {
  const drawn = mermaidOf(logic);
  for (const state of Object.keys(logic.states)) expect(drawn).toContain(`state "${state}" as `);
  for (const line of drawn.split('\n')) expect(line.split(':').length).toBeLessThanOrEqual(2);
});
