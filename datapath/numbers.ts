/**
 * Numbers for names, as the kernel's maps know things by.
 *
 * - Next-fit: a number that was given back is not given out again before all others were, so what programs remember of an old
 *   one does not fit a new one.
 * - Never 0.
 */
export class Numbers {
  readonly #byName = new Map<string, number>();
  readonly #byNumber = new Map<number, string>();
  readonly #max: number;
  #last = 0;

  constructor(max = 2 ** 31 - 1) {
    this.#max = max;
  }

  get size(): number {
    return this.#byName.size;
  }

  of(name: string): number | undefined {
    return this.#byName.get(name);
  }

  nameOf(number: number): string | undefined {
    return this.#byNumber.get(number);
  }

  /** The number of the name, which gets one if it has none. */
  take(name: string): number {
    const known = this.#byName.get(name);
    if (known !== undefined) return known;
    if (this.size >= this.#max) throw new RangeError(`all ${this.#max} numbers are taken`);
    do this.#last = this.#last >= this.#max ? 1 : this.#last + 1;
    while (this.#byNumber.has(this.#last));
    this.#set(name, this.#last);
    return this.#last;
  }

  release(name: string): void {
    const number = this.#byName.get(name);
    if (number === undefined) return;
    this.#byName.delete(name);
    this.#byNumber.delete(number);
  }

  /** What was found to be so; whoever had the name or the number before has it no more. */
  learn(name: string, number: number): void {
    const before = this.#byNumber.get(number);
    if (before === name) return;
    if (before !== undefined) this.release(before);
    this.release(name);
    this.#set(name, number);
    this.#last = Math.max(this.#last, Math.min(number, this.#max));
  }

  #set(name: string, number: number): void {
    this.#byName.set(name, number);
    this.#byNumber.set(number, name);
  }
}
