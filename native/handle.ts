// SPDX-License-Identifier: Apache-2.0
/**
 * Ownership of a file descriptor.
 *
 * - A handle owns its descriptor: `close()` closes it once, later uses throw EBADF.
 * - A handle that is garbage collected without `close()` closes its descriptor too, so keep the handle
 *   reachable for as long as its `fd` number is in use elsewhere.
 */
import { addon } from './addon.ts';
import { NativeError } from './error.ts';

const abandoned = new FinalizationRegistry<number>((fd) => addon().closeFd(fd));

export abstract class Handle {
  #fd: number;
  /** What errors call this handle: `map endpoints`. */
  abstract readonly label: string;

  constructor(fd: number) {
    this.#fd = fd;
    abandoned.register(this, fd, this);
  }

  get fd(): number {
    if (this.#fd < 0)
      throw new NativeError({ syscall: 'fd', errno: 9, code: 'EBADF', detail: 'used after close', object: this.label });
    return this.#fd;
  }

  get closed(): boolean {
    return this.#fd < 0;
  }

  /** Closes the descriptor; a second call does nothing. */
  close(): void {
    if (this.#fd < 0) return;
    abandoned.unregister(this);
    addon().closeFd(this.#fd);
    this.#fd = -1;
  }
}
