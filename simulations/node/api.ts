/**
 * An API server in memory: objects by resource, watches that survive outages, and the driver of what the agent writes.
 *
 * - While it is down nothing is heard and every write fails; afterwards a watcher hears the difference, as after a relist.
 */
import type { ClusterEvent, KubeObject } from '../../cluster/events.ts';
import { objectKey } from '../../cluster/events.ts';
import type { Driver, Op, OpError, OpResult } from '../../datapath/driver.ts';
import type { IdentityClaimRow, KubeObjectRow, KubeStatusRow } from '../../state/tables.ts';

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

export class SimulatedApi {
  readonly #objects = new Map<string, Map<string, KubeObject>>();
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

  upsert(resource: string, object: KubeObject): void {
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: String(++this.#version) } };
    const objects = this.#objects.get(resource) ?? new Map<string, KubeObject>();
    this.#objects.set(resource, objects.set(objectKey(stored), stored));
    this.#tell(resource);
    // As the garbage collector does: what refers to owners that are not there goes.
    const owners = ownersOf(stored);
    if (owners.length > 0 && !owners.some((uid) => this.#isThere(uid))) this.delete(resource, objectKey(stored));
  }

  #isThere(uid: string): boolean {
    for (const objects of this.#objects.values()) {
      for (const { metadata } of objects.values()) if (metadata.uid === uid) return true;
    }
    return false;
  }

  /** What the object owned goes with it. */
  delete(resource: string, key: string): void {
    const object = this.#objects.get(resource)?.get(key);
    if (!object) return;
    this.#objects.get(resource)?.delete(key);
    this.#tell(resource);
    for (const [other, objects] of this.#objects) {
      for (const [owned, dependent] of objects) {
        if (ownersOf(dependent).some((uid) => uid === object.metadata.uid)) this.delete(other, owned);
      }
    }
  }

  /** `order`: in which order the resources are listed first. */
  watch(push: (event: ClusterEvent) => void, order: readonly Watched[]): KubeWatch {
    const watch = new KubeWatch(this, push, order, () => this.#watches.delete(watch));
    this.#watches.add(watch);
    if (this.#isUp) watch.relist();
    return watch;
  }

  #tell(resource: string): void {
    if (!this.#isUp) return;
    for (const watch of this.#watches) watch.catchUp(resource);
  }
}

const ownersOf = ({ metadata }: KubeObject): string[] =>
  ((metadata as { ownerReferences?: { uid: string }[] }).ownerReferences ?? []).map(({ uid }) => uid);

export class KubeWatch {
  readonly #api: SimulatedApi;
  readonly #push: (event: ClusterEvent) => void;
  readonly #order: readonly Watched[];
  readonly #known = new Map<string, Map<string, KubeObject>>();
  readonly close: () => void;

  constructor(api: SimulatedApi, push: (event: ClusterEvent) => void, order: readonly Watched[], close: () => void) {
    this.#api = api;
    this.#push = push;
    this.#order = order;
    this.close = close;
  }

  relist(): void {
    for (const resource of this.#order) {
      const isFirst = !this.#known.has(resource);
      this.catchUp(resource, true);
      if (isFirst) this.#push({ type: 'source.synced', source: `kube/${resource}` });
    }
  }

  catchUp(resource: string, isList = false): void {
    if (!this.#order.some((one) => one === resource)) return;
    const known = this.#known.get(resource);
    if (!known && !isList) return;
    const now = this.#api.of(resource);
    for (const [key, object] of known ?? []) {
      if (!now.has(key)) this.#push({ type: 'kube.deleted', resource, object });
    }
    for (const [key, object] of now) {
      if (known?.get(key)?.metadata.resourceVersion !== object.metadata.resourceVersion) {
        this.#push({ type: 'kube.upserted', resource, object });
      }
    }
    this.#known.set(resource, new Map(now));
  }
}

export class SimulatedApiDriver implements Driver {
  readonly tables = ['kube.objects', 'kube.status', 'identity.claims'] as const;
  readonly lane = 'kube';
  readonly #api: SimulatedApi;
  readonly #random: () => number;

  constructor(api: SimulatedApi, random: () => number) {
    this.#api = api;
    this.#random = random;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => {
      if (!this.#api.isUp) return unreachable(op);
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
    this.#api.upsert(resource, { ...object, status: { ...(object.status as object | undefined), ...status } });
  }

  #write({ key, action, value }: Op): void {
    const [resource, name] = partsOf(key);
    if (action === 'delete') this.#api.delete(resource, name);
    else this.#api.upsert(resource, value as KubeObjectRow as KubeObject);
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
