/** All resources the server knows: built-in ones, and custom ones that come and go with their CustomResourceDefinitions. */
import { builtinResources } from './builtin-resources.ts';
import { customResourceTypes } from './custom-resources.ts';
import type { ApiObject, ResourceType } from './types.ts';

export interface GroupVersions {
  group: string;
  /** Preferred first. */
  versions: string[];
}

export class Registry {
  #types = new Map<string, ResourceType>();
  #listeners = new Set<() => void>();

  constructor() {
    for (const type of builtinResources()) this.#types.set(pathKey(type.group, type.version, type.plural), type);
  }

  find(group: string, version: string, plural: string): ResourceType | undefined {
    return this.#types.get(pathKey(group, version, plural));
  }

  /** By plural, `plural.group` or kind; the preferred version. For programs, not for URLs. */
  named(name: string): ResourceType {
    for (const type of this.#types.values()) {
      if (type.plural === name || type.kind === name || `${type.plural}.${type.group}` === name) return type;
    }
    throw new Error(`the API server has no resource "${name}"`);
  }

  all(): ResourceType[] {
    return [...this.#types.values()];
  }

  groups(): GroupVersions[] {
    const groups = new Map<string, Set<string>>();
    for (const type of this.#types.values())
      groups.set(type.group, (groups.get(type.group) ?? new Set()).add(type.version));
    return [...groups].map(([group, versions]) => ({ group, versions: [...versions].sort(byPreference) }));
  }

  ofGroupVersion(group: string, version: string): ResourceType[] {
    return this.all().filter((type) => type.group === group && type.version === version);
  }

  /** Takes up a definition, new or changed. */
  define(definition: ApiObject): void {
    this.#drop(definition);
    for (const type of customResourceTypes(definition))
      this.#types.set(pathKey(type.group, type.version, type.plural), type);
    for (const listener of this.#listeners) listener();
  }

  /** Forgets a definition; its objects are the caller's to delete. */
  undefine(definition: ApiObject): void {
    this.#drop(definition);
    for (const listener of this.#listeners) listener();
  }

  /** Told when the set of resources changed, so that documents made from it are made anew. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #drop(definition: ApiObject): void {
    for (const [key, type] of this.#types)
      if (type.custom && `${type.plural}.${type.group}` === definition.metadata.name) this.#types.delete(key);
  }
}

const pathKey = (group: string, version: string, plural: string): string => `${group}/${version}/${plural}`;

/** v2 before v1 before v2beta1 before v1alpha1, as Kubernetes orders versions. */
export function byPreference(a: string, b: string): number {
  const rank = (version: string): number[] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (!match) return [-1, 0, 0];
    const stage = match[2] === undefined ? 2 : match[2] === 'beta' ? 1 : 0;
    return [stage, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [left, right] = [rank(a), rank(b)];
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return (right[i] ?? 0) - (left[i] ?? 0);
  return a < b ? -1 : 1;
}
