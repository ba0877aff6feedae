/** A machine's definition as plain states and transitions, for the page's diagram; pure. */
import type { AnyStateMachine, AnyStateNode } from 'xstate';
import { actionName, eventName, guardName, transitionsOf } from './mermaid.ts';

export interface KindGraph {
  /** State in which a machine is born. */
  initial: string;
  states: { id: string; isFinal: boolean; entry: string[] }[];
  /** `from` is '' for what holds in every state; `to` is '' for what changes no state. */
  edges: { from: string; to: string; event: string; guard: string; actions: string[] }[];
}

export function graphOf(logic: unknown): KindGraph {
  const { root } = logic as AnyStateMachine;
  const nodes = below(root);
  return {
    initial: idOf(leafOf(root)),
    states: nodes
      .filter(({ states }) => Object.keys(states).length === 0)
      .map((node) => ({ id: idOf(node), isFinal: node.type === 'final', entry: named(node.entry) })),
    edges: [root, ...nodes].flatMap((node) =>
      transitionsOf(node).flatMap(([event, { target, guard, actions }]) =>
        (target ?? [undefined]).map((to: AnyStateNode | undefined) => ({
          from: idOf(node),
          to: to ? idOf(leafOf(to)) : '',
          event: eventName(event),
          guard: guard === undefined ? '' : guardName(guard),
          actions: named(actions),
        })),
      ),
    ),
  };
}

const below = (node: AnyStateNode): AnyStateNode[] =>
  Object.values(node.states).flatMap((child) => [child, ...below(child)]);

/** As `MachineView.state` writes it. */
const idOf = (node: AnyStateNode): string => node.path.join('.');

/** Where a transition to a state with states inside ends up. */
function leafOf(node: AnyStateNode): AnyStateNode {
  const inner = node.type === 'parallel' ? undefined : node.initial?.target?.[0];
  return inner ? leafOf(inner) : node;
}

const named = (actions: readonly unknown[]): string[] => actions.map(actionName).filter(Boolean);
