/**
 * An API server in memory: objects by resource, watches that survive outages, and the driver of what the agent writes.
 *
 * - While it is down, or a node is cut off, nothing is heard and every write fails; afterwards a watcher hears the difference, as after a relist.
 */
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { objectKey } from '../../cluster/events.ts';
import type { Driver, Op, OpError, OpResult } from '../../datapath/driver.ts';
import { canonical, type IdentityClaimRow, type KubeObjectRow, type KubeStatusRow } from '../../state/tables.ts';

export const watched = [
  'nodes',
  'ciliumnodes',
  'ciliumendpoints',
  'ciliumendpointslices',
  'namespaces',
  'ciliumidentities',
  'pods',
  'services',
  'endpointslices',
  'networkpolicies',
  'ciliumnetworkpolicies',
  'ciliumclusterwidenetworkpolicies',
  'ciliumcidrgroups',
] as const;
type Watched = (typeof watched)[number];

const IDENTITY_MIN = 256;
const IDENTITIES = 60_000;

/** What happened to an object; `object` undefined: it is gone, and `before` is what it was. */
interface Change {
  key: string;
  object: KubeObject | undefined;
  before: KubeObject | undefined;
}

export class SimulatedApi {
  readonly #objects = new Map<string, Map<string, KubeObject>>();
  /** By resource: all that ever happened, from which watches read on. */
  readonly #changes = new Map<string, Change[]>();
  /** By uid of an owner: what it owns. */
  readonly #owned = new Map<string, Map<string, { resource: string; key: string }>>();
  readonly #uids = new Map<string, number>();
  readonly #watches = new Set<KubeWatch>();
  #version = 0;
  #isUp = true;
  readonly #now: () => number;

  /** `now`: in ms; the server's clock. */
  constructor(now: () => number = () => 0) {
    this.#now = now;
  }

  /** As the server writes times: cut to the second. */
  get time(): string {
    return new Date(this.#now()).toISOString().replace(/\.\d+Z$/, 'Z');
  }

  get isUp(): boolean {
    return this.#isUp;
  }

  set isUp(up: boolean) {
    this.#isUp = up;
    if (up) for (const watch of this.#watches) watch.relist();
  }

  of(resource: string): ReadonlyMap<string, KubeObject> {
    return this.#objects.get(resource) ?? new Map();
  }

  changes(resource: string): readonly Change[] {
    return this.#changes.get(resource) ?? [];
  }

  upsert(resource: string, object: KubeObject): void {
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    this.#set(resource, objectKey(stored), stored);
    // As the garbage collector does: what refers to owners that are not there goes.
    const owners = ownersOf(stored);
    if (owners.length > 0 && !owners.some((uid) => this.#uids.has(uid))) this.delete(resource, objectKey(stored));
  }

  /** What the object owned goes with it. */
  delete(resource: string, key: string): void {
    const object = this.#objects.get(resource)?.get(key);
    if (!object) return;
    this.#set(resource, key, undefined);
    const owned = this.#owned.get(object.metadata.uid ?? '');
    for (const one of [...(owned?.values() ?? [])]) this.delete(one.resource, one.key);
  }

  #set(resource: string, key: string, object: KubeObject | undefined): void {
    const objects = this.#objects.get(resource) ?? new Map<string, KubeObject>();
    const before = objects.get(key);
    this.#objects.set(resource, objects);
    if (object) objects.set(key, object);
    else objects.delete(key);
    this.#index(resource, key, before, -1);
    this.#index(resource, key, object, 1);
    const changes = this.#changes.get(resource) ?? [];
    this.#changes.set(resource, changes);
    changes.push({ key, object, before });
    if (this.#isUp) for (const watch of this.#watches) watch.hear(resource);
  }

  #index(resource: string, key: string, object: KubeObject | undefined, by: 1 | -1): void {
    if (!object) return;
    const { uid } = object.metadata;
    if (uid) {
      const count = (this.#uids.get(uid) ?? 0) + by;
      if (count > 0) this.#uids.set(uid, count);
      else this.#uids.delete(uid);
    }
    for (const owner of ownersOf(object)) {
      const owned = this.#owned.get(owner) ?? new Map<string, { resource: string; key: string }>();
      if (by > 0) this.#owned.set(owner, owned.set(`${resource} ${key}`, { resource, key }));
      else owned.delete(`${resource} ${key}`);
      if (owned.size === 0) this.#owned.delete(owner);
    }
  }

  watch(push: (event: ClusterEvent) => void, options: WatchOptions): KubeWatch {
    const watch = new KubeWatch(this, push, options, () => this.#watches.delete(watch));
    this.#watches.add(watch);
    if (this.#isUp) watch.relist();
    return watch;
  }
}

const ownersOf = ({ metadata }: KubeObject): string[] =>
  ((metadata as { ownerReferences?: { uid: string }[] }).ownerReferences ?? []).map(({ uid }) => uid);

export interface WatchOptions {
  /** In which order the resources are listed first. */
  order: readonly Watched[];
  /** Which objects are asked for; all if it does not say. */
  isAsked?: (resource: string, object: KubeObject) => boolean;
  /** When news of a resource arrives; at once if it does not say. What is under way is not announced again. */
  later?: (deliver: () => void) => void;
  /** It is cut off from the beginning. */
  isCut?: boolean;
}

export class KubeWatch {
  readonly #api: SimulatedApi;
  readonly #push: (event: ClusterEvent) => void;
  readonly #options: WatchOptions;
  /** By resource: how much of what happened has been heard. */
  readonly #heard = new Map<string, number>();
  readonly #onTheWay = new Set<string>();
  #isCut = false;
  readonly #end: () => void;

  constructor(api: SimulatedApi, push: (event: ClusterEvent) => void, options: WatchOptions, end: () => void) {
    this.#api = api;
    this.#push = push;
    this.#options = options;
    this.#isCut = options.isCut ?? false;
    this.#end = end;
  }

  close(): void {
    this.#isCut = true;
    this.#end();
  }

  /** While it is cut off it hears nothing; afterwards what came of it, not how. */
  set isCut(cut: boolean) {
    this.#isCut = cut;
    if (!cut && this.#api.isUp) this.relist();
  }

  /** As after 410 Gone: the lists again, and of what happened since only the outcome. */
  relist(): void {
    if (this.#isCut || !this.#api.isUp) return;
    for (const resource of this.#options.order) {
      if (this.#heard.has(resource)) this.#catchUp(resource, true);
      else {
        this.#heard.set(resource, this.#api.changes(resource).length);
        for (const object of this.#api.of(resource).values()) this.#say(resource, object, undefined);
        this.#push({ type: 'source.synced', source: `kube/${resource}` });
      }
    }
  }

  /** Something happened to an object of the resource. */
  hear(resource: string): void {
    if (this.#isCut || !this.#heard.has(resource)) return;
    const { later } = this.#options;
    if (!later) {
      this.#catchUp(resource, false);
      return;
    }
    if (this.#onTheWay.has(resource)) return;
    this.#onTheWay.add(resource);
    later(() => {
      this.#onTheWay.delete(resource);
      if (!this.#isCut && this.#api.isUp) this.#catchUp(resource, false);
    });
  }

  #catchUp(resource: string, isList: boolean): void {
    const changes = this.#api.changes(resource);
    const from = this.#heard.get(resource) ?? 0;
    // What happens while this is heard comes with the next news.
    const end = changes.length;
    this.#heard.set(resource, end);
    if (!isList) {
      for (let at = from; at < end; at++) {
        const { object, before } = changes[at] as Change;
        this.#say(resource, object, before);
      }
      return;
    }
    const first = new Map<string, KubeObject | undefined>();
    for (let at = from; at < changes.length; at++) {
      const { key, before } = changes[at] as Change;
      if (!first.has(key)) first.set(key, before);
    }
    const now = this.#api.of(resource);
    for (const [key, before] of first) if (now.has(key)) this.#say(resource, now.get(key), before);
    for (const [key, before] of first) if (!now.has(key)) this.#say(resource, undefined, before);
  }

  #say(resource: string, object: KubeObject | undefined, before: KubeObject | undefined): void {
    const { isAsked = () => true } = this.#options;
    const wasHere = before !== undefined && isAsked(resource, before);
    // A namesake: the object that had the name before is gone.
    if (object && before && wasHere && before.metadata.uid !== object.metadata.uid)
      this.#push({ type: 'kube.deleted', resource, object: before });
    if (object && isAsked(resource, object)) this.#push({ type: 'kube.upserted', resource, object });
    else if (before && wasHere) this.#push({ type: 'kube.deleted', resource, object: before });
  }
}

export class SimulatedApiDriver implements Driver {
  readonly tables = ['kube.objects', 'kube.status', 'identity.claims'] as const;
  readonly lane = 'kube';
  readonly #api: SimulatedApi;
  readonly #random: () => number;
  readonly #isReached: () => boolean;

  constructor(api: SimulatedApi, random: () => number, isReached: () => boolean = () => true) {
    this.#api = api;
    this.#random = random;
    this.#isReached = isReached;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => {
      if (!this.#api.isUp || !this.#isReached()) return unreachable(op);
      if (op.table === 'identity.claims') this.#claim(op);
      else if (op.table === 'kube.status') this.#say(op);
      else this.#write(op);
      return undefined;
    });
  }

  #claim({ action, value }: Op): void {
    if (action === 'delete') return;
    const { labels, namespace } = value as IdentityClaimRow;
    claimIdentity(this.#api, this.#random, labels, namespace);
  }

  /** What is gone needs no status; what was said last stays. */
  #say({ key, action, value }: Op): void {
    const [resource, name] = partsOf(key);
    const object = this.#api.of(resource).get(name);
    if (action === 'delete' || !object) return;
    const { status } = value as KubeStatusRow;
    const now = { ...(object.status as object | undefined), ...status };
    // A write that changes nothing is none.
    if (canonical(now) !== canonical(object.status)) this.#api.upsert(resource, { ...object, status: now });
  }

  /** As the real driver: what belongs to another pod of that name stays. */
  #write({ key, action, value, before }: Op): void {
    const [resource, name] = partsOf(key);
    const row = (action === 'delete' ? before : value) as KubeObjectRow as KubeObject;
    const there = this.#api.of(resource).get(name);
    const [theirs, ours] = [there ? ownersOf(there)[0] : undefined, ownersOf(row)[0]];
    const isOfAnother = theirs !== undefined && ours !== undefined && theirs !== ours;
    if (action === 'delete') {
      if (!isOfAnother) this.#api.delete(resource, name);
    } else if (!isOfAnother || this.#api.of('pods').get(name)?.metadata.uid === ours) this.#api.upsert(resource, row);
  }
}

/** Resource, and key of the object. */
function partsOf(key: string): [resource: string, name: string] {
  const slash = key.indexOf('/');
  return [key.slice(0, slash), key.slice(slash + 1)];
}

/** As any node does it: a random number that nobody has yet. */
export function claimIdentity(
  api: SimulatedApi,
  random: () => number,
  labels: Record<string, string>,
  namespace: string,
): void {
  let name = '';
  do name = String(IDENTITY_MIN + Math.floor(random() * IDENTITIES));
  while (api.of('ciliumidentities').has(name));
  const metadata = { name, labels: { 'io.kubernetes.pod.namespace': namespace }, creationTimestamp: api.time };
  api.upsert('ciliumidentities', {
    apiVersion: 'cilium.io/v2',
    kind: 'CiliumIdentity',
    metadata,
    'security-labels': labels,
  });
}

const unreachable = ({ action, table, key }: Op): OpError => ({
  kind: 'kube',
  errno: 'ECONNECTION',
  message: `${action} ${table} ${key}: connection refused`,
  retryable: true,
});
