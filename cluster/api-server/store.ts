/**
 * Kubernetes objects: create, read, update and delete with the rules of the API. All that writes goes through here.
 *
 * - Everything is synchronous: a read and the write that follows it see one state, so patches never race.
 * - What is returned is frozen.
 */
import { randomInt, randomUUID } from 'node:crypto';
import { decode, type FieldValidation, validate } from './decode.ts';
import { type DeleteOptions, deletionOf, endsNow } from './deletion.ts';
import {
  alreadyExists,
  badRequest,
  conflict,
  forbidden,
  invalid,
  modifiedMeanwhile,
  notFound,
  required,
} from './errors.ts';
import { dnsLabel, dnsSubdomain, validateMetadata } from './names.ts';
import type { Registry } from './registry.ts';
import { ResourceHandle } from './resource-handle.ts';
import { type ApplyOptions, apply, trackUpdate } from './server-side-apply.ts';
import type { Storage } from './storage.ts';
import { type ApiObject, isRecord, type ResourceType, type StrategyContext, sameJson } from './types.ts';
import { inVersion, merged, specChanged, unchanged } from './update.ts';

export interface WriteOptions {
  dryRun?: boolean;
  /** `''` is the object itself. */
  subresource?: '' | 'status' | 'finalize' | 'binding';
  fieldValidation?: FieldValidation;
  fieldManager?: string;
  /** Receives warnings for the client. */
  warnings?: string[];
}

export interface StoreContext extends StrategyContext {
  storage: Storage;
  registry: Registry;
}

export class Store {
  readonly storage: Storage;
  readonly registry: Registry;
  #context: StoreContext;

  constructor(context: StoreContext) {
    this.#context = context;
    this.storage = context.storage;
    this.registry = context.registry;
  }

  /** By plural, `plural.group` or kind. */
  resource(name: string): ResourceHandle {
    return new ResourceHandle(this, this.registry.named(name));
  }

  get(type: ResourceType, namespace: string, name: string): ApiObject {
    const found = this.storage.get(type.storageKey, namespace, name);
    if (!found) throw notFound(type, name);
    return inVersion(type, found);
  }

  list(type: ResourceType, namespace?: string): ApiObject[] {
    return this.storage.list(type.storageKey, namespace).map((object) => inVersion(type, object));
  }

  create(type: ResourceType, namespace: string, body: unknown, options: WriteOptions = {}): ApiObject {
    const draft = decode(type, body, options.fieldValidation ?? 'Strict', options.warnings ?? []);
    const meta = draft.metadata;
    if (meta.resourceVersion) throw badRequest('resourceVersion should not be set on objects to be created');
    this.#place(type, namespace, draft);
    if (!meta.name && meta.generateName) meta.name = this.#generatedName(type, namespace, meta.generateName);
    meta.uid = randomUUID();
    meta.creationTimestamp = this.#context.now();
    delete meta.deletionTimestamp;
    delete meta.deletionGracePeriodSeconds;
    if (type.generations) meta.generation = 1;
    else delete meta.generation;
    if (type.custom && type.subresources.includes('status')) delete draft.status;
    type.strategy.defaults?.(draft);
    const causes = validateMetadata(meta, type.namespaced, nameRule(type));
    if (causes.length > 0) throw invalid(type, meta.name, causes);
    if (this.storage.get(type.storageKey, namespace, meta.name)) throw alreadyExists(type, meta.name);
    validate(type, draft, undefined, type.strategy.prepareCreate?.(draft, this.#context) ?? []);
    if (options.dryRun) return draft;
    return inVersion(type, this.storage.put(type.storageKey, draft));
  }

  update(type: ResourceType, namespace: string, name: string, body: unknown, options: WriteOptions = {}): ApiObject {
    return this.modify(type, namespace, name, () => body, options);
  }

  /** Read-modify-write: `change` gets a private copy of the object and returns the body of an update. */
  modify(
    type: ResourceType,
    namespace: string,
    name: string,
    change: (current: ApiObject) => unknown,
    options: WriteOptions = {},
  ): ApiObject {
    const old = this.get(type, namespace, name);
    const body = change(structuredClone(old));
    const draft = decode(type, body, options.fieldValidation ?? 'Strict', options.warnings ?? []);
    this.#checkIdentity(type, namespace, name, draft, old);
    return this.#replace(type, old, draft, options);
  }

  /** Server-side apply: creates what does not exist. */
  apply(
    type: ResourceType,
    namespace: string,
    name: string,
    body: unknown,
    options: WriteOptions & ApplyOptions,
  ): { object: ApiObject; created: boolean } {
    const applied = decode(type, body, options.fieldValidation ?? 'Strict', options.warnings ?? []);
    applied.metadata.name ||= name;
    const stored = this.storage.get(type.storageKey, namespace, name);
    if (!stored) {
      if (options.subresource) throw notFound(type, name);
      const merged = apply(type, undefined, applied, options, this.#context.now());
      return { object: this.create(type, namespace, merged, options), created: true };
    }
    const old = inVersion(type, stored);
    const merged = apply(type, old, applied, options, this.#context.now());
    if (merged.metadata.resourceVersion === undefined)
      merged.metadata.resourceVersion = old.metadata.resourceVersion ?? '';
    this.#checkIdentity(type, namespace, name, merged, old);
    return { object: this.#replace(type, old, merged, options, true), created: false };
  }

  /** Gives a pod its node, once. */
  bind(type: ResourceType, namespace: string, name: string, node: string, options: WriteOptions = {}): ApiObject {
    const pod = structuredClone(this.get(type, namespace, name));
    const spec = isRecord(pod.spec) ? pod.spec : {};
    if (spec.nodeName) throw conflict(type, name, `pod ${name} is already assigned to node "${String(spec.nodeName)}"`);
    if (pod.metadata.deletionTimestamp)
      throw conflict(type, name, `pod ${name} is being deleted, cannot be assigned to a host`);
    const scheduled = {
      type: 'PodScheduled',
      status: 'True',
      lastProbeTime: null,
      lastTransitionTime: this.#context.now(),
    };
    const status = isRecord(pod.status) ? pod.status : {};
    const conditions = Array.isArray(status.conditions)
      ? status.conditions.filter((condition) => isRecord(condition) && condition.type !== 'PodScheduled')
      : [];
    const bound = {
      ...pod,
      spec: { ...spec, nodeName: node },
      status: { ...status, conditions: [...conditions, scheduled] },
    };
    return options.dryRun ? bound : this.storage.put(type.storageKey, bound);
  }

  /** Returns what is left: the object that is about to end, or its last state. */
  delete(
    type: ResourceType,
    namespace: string,
    name: string,
    options: DeleteOptions = {},
  ): { object: ApiObject; gone: boolean } {
    const old = this.get(type, namespace, name);
    const { uid, resourceVersion } = options.preconditions ?? {};
    if (uid !== undefined && uid !== old.metadata.uid)
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${old.metadata.uid}`,
      );
    if (resourceVersion !== undefined && resourceVersion !== old.metadata.resourceVersion)
      throw modifiedMeanwhile(type, name);
    if (type.kind === 'Namespace' && ['default', 'kube-system', 'kube-public'].includes(name))
      throw forbidden(type, name, 'this namespace may not be deleted');
    const pending = deletionOf(type, old, options, this.#context.now());
    if (options.dryRun) return { object: old, gone: pending === undefined };
    if (pending)
      return {
        object: sameJson(pending, old) ? old : inVersion(type, this.storage.put(type.storageKey, pending)),
        gone: false,
      };
    return { object: inVersion(type, this.storage.delete(type.storageKey, namespace, name) ?? old), gone: true };
  }

  #place(type: ResourceType, namespace: string, draft: ApiObject): void {
    const meta = draft.metadata;
    if (!type.namespaced) {
      delete meta.namespace;
      return;
    }
    if (meta.namespace && meta.namespace !== namespace) {
      throw badRequest(
        `the namespace of the provided object does not match the namespace sent on the request: ${meta.namespace}, ${namespace}`,
      );
    }
    meta.namespace = namespace;
    const owner = this.storage.get('/namespaces', '', namespace);
    const namespaces = { group: '', plural: 'namespaces', kind: 'Namespace' };
    if (!owner) throw notFound(namespaces, namespace);
    if (owner.metadata.deletionTimestamp)
      throw forbidden(
        type,
        meta.name,
        `unable to create new content in namespace ${namespace} because it is being terminated`,
      );
  }

  #generatedName(type: ResourceType, namespace: string, prefix: string): string {
    const alphabet = 'bcdfghjklmnpqrstvwxz2456789';
    for (;;) {
      const suffix = Array.from({ length: 5 }, () => alphabet[randomInt(alphabet.length)]).join('');
      const name = `${prefix.slice(0, 58)}${suffix}`;
      if (!this.storage.get(type.storageKey, namespace, name)) return name;
    }
  }

  /** The body must mean this object, in the state that the client knows. */
  #checkIdentity(type: ResourceType, namespace: string, name: string, draft: ApiObject, old: ApiObject): void {
    const meta = draft.metadata;
    if (meta.name && meta.name !== name)
      throw badRequest(`the name of the object (${meta.name}) does not match the name on the URL (${name})`);
    if (type.namespaced && meta.namespace && meta.namespace !== namespace)
      throw badRequest(
        `the namespace of the object (${meta.namespace}) does not match the namespace on the URL (${namespace})`,
      );
    if (meta.uid && meta.uid !== old.metadata.uid)
      throw conflict(
        type,
        name,
        `Precondition failed: UID in precondition: ${meta.uid}, UID in object meta: ${old.metadata.uid}`,
      );
    if (meta.resourceVersion && meta.resourceVersion !== '0' && meta.resourceVersion !== old.metadata.resourceVersion)
      throw modifiedMeanwhile(type, name);
    if (type.custom && !meta.resourceVersion)
      throw invalid(type, name, [
        {
          ...required('metadata.resourceVersion'),
          message: 'Invalid value: 0x0: must be specified for an update',
          reason: 'FieldValueInvalid',
        },
      ]);
  }

  #replace(type: ResourceType, old: ApiObject, body: ApiObject, options: WriteOptions, applied = false): ApiObject {
    const draft = merged(type, old, body, options.subresource ?? '');
    const meta = draft.metadata;
    if (!options.subresource) type.strategy.defaults?.(draft);
    const causes = validateMetadata(meta, type.namespaced, nameRule(type));
    if (!options.subresource) causes.push(...(type.strategy.prepareUpdate?.(draft, old, this.#context) ?? []));
    if (type.generations && specChanged(type, old, draft)) meta.generation = (old.metadata.generation ?? 0) + 1;
    validate(type, draft, old, causes);
    if (!applied)
      trackUpdate(type, old, draft, options.fieldManager ?? '', this.#context.now(), options.subresource ?? '');
    if (options.dryRun) return draft;
    if (unchanged(old, draft)) return old;
    const stored = this.storage.put(type.storageKey, draft);
    if (!endsNow(stored)) return inVersion(type, stored);
    return inVersion(type, this.storage.delete(type.storageKey, meta.namespace ?? '', meta.name) ?? stored);
  }
}

const nameRule = (type: ResourceType): typeof dnsLabel =>
  type.kind === 'Namespace' || type.plural === 'services' ? dnsLabel : dnsSubdomain;
