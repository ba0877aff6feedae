/** Reads manifests: YAML or JSON files, each with any number of documents, each knowing where it came from. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../cluster/events.ts';

export interface Manifest {
  /** `file, document N`, for messages; documents are counted from 1. */
  origin: string;
  object: KubeObject;
}

export class ManifestInvalid extends Error {}

/**
 * A directory's files in order of name, or one file; `-` is standard input. Throws with file, document, field, value and what was expected.
 * `onOther`: JSON files beside the manifests may be something else altogether, such as the flows that are asked about.
 */
export function readManifests(path: string, onOther?: (path: string) => void): Manifest[] {
  if (path === '-') return read(readFileSync(0, 'utf8'), 'standard input');
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat) throw new ManifestInvalid(`manifests ${path}: no such file or directory`);
  if (!stat.isDirectory()) return readFile(path);
  const files = readdirSync(path)
    .filter((file) => /\.(ya?ml|json)$/.test(file))
    .sort();
  if (files.length === 0)
    throw new ManifestInvalid(`manifests ${path}: no .yaml, .yml or .json file in this directory`);
  return files.flatMap((file) => {
    const own = join(path, file);
    if (!onOther || !isOther(own)) return readFile(own);
    onOther(own);
    return [];
  });
}

/** JSON that does not even claim to be a Kubernetes object. */
function isOther(path: string): boolean {
  if (!path.endsWith('.json')) return false;
  try {
    const value: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof value !== 'object' || value === null || !('apiVersion' in value || 'kind' in value);
  } catch {
    // Several documents, or broken: the reader says so.
    return false;
  }
}

const readFile = (path: string): Manifest[] => read(readFileSync(path, 'utf8'), path);

function read(text: string, from: string): Manifest[] {
  return parseAllDocuments(text).flatMap((document, i) => {
    const origin = `${from}, document ${i + 1}`;
    const [error] = document.errors;
    if (error) throw new ManifestInvalid(`${origin}: ${error.message.trimEnd()}`);
    const value: unknown = document.toJS();
    return value === null || value === undefined ? [] : objectsIn(value, origin);
  });
}

function objectsIn(value: unknown, origin: string): Manifest[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ManifestInvalid(`${origin}: is ${JSON.stringify(value)}, expected a Kubernetes object`);
  }
  const object = value as Record<string, unknown>;
  if (object.kind === 'List' && Array.isArray(object.items)) {
    return object.items.flatMap((item, i) => objectsIn(item, `${origin}, items[${i}]`));
  }
  for (const field of ['apiVersion', 'kind']) {
    if (typeof object[field] !== 'string' || object[field] === '')
      wrong(origin, field, object[field], 'text such as v1 or Pod');
  }
  const metadata = object.metadata as Record<string, unknown> | undefined;
  if (typeof metadata !== 'object' || metadata === null) wrong(origin, 'metadata', metadata, 'an object with a name');
  if (typeof metadata.name !== 'string') wrong(origin, 'metadata.name', metadata.name, 'the name of the object');
  return [{ origin, object: object as unknown as KubeObject }];
}

function wrong(origin: string, field: string, value: unknown, expected: string): never {
  const got = value === undefined ? 'missing' : JSON.stringify(value);
  throw new ManifestInvalid(`${origin}: ${field} is ${got}, expected ${expected}`);
}

const FIRST = ['Namespace', 'CustomResourceDefinition'];

/** Namespaces and definitions come before what needs them; otherwise the order of the files is kept. */
export function inOrderOfNeed(manifests: readonly Manifest[]): Manifest[] {
  const rank = ({ object }: Manifest) => (FIRST.includes(object.kind) ? FIRST.indexOf(object.kind) : FIRST.length);
  return manifests.toSorted((a, b) => rank(a) - rank(b));
}
