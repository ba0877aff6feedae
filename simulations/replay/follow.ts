/** The transitions of machines, each with the event behind it. */
import type { Cause, Transition } from '../../reconcilers/inspect.ts';
import { rootOf, type TransitionLog } from './account.ts';
import { matcher } from './expression.ts';
import type { Moment, Position, Watcher } from './moment.ts';

export interface Followed extends Position {
  at: number;
  machine: string;
  from: string;
  to: string;
  on: string;
  /** The event of the moment, or the one that led to the ops whose results came. */
  because: Pick<Cause, 'seq' | 'at' | 'type' | 'subject'>;
  file: string;
  line: number;
}

export class Follow implements Watcher {
  readonly #matches: (text: string) => boolean;
  readonly #transitions: TransitionLog;
  readonly #tell: (followed: Followed) => void;
  /** How many were told. */
  count = 0;
  /** Keys of all machines, for when none matches. */
  readonly keys = new Set<string>();

  constructor(pattern: string, transitions: TransitionLog, tell: (followed: Followed) => void) {
    this.#matches = matcher(pattern);
    this.#transitions = transitions;
    this.#tell = tell;
  }

  onMoment(moment: Moment): undefined {
    for (const transition of this.#transitions.of(moment)) {
      if (transition.from === '' && this.keys.size < KEYS_KEPT) this.keys.add(transition.machine);
      if (this.#matches(transition.machine)) this.#one(moment, transition);
    }
  }

  #one(moment: Moment, { machine, from, to, on, cause }: Transition): void {
    this.count++;
    const { seq, at, type, subject } = rootOf(moment) ?? cause;
    const because = { seq, at, type, subject };
    const { run, file, line } = moment;
    this.#tell({ run, seq: moment.seq, at: moment.entry.at, machine, from, to, on, because, file, line });
  }
}

const KEYS_KEPT = 100_000;
