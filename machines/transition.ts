/**
 * XState's pure `initialTransition` and `transition`, with one actor for each logic instead of a new one for each call.
 *
 * - XState's own make an actor every time, and with it an initial snapshot that nobody asked for: three times the cost.
 * - The actor is never started; machines here neither invoke nor spawn, so it only lends its name to the scope.
 */
import { type AnyActorScope, type AnyMachineSnapshot, type AnyStateMachine, createActor } from 'xstate';

export interface Action {
  type: string;
  params?: unknown;
}
export type Transitioned = [snapshot: AnyMachineSnapshot, actions: Action[]];

const scopes = new WeakMap<AnyStateMachine, AnyActorScope>();

const nothing = (): void => {};

/** Of the transition that is being made: there is one at a time, and it is over before the next. */
let actions: Action[] = [];

function scopeOf(logic: AnyStateMachine): AnyActorScope {
  const known = scopes.get(logic);
  if (known) return known;
  const self = createActor(logic);
  const made: AnyActorScope = {
    self,
    system: self.system,
    id: '',
    sessionId: '',
    logger: nothing,
    defer: nothing,
    emit: nothing,
    stopChild: nothing,
    actionExecutor: (action) => void actions.push(action),
  };
  scopes.set(logic, made);
  return made;
}

function scoped(logic: AnyStateMachine, move: (scope: AnyActorScope) => AnyMachineSnapshot): Transitioned {
  actions = [];
  return [move(scopeOf(logic)), actions];
}

export function initialTransition(logic: AnyStateMachine, input: unknown): Transitioned {
  return scoped(logic, (scope) => logic.getInitialSnapshot(scope, input as never) as AnyMachineSnapshot);
}

export function transition(logic: AnyStateMachine, snapshot: AnyMachineSnapshot, message: unknown): Transitioned {
  return scoped(logic, (scope) => logic.transition(snapshot, message as never, scope) as AnyMachineSnapshot);
}
