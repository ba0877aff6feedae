/**
 * Reads what `kubectl get … -o json` wrote: a List, objects one after another (`--watch`), or their events
 * (`--watch --output-watch-events`). Documents follow each other without separators, indented or not.
 *
 * - A document that is cut off at the end of the file is left out, and said; anything else that is no such document ends the reading with
 *   file and line. A lenient reader reports it and goes on after it.
 * - Several files, one for each resource, are read as one history: their first lists, then their changes by resource version.
 */
import type { KubeObject } from './events.ts';
import { linesOf } from './recording-files.ts';
import { RecordingError } from './recording-format.ts';

export interface WatchedObject {
  type: 'upserted' | 'deleted';
  object: KubeObject;
  file: string;
  /** Where its document begins. */
  line: number;
}
export interface WatchFault {
  type: 'fault';
  file: string;
  line: number;
  message: string;
}
export type WatchItem = WatchedObject | WatchFault | { type: 'torn'; file: string; line: number };

export interface WatchHistory {
  /** What was there before anything changed. */
  list: WatchedObject[];
  changes: AsyncGenerator<WatchItem>;
}

/** Whether a file's first bytes look like such output and not like a recording of ours. */
export function isKubectlOutput(head: string): boolean {
  return /^\s*\{/.test(head) && !/^\s*\{\s*"format"\s*:/.test(head) && /"(apiVersion|object|kind)"\s*:/.test(head);
}

export async function historyOf(paths: readonly string[], lenient = false): Promise<WatchHistory> {
  const rests: Rest[] = [];
  const lists: WatchedObject[][] = [];
  for (const path of paths) {
    const items = readKubectl(path, lenient);
    const { list, head } = await firstList(items);
    lists.push(list);
    rests.push({ queue: head ? [head] : [], items });
  }
  // Where one resource had changed, what others have of a later version came later too.
  const begun = Math.min(...rests.flatMap(({ queue }) => queue.map(versionOf)).filter((version) => version > 0));
  const isLate = ({ object }: WatchedObject): boolean => versionOf({ object }) > begun;
  lists.forEach((list, i) => void rests[i]?.queue.unshift(...list.filter(isLate)));
  return { list: lists.flatMap((list) => list.filter((item) => !isLate(item))), changes: merged(rests) };
}

interface Rest {
  /** What was read already. */
  queue: WatchItem[];
  items: AsyncGenerator<WatchItem>;
}

/**
 * Up to the first object that is gone, comes again, or is out of order: a list is sorted by namespace and name, and kubectl does not say
 * where it ends.
 */
async function firstList(
  items: AsyncGenerator<WatchItem>,
): Promise<{ list: WatchedObject[]; head: WatchItem | undefined }> {
  const list: WatchedObject[] = [];
  const last = new Map<string, string>();
  for (;;) {
    const { value, done } = await items.next();
    if (done) return { list, head: undefined };
    if (value.type !== 'upserted') return { list, head: value };
    const { kind, metadata } = value.object;
    const name = `${metadata.namespace ?? ''}/${metadata.name}`;
    const before = last.get(kind);
    if (before !== undefined && name <= before) return { list, head: value };
    last.set(kind, name);
    list.push(value);
  }
}

async function* merged(rests: readonly Rest[]): AsyncGenerator<WatchItem> {
  for (;;) {
    let next: Rest | undefined;
    for (const rest of rests) {
      const [head] = rest.queue;
      if (head && (!next?.queue[0] || versionOf(head) < versionOf(next.queue[0]))) next = rest;
    }
    const item = next?.queue.shift();
    if (!next || !item) return;
    yield item;
    if (next.queue.length > 0) continue;
    const { value, done } = await next.items.next();
    if (!done) next.queue.push(value);
  }
}

/** Versions of one etcd are numbers in the order of all writes. What has none comes at once. */
const versionOf = (item: WatchItem | { object: KubeObject }): number =>
  ('object' in item && Number(item.object.metadata.resourceVersion)) || 0;

export async function* readKubectl(file: string, lenient = false): AsyncGenerator<WatchItem> {
  for await (const { text, line, isWhole } of documentsOf(file)) {
    try {
      if (!isWhole) {
        yield { type: 'torn', file, line };
        return;
      }
      for (const item of objectsOf(parse(text))) yield { ...item, file, line };
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (!lenient) throw new RecordingError(file, line, message);
      yield { type: 'fault', file, line, message };
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : error}; expected JSON as kubectl -o json writes it`);
  }
}

function* objectsOf(document: unknown): Generator<{ type: 'upserted' | 'deleted'; object: KubeObject }> {
  const { type, object, kind, items } = document as { type?: string; object?: unknown; kind?: string; items?: unknown };
  if (typeof type === 'string' && object !== undefined) {
    if (type === 'BOOKMARK') return;
    if (type === 'ERROR')
      throw new Error(
        `the watch ended with an error: ${JSON.stringify(object).slice(0, 200)}; what follows was recorded later, and deletes in between are not known`,
      );
    if (!['ADDED', 'MODIFIED', 'DELETED'].includes(type))
      throw new Error(`field type is ${JSON.stringify(type)}, expected ADDED, MODIFIED, DELETED or BOOKMARK`);
    yield { type: type === 'DELETED' ? 'deleted' : 'upserted', object: checked(object) };
  } else if (Array.isArray(items) && kind?.endsWith('List')) {
    for (const item of items) yield { type: 'upserted', object: checked(item) };
  } else yield { type: 'upserted', object: checked(document) };
}

function checked(value: unknown): KubeObject {
  const { apiVersion, kind, metadata } = (value ?? {}) as Partial<KubeObject>;
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || typeof metadata?.name !== 'string')
    throw new Error('expected a Kubernetes object with apiVersion, kind and metadata.name');
  return value as KubeObject;
}

interface Document {
  text: string;
  line: number;
  isWhole: boolean;
}

/** What lies between documents is a document of its own, and none of Kubernetes. */
async function* documentsOf(file: string): AsyncGenerator<Document> {
  const scanner = new Scanner();
  for await (const { first, lines } of linesOf(file)) {
    for (let i = 0; i < lines.length; i++) {
      scanner.line(`${lines[i]}\n`, first + i);
      yield* scanner.found.splice(0);
    }
  }
  if (scanner.text.trim() !== '') yield { text: scanner.text, line: scanner.begun, isWhole: false };
}

const [QUOTE, BACKSLASH, OPEN, CLOSE] = [0x22, 0x5c, 0x7b, 0x7d];

class Scanner {
  readonly found: Document[] = [];
  text = '';
  begun = 1;
  #depth = 0;
  #isText = false;

  line(text: string, number: number): void {
    if (this.#depth === 0) this.begun = number;
    let from = 0;
    for (let at = 0; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code === BACKSLASH) at++;
      else if (code === QUOTE) this.#isText = this.#depth > 0 && !this.#isText;
      else if (this.#isText) continue;
      else if (code === OPEN) {
        if (this.#depth++ > 0) continue;
        this.#stray(text.slice(from, at), number);
        from = at;
      } else if (code === CLOSE && this.#depth > 0 && --this.#depth === 0) {
        this.found.push({ text: this.text + text.slice(from, at + 1), line: this.begun, isWhole: true });
        this.text = '';
        this.begun = number;
        from = at + 1;
      }
    }
    if (this.#depth > 0) this.text += text.slice(from);
    else this.#stray(text.slice(from), number);
  }

  #stray(text: string, line: number): void {
    if (text.trim() !== '') this.found.push({ text: text.trim(), line, isWhole: true });
    this.begun = line;
  }
}
