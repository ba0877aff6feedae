/**
 * What went wrong with watches, for the agent's log: one line for all resources that fail by the same cause, and no more than one a
 * minute for the same.
 */

/** Watches that fail by one cause do so within this time. */
const GATHER_MS = 500;
const AGAIN_MS = 60_000;
/** As many are named; the others are counted. */
const NAMED = 3;

export class ApiTroubles {
  readonly #log: (line: string) => void;
  /** By cause: the paths since it was last said. */
  readonly #gathered = new Map<string, Set<string>>();
  readonly #saidAt = new Map<string, number>();

  constructor(log: (line: string) => void) {
    this.#log = log;
  }

  tell(path: string, cause: string): void {
    const paths = this.#gathered.get(cause);
    this.#gathered.set(cause, (paths ?? new Set()).add(path));
    if (paths) return;
    const saidAt = this.#saidAt.get(cause);
    const wait = saidAt === undefined ? GATHER_MS : Math.max(GATHER_MS, saidAt + AGAIN_MS - Date.now());
    setTimeout(() => this.#say(cause), wait).unref();
  }

  #say(cause: string): void {
    const paths = [...(this.#gathered.get(cause) ?? [])];
    this.#gathered.delete(cause);
    // Causes that name a request of their own each would pile up.
    if (this.#saidAt.size >= 1_000) this.#saidAt.clear();
    this.#saidAt.set(cause, Date.now());
    const more = paths.length > NAMED ? ` and ${paths.length - NAMED} more` : '';
    this.#log(`api server: ${cause} (${paths.slice(0, NAMED).join(', ')}${more})`);
  }
}
