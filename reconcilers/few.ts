/**
 * A map that mostly has one entry, in a fraction of a Map's memory: of a hundred thousand rows nearly all have one owner.
 *
 * - Keys come in the order in which they were set, but for the first, whose place the next one takes when it goes.
 */
export class Few<V> {
  #key: string | undefined;
  #value: V | undefined;
  #more: Map<string, V> | undefined;

  get size(): number {
    return (this.#key === undefined ? 0 : 1) + (this.#more?.size ?? 0);
  }

  get(key: string): V | undefined {
    return key === this.#key ? this.#value : this.#more?.get(key);
  }

  has(key: string): boolean {
    return key === this.#key || this.#more?.has(key) === true;
  }

  set(key: string, value: V): void {
    if (this.#key === undefined || this.#key === key) {
      this.#key = key;
      this.#value = value;
    } else {
      this.#more ??= new Map();
      this.#more.set(key, value);
    }
  }

  /** Whether it was there. */
  delete(key: string): boolean {
    if (key !== this.#key) return this.#more?.delete(key) === true;
    const [next] = this.#more ?? [];
    this.#key = next?.[0];
    this.#value = next?.[1];
    if (next) this.#more?.delete(next[0]);
    return true;
  }

  /** The only key; undefined: there is none, or there are more. */
  get only(): string | undefined {
    return this.#more !== undefined && this.#more.size > 0 ? undefined : this.#key;
  }

  keys(): string[] {
    if (this.#key === undefined) return [];
    return this.#more ? [this.#key, ...this.#more.keys()] : [this.#key];
  }
}
