/**
 * A map that mostly has one entry, in a fraction of a Map's memory: of a hundred thousand rows nearly all have one owner.
 *
 * - Its fields are plain, so that it can be written down as it is; `Few.from` gives what was read its methods back.
 * - Keys come in the order in which they were set, but for the first, whose place the next one takes when it goes.
 */
export class Few<V> {
  private first: string | undefined;
  private value: V | undefined;
  private more: Map<string, V> | undefined;

  /** `read` has the fields of one. */
  static from<V>(read: object): Few<V> {
    return Object.setPrototypeOf(read, Few.prototype) as Few<V>;
  }

  get size(): number {
    return (this.first === undefined ? 0 : 1) + (this.more?.size ?? 0);
  }

  get(key: string): V | undefined {
    return key === this.first ? this.value : this.more?.get(key);
  }

  has(key: string): boolean {
    return key === this.first || this.more?.has(key) === true;
  }

  set(key: string, value: V): void {
    if (this.first === undefined || this.first === key) {
      this.first = key;
      this.value = value;
    } else {
      this.more ??= new Map();
      this.more.set(key, value);
    }
  }

  /** Whether it was there. */
  delete(key: string): boolean {
    if (key !== this.first) return this.more?.delete(key) === true;
    const [next] = this.more ?? [];
    this.first = next?.[0];
    this.value = next?.[1];
    if (next) this.more?.delete(next[0]);
    return true;
  }

  /** The only key; undefined: there is none, or there are more. */
  get only(): string | undefined {
    return this.more !== undefined && this.more.size > 0 ? undefined : this.first;
  }

  keys(): string[] {
    if (this.first === undefined) return [];
    return this.more ? [this.first, ...this.more.keys()] : [this.first];
  }
}
