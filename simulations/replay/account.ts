/** What happened in one moment, as plain data: the event, the transitions and the ops that came of it. */
import type { ClusterEvent } from '../../cluster/events.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { Cause, Transition } from '../../reconcilers/inspect.ts';
import { subjectOf as shortSubject } from '../../reconcilers/op-records.ts';
import { isTableName } from '../../state/tables.ts';
import { type ChangedRow, changedRows, type Moment, type Position } from './moment.ts';

export interface EventBrief extends Position {
  at: number;
  type: string;
  source: string;
  /** The object, container, link, table or timer that the event is about. */
  subject: string;
  file: string;
  line: number;
}

export interface Account {
  event: EventBrief;
  transitions: Pick<Transition, 'machine' | 'from' | 'to' | 'on'>[];
  ops: { action: string; table: string; key: string; value?: unknown; before?: unknown; owners: readonly string[] }[];
  /** That are actual since this event. */
  rows: ChangedRow[];
  /** Of results of ops: the event after which they were planned. */
  root?: Pick<Cause, 'seq' | 'at' | 'type' | 'subject'>;
}

/** With how many of the ops failed. */
export function subjectOf(event: ClusterEvent): string {
  const subject = shortSubject(event);
  if (event.type !== 'ops.done') return subject;
  const failed = event.results.filter(({ error }) => error).length;
  const what = event.results.length === 1 ? subject : `${subject} on ${event.results[0]?.table}`;
  return failed > 0 ? `${what}, ${failed} failed` : what;
}

export const briefOf = ({ run, seq, entry, file, line }: Moment): EventBrief => ({
  ...{ run, seq, at: entry.at, type: entry.event.type, source: entry.source },
  ...{ subject: subjectOf(entry.event), file, line },
});

export function accountOf(moment: Moment, transitions: readonly Transition[]): Account {
  const root = rootOf(moment);
  return {
    ...plansOf(moment, transitions),
    rows: changedRows(moment),
    ...(root && { root: { seq: root.seq, at: root.at, type: root.type, subject: root.subject } }),
  };
}

const plansOf = (moment: Moment, transitions: readonly Transition[]): Omit<Account, 'rows' | 'root'> => ({
  event: briefOf(moment),
  transitions: transitions.map(({ machine, from, to, on }) => ({ machine, from, to, on })),
  ops: moment.steps.flatMap(({ ops }) =>
    ops.map(({ action, table, key, value, before, owners }) => ({
      ...{ action, table, key, owners },
      ...(value !== undefined && { value }),
      ...(before !== undefined && { before }),
    })),
  ),
});

/** Collects the transitions of each moment; to be the first of the watchers. */
export class TransitionLog {
  /** Of the present moment. */
  readonly latest: Transition[] = [];
  #seq = 0;

  onRun(_run: number, _header: unknown, engine: Engine): void {
    this.#seq = 0;
    this.latest.length = 0;
    engine.transitions$.subscribe((transition) => {
      if (transition.cause.seq !== this.#seq) {
        this.#seq = transition.cause.seq;
        this.latest.length = 0;
      }
      this.latest.push(transition);
    });
  }

  /** Of that moment. */
  of({ seq }: Moment): readonly Transition[] {
    return this.#seq === seq ? this.latest : [];
  }

  onMoment(): undefined {}
}

/** The event behind results of ops: the one after which the first of them was planned. */
export function rootOf({ entry: { event }, engine }: Moment): Cause | undefined {
  if (event.type !== 'ops.done') return undefined;
  for (const { table, key } of event.results) {
    const cause = isTableName(table) ? engine.explain(table, key)?.op?.cause : undefined;
    if (cause) return cause;
  }
  return undefined;
}
