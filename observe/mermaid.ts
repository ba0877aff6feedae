/**
 * A machine's definition as a Mermaid `stateDiagram-v2`; pure.
 *
 * - Edges bear the event, `[guard]` and `/ actions`; `always` stands for transitions without an event.
 * - What a machine does in any of its states starts at `any state`; what does not change the state is a line in it.
 * - Nested states are blocks, parallel regions are divided by `--`.
 */
import type { AnyStateMachine, AnyStateNode } from 'xstate';

type Transition = AnyStateNode['transitions'] extends Map<string, (infer T)[]> ? T : never;

export function mermaidOf(logic: unknown): string {
  const { root } = logic as AnyStateMachine;
  const lines = ['stateDiagram-v2'];
  const anywhere = edgesOf(root, 'any_state');
  if (root.type === 'parallel') {
    lines.push(`  state ${quoted(root.key)} as ${idOf(root)} {`, ...body(root, '    '), '  }');
  } else lines.push(...body(root, '  '));
  if (anywhere.length > 0 || entriesOf(root).length > 0) lines.push('  state "any state" as any_state');
  lines.push(...anywhere.map((line) => `  ${line}`), ...entriesOf(root).map((line) => `  any_state : ${line}`));
  return `${lines.join('\n')}\n`;
}

/** The states inside a node, its start, and the edges between them. */
function body(node: AnyStateNode, indent: string): string[] {
  const children = Object.values(node.states);
  const lines: string[] = [];
  children.forEach((child, i) => {
    if (node.type === 'parallel' && i > 0) lines.push(`${indent}--`);
    lines.push(...declaration(child, indent));
  });
  const start = node.type === 'parallel' ? undefined : node.initial?.target?.[0];
  if (start) lines.push(`${indent}[*] --> ${idOf(start)}`);
  for (const child of children) {
    lines.push(...edgesOf(child, idOf(child)).map((line) => indent + line));
    if (child.type === 'final') lines.push(`${indent}${idOf(child)} --> [*]`);
  }
  return lines;
}

function declaration(node: AnyStateNode, indent: string): string[] {
  const id = idOf(node);
  const name = `${indent}state ${quoted(node.type === 'history' ? `${node.key} (history)` : node.key)} as ${id}`;
  const inside =
    Object.keys(node.states).length > 0 ? [`${name} {`, ...body(node, `${indent}  `), `${indent}}`] : [name];
  return [...inside, ...entriesOf(node).map((line) => `${indent}${id} : ${line}`)];
}

function entriesOf(node: AnyStateNode): string[] {
  const named = (what: string, actions: readonly unknown[]): string[] => {
    const names = actions.map(actionName).filter(Boolean);
    return names.length > 0 ? [`${what} / ${names.join(', ')}`] : [];
  };
  const still = transitionsOf(node)
    .filter(([, transition]) => transition.target === undefined)
    .map(([event, transition]) => label(event, transition));
  return [...named('entry', node.entry), ...still, ...named('exit', node.exit)];
}

function edgesOf(node: AnyStateNode, from: string): string[] {
  return transitionsOf(node).flatMap(([event, transition]) =>
    (transition.target ?? []).map(
      (target: AnyStateNode) => `${from} --> ${idOf(target)} : ${label(event, transition)}`,
    ),
  );
}

export function transitionsOf(node: AnyStateNode): [string, Transition][] {
  const on = [...node.transitions].flatMap(([event, all]) =>
    all.map((each): [string, Transition] => [eventName(event), each]),
  );
  const always = (node.always ?? []).map((each): [string, Transition] => ['always', each]);
  return [...always, ...on];
}

function label(event: string, { guard, actions }: Transition): string {
  const names = actions.map(actionName).filter(Boolean);
  const condition = guard === undefined ? '' : ` [${guardName(guard)}]`;
  return clean(`${event}${condition}${names.length > 0 ? ` / ${names.join(', ')}` : ''}`);
}

export function eventName(event: string): string {
  const after = /^xstate\.after\.(.+?)\./.exec(event);
  if (after) return `after ${after[1]}`;
  if (event.startsWith('xstate.done.state.')) return 'done';
  return event === '*' ? 'any event' : event;
}

/** '' for an action without a name of its own, as `assign` or the timer behind `after`. */
export function actionName(action: unknown): string {
  const name = typeof action === 'string' ? action : ((action as { type?: string }).type ?? '');
  return name.startsWith('xstate.') ? '' : name;
}

/** Combined guards are functions that carry their parts. */
export function guardName(guard: unknown): string {
  if (typeof guard === 'string') return guard;
  const { type, name, guards } = guard as { type?: string; name?: string; guards?: unknown[] };
  const parts = guards?.map(guardName);
  if (parts && name === 'not') return `not ${parts[0]}`;
  if (parts) return parts.join(` ${name} `);
  return type ?? (name || 'guard');
}

/** Unique in the machine: its place below the root. */
const idOf = (node: AnyStateNode): string =>
  (node.path.length > 0 ? node.path : [node.key]).join('__').replaceAll(/\W/g, '_');

const quoted = (text: string): string => JSON.stringify(text);
/** Mermaid ends a label at a semicolon or a line's end, and takes a second colon for another one. */
const clean = (text: string): string => text.replaceAll(/[;\n]/g, ' ').replaceAll(':', '∶');
