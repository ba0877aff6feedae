/** Writes a pod's status to the API server; changes of one moment (all containers of a pod start) become one write. */
import { isConflict, isGone, type Objects } from './objects.ts';
import type { Pod } from './pod.ts';

export class StatusWriter {
  readonly #objects: Objects;
  readonly #pod: Pod;
  readonly #status: () => unknown;
  #scheduled: NodeJS.Immediate | undefined;
  #stopped = false;

  /** `status` is asked when it is about to be written. */
  constructor(objects: Objects, pod: Pod, status: () => unknown) {
    this.#objects = objects;
    this.#pod = pod;
    this.#status = status;
  }

  changed(): void {
    if (!this.#stopped) this.#scheduled ??= setImmediate(() => this.#write());
  }

  stop(): void {
    this.#stopped = true;
    clearImmediate(this.#scheduled);
  }

  #write(): void {
    this.#scheduled = undefined;
    const { namespace, name, uid } = this.#pod.metadata;
    try {
      this.#objects.patch('pods', namespace, name, { status: this.#status() }, 'status', uid);
    } catch (error) {
      // A conflict says that a pod of another uid has the name now.
      if (!isGone(error) && !isConflict(error)) throw error;
    }
  }
}
