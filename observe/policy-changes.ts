/**
 * Changes of policies as this node took them up: those that were there at its start first, and then each, also where no entry changes by it.
 *
 * - They are found by comparing what the policy machine knows, a moment after the API server told of one: what changes twice within
 *   that moment has changed once, and a status that somebody wrote is no change.
 */
import { Subject } from 'rxjs';
import type { ClusterEvent } from '../cluster/events.ts';
import { objectsOf, type PolicyObject } from '../machines/policy-context.ts';
import type { Inspector } from '../reconcilers/inspect.ts';
import { POLICY_KINDS } from './hubble/agent-events.ts';
import { policyContextOf } from './policy.ts';

export interface PolicyChange {
  action: 'update' | 'delete';
  kind: string;
  /** Empty: of the cluster. */
  namespace: string;
  name: string;
  /** Of the version in force. */
  rules: number;
  /** The last event that the engine had taken. */
  seq: number;
}

export interface PolicyCounts {
  success: number;
  /** That are not in force. */
  fail: number;
  /** Of the last change. */
  revision: number;
}

const MOMENT_MS = 100;

type Known = Pick<PolicyObject, 'kind' | 'namespace' | 'name' | 'text'> & { rules: number };

export class PolicyChanges {
  readonly changes$ = new Subject<PolicyChange>();
  readonly counts: PolicyCounts = { success: 0, fail: 0, revision: 0 };
  readonly #inspector: Inspector;
  #known = new Map<string, Known>();
  #timer: NodeJS.Timeout | undefined;

  constructor(inspector: Inspector) {
    this.#inspector = inspector;
  }

  /** One more event from a watch. */
  readonly hear = (event: ClusterEvent): void => {
    const isOfOne = (event.type === 'kube.upserted' || event.type === 'kube.deleted') && event.resource in POLICY_KINDS;
    if (isOfOne || event.type === 'source.synced') this.#soon();
  };

  close(): void {
    clearTimeout(this.#timer);
  }

  #soon(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#look();
    }, MOMENT_MS).unref();
  }

  #look(): void {
    const context = policyContextOf(this.#inspector);
    if (!context?.known) {
      this.#soon();
      return;
    }
    const { seq } = this.#inspector.stats();
    const before = this.#known;
    this.#known = new Map();
    for (const object of objectsOf(context).values()) {
      const { kind, namespace, name, text, problems, lastValid } = object;
      const key = `${kind}/${namespace}/${name}`;
      const known = before.get(key);
      before.delete(key);
      const rules = lastValid?.rules.length ?? 0;
      this.#known.set(key, { kind, namespace, name, text, rules });
      if (known?.text === text) continue;
      this.#tell({ action: 'update', kind, namespace, name, rules, seq }, problems.length === 0);
    }
    for (const { kind, namespace, name, rules } of before.values())
      this.#tell({ action: 'delete', kind, namespace, name, rules, seq }, true);
  }

  #tell(change: PolicyChange, isGood: boolean): void {
    this.counts[isGood ? 'success' : 'fail']++;
    this.counts.revision = change.seq;
    this.changes$.next(change);
  }
}
