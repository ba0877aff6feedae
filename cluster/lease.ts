/**
 * Leader election by a Lease of coordination.k8s.io: at most one of several processes holds it.
 *
 * - Who has not been renewed for the lease's duration, by our own clock since we saw it change, has lost it: clocks may differ.
 * - A write that meets another's is refused by the server; then it is not ours.
 */
import { collectionPath, type KubeClient, KubeError } from './client.ts';

export interface LeaseOptions {
  client: KubeClient;
  namespace: string;
  name: string;
  /** Of this process. */
  holder: string;
  durationMs: number;
  nowMs: () => number;
}

interface LeaseSpec {
  holderIdentity?: string;
  leaseDurationSeconds?: number;
  acquireTime?: string;
  renewTime?: string;
  leaseTransitions?: number;
}
interface Lease {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace: string; resourceVersion?: string };
  spec?: LeaseSpec;
}

const NOT_FOUND = 404;
const CONFLICT = 409;
const REQUEST_TIMEOUT_MS = 10_000;

const isStatus = (error: unknown, status: number): boolean => error instanceof KubeError && error.status === status;

export class LeaderLease {
  readonly #options: LeaseOptions;
  readonly #collection: string;
  readonly #path: string;
  /** What we saw last, and when. */
  #seen = { version: '', atMs: 0 };
  #heldUntilMs = 0;

  constructor(options: LeaseOptions) {
    this.#options = options;
    this.#collection = collectionPath('coordination.k8s.io/v1', 'leases', options.namespace);
    this.#path = `${this.#collection}/${encodeURIComponent(options.name)}`;
  }

  /** Nobody else holds it before this time. */
  get heldUntilMs(): number {
    return this.#heldUntilMs;
  }

  /** Takes it or renews it, if it can; to be called several times in its duration. Throws when the server cannot be reached. */
  async hold(): Promise<boolean> {
    const { nowMs, holder, durationMs } = this.#options;
    // What is written counts from before the write: others count from when they see it.
    const at = nowMs();
    const lease = await this.#read();
    if (lease?.metadata.resourceVersion !== this.#seen.version)
      this.#seen = { version: lease?.metadata.resourceVersion ?? '', atMs: at };
    const { holderIdentity = '', leaseDurationSeconds = 0 } = lease?.spec ?? {};
    const isFree = holderIdentity === '' || at - this.#seen.atMs >= 1000 * leaseDurationSeconds;
    if (holderIdentity !== holder && !isFree) return this.#lost();
    const written = await this.#write(lease, at);
    if (!written) return this.#lost();
    this.#seen = { version: written.metadata.resourceVersion ?? '', atMs: at };
    this.#heldUntilMs = at + durationMs;
    return true;
  }

  /** So that another need not wait for it to expire. */
  async release(): Promise<void> {
    if (this.#heldUntilMs === 0) return;
    this.#lost();
    const lease = await this.#read();
    if (lease?.spec?.holderIdentity !== this.#options.holder) return;
    await this.#put({ ...lease, spec: { ...lease.spec, holderIdentity: '' } });
  }

  #lost(): false {
    this.#heldUntilMs = 0;
    return false;
  }

  async #read(): Promise<Lease | undefined> {
    try {
      return await this.#options.client.get<Lease>(this.#path, {}, AbortSignal.timeout(REQUEST_TIMEOUT_MS));
    } catch (error) {
      if (isStatus(error, NOT_FOUND)) return undefined;
      throw error;
    }
  }

  /** Undefined: somebody else was faster. */
  async #write(before: Lease | undefined, at: number): Promise<Lease | undefined> {
    const { holder, durationMs, name, namespace, client } = this.#options;
    const known = before?.spec ?? {};
    const isRenewal = known.holderIdentity === holder;
    const time = new Date(at).toISOString().replace('Z', '000Z');
    const spec: LeaseSpec = {
      holderIdentity: holder,
      leaseDurationSeconds: Math.max(1, Math.round(durationMs / 1000)),
      acquireTime: (isRenewal && known.acquireTime) || time,
      renewTime: time,
      leaseTransitions: (known.leaseTransitions ?? 0) + (isRenewal || !before ? 0 : 1),
    };
    if (before) return this.#put({ ...before, spec });
    const body: Lease = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace }, spec };
    return refusedIsUndefined(client.send<Lease>({ method: 'POST', body }, this.#collection));
  }

  #put(lease: Lease): Promise<Lease | undefined> {
    return refusedIsUndefined(this.#options.client.send<Lease>({ method: 'PUT', body: lease }, this.#path));
  }
}

async function refusedIsUndefined<T>(sent: Promise<T>): Promise<T | undefined> {
  try {
    return await sent;
  } catch (error) {
    if (isStatus(error, CONFLICT)) return undefined;
    throw error;
  }
}
