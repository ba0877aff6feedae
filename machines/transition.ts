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

type Identity = Pick<AnyActorScope, 'self' | 'system'>;
const identities = new WeakMap<AnyStateMachine, Identity>();

const nothing = (): void => {};

function identityOf(logic: AnyStateMachine): Identity {
  const known = identities.get(logic);
  if (known) return known;
  const self = createActor(logic);
  const made = { self, system: self.system };
  identities.set(logic, made);
  return made;
}

function scoped(logic: AnyStateMachine, move: (scope: AnyActorScope) => AnyMachineSnapshot): Transitioned {
  const actions: Action[] = [];
  const scope: AnyActorScope = {
    ...identityOf(logic),
    id: '',
    sessionId: '',
    logger: nothing,
    defer: nothing,
    emit: nothing,
    stopChild: nothing,
    actionExecutor: (action) => void actions.push(action),
  };
  return [move(scope), actions];
}

export function initialTransition(logic: AnyStateMachine, input: unknown): Transitioned {
  return scoped(logic, (scope) => logic.getInitialSnapshot(scope, input as never) as AnyMachineSnapshot);
}

export function transition(logic: AnyStateMachine, snapshot: AnyMachineSnapshot, message: unknown): Transitioned {
  return scoped(logic, (scope) => logic.transition(snapshot, message as never, scope) as AnyMachineSnapshot);
}
