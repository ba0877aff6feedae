/**
 * Reads what `kubectl get … -o json` wrote: a List, objects one after another (`--watch`), or their events
 * (`--watch --output-watch-events`). Documents follow each other without separators, indented or not.
 *
 * - A document that is cut off at the end of the file is left out, and said; anything else that is no such document ends the reading.
 */
import { createReadStream } from 'node:fs';
import type { KubeObject } from './events.ts';

export interface WatchedObject {
  type: 'upserted' | 'deleted';
  object: KubeObject;
}
export type WatchItem = WatchedObject | { type: 'torn' };

/** Whether a file's first bytes look like such output and not like a recording of ours. */
export function isKubectlOutput(head: string): boolean {
  return /^\s*\{/.test(head) && !/^\s*\{\s*"format"\s*:/.test(head) && /"(apiVersion|object|kind)"\s*:/.test(head);
}

export async function* readKubectl(path: string): AsyncGenerator<WatchItem> {
  let documents = 0;
  for await (const text of documentsOf(path)) {
    if (text === undefined) {
      yield { type: 'torn' };
      return;
    }
    documents++;
    yield* objectsOf(parse(text, path, documents), `${path}, document ${documents}`);
  }
}

function parse(text: string, path: string, number: number): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`${path}, document ${number}: ${error instanceof Error ? error.message : error}; expected JSON`);
  }
}

function* objectsOf(document: unknown, place: string): Generator<WatchedObject> {
  const { type, object, kind, items } = document as { type?: string; object?: unknown; kind?: string; items?: unknown };
  if (typeof type === 'string' && object !== undefined) {
    if (type === 'BOOKMARK') return;
    if (type === 'ERROR')
      throw new Error(`${place}: the watch ended with an error: ${JSON.stringify(object).slice(0, 200)}`);
    if (!['ADDED', 'MODIFIED', 'DELETED'].includes(type))
      throw new Error(`${place}: field type is ${JSON.stringify(type)}, expected ADDED, MODIFIED, DELETED or BOOKMARK`);
    yield { type: type === 'DELETED' ? 'deleted' : 'upserted', object: checked(object, place) };
  } else if (Array.isArray(items) && kind?.endsWith('List')) {
    for (const item of items) yield { type: 'upserted', object: checked(item, place) };
  } else yield { type: 'upserted', object: checked(document, place) };
}

function checked(value: unknown, place: string): KubeObject {
  const { apiVersion, kind, metadata } = (value ?? {}) as Partial<KubeObject>;
  if (typeof apiVersion !== 'string' || typeof kind !== 'string' || typeof metadata?.name !== 'string')
    throw new Error(`${place}: expected a Kubernetes object with apiVersion, kind and metadata.name`);
  return value as KubeObject;
}

/** Each document's text; undefined: the file ends within one. */
async function* documentsOf(path: string): AsyncGenerator<string | undefined> {
  let text = '';
  let at = 0;
  let depth = 0;
  let isText = false;
  for await (const chunk of createReadStream(path, { encoding: 'utf8' })) {
    text += chunk as string;
    for (; at < text.length; at++) {
      const character = text[at];
      if (isText) {
        if (character === '\\') at++;
        else if (character === '"') isText = false;
      } else if (character === '"') isText = true;
      else if (character === '{') depth++;
      else if (character === '}' && --depth === 0) {
        yield text.slice(0, at + 1);
        text = text.slice(at + 1);
        at = -1;
      }
    }
  }
  if (text.trim() !== '') yield undefined;
}
