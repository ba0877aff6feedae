/**
 * Tables whose world is the API server: objects we own, and claims of numeric identities.
 *
 * - An op is one write; a lost connection or a busy server is a retryable failure, never a crash.
 * - What belongs to a pod of the same name that is another one, on another node, is not ours: a node that is late leaves it alone.
 * - Identity numbers are random, so that nodes that allocate at once seldom collide; AlreadyExists picks another, and after some of
 *   these all that are taken are listed.
 */
import { collectionPath, type KubeClient, KubeError } from '../../cluster/client.ts';
import type { Driver, Op, OpError, OpResult } from '../../datapath/driver.ts';
import { EXHAUSTED } from '../../machines/identity.ts';
import type { IdentityClaimRow, KubeObjectRow, KubeStatusRow } from '../../state/tables.ts';

const CONFLICT = 409;
const NOT_FOUND = 404;
const AS_AGENT = { fieldManager: 'axoneme-agent' };

export interface IdentityRange {
  first: number;
  last: number;
}
/** reference/identities-and-labels.md, section 1: cluster id 0. */
const clusterRange: IdentityRange = { first: 256, last: 65_535 };
const RANDOM_ATTEMPTS = 8;
const CLAIM_ATTEMPTS = 16;
const PAGE = '2000';
const LIST_TIMEOUT_MS = 30_000;
const READ_TIMEOUT_MS = 10_000;
const DELETE_ATTEMPTS = 4;
const IDENTITIES = collectionPath('cilium.io/v2', 'ciliumidentities');

const statusOf = (error: unknown): number => (error instanceof KubeError ? error.status : 0);

/** Client errors are final, but for conflict, time-out and too many requests. */
function failure(op: Op, error: unknown): OpError {
  const status = statusOf(error);
  const errno = error instanceof Exhausted ? EXHAUSTED : status ? String(status) : 'ECONNECTION';
  const final = status >= 400 && status < 500 && ![CONFLICT, 408, 429].includes(status);
  const text = error instanceof Error ? error.message.split('\n')[0] : String(error);
  return {
    kind: 'kube',
    errno,
    message: `${op.action} ${op.table} ${op.key}: ${text}`,
    retryable: !final,
  };
}

function each(ops: readonly Op[], work: (op: Op) => Promise<void>): Promise<OpResult[]> {
  return Promise.all(
    ops.map((op) =>
      work(op).then(
        () => undefined,
        (error: unknown) => failure(op, error),
      ),
    ),
  );
}

export class KubeObjectsDriver implements Driver {
  readonly tables = ['kube.objects'] as const;
  readonly lane = 'kube';
  readonly #client: KubeClient;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    return each(ops, (op) => (op.action === 'put' ? this.#put(op) : this.#delete(op)));
  }

  async #put({ key, value }: Op): Promise<void> {
    const row = value as KubeObjectRow;
    const path = pathOf(key, row);
    try {
      await this.#client.send({ method: 'POST', body: row }, path.collection, AS_AGENT);
    } catch (error) {
      if (statusOf(error) !== CONFLICT) throw error;
      const there = await this.#read(path.object);
      if (there && isOfAnother(there, row) && !(await this.#isOwnerThere(row))) return;
      const contentType = 'application/merge-patch+json';
      await this.#client.send({ method: 'PATCH', body: row, contentType }, path.object, AS_AGENT);
    }
  }

  async #delete({ key, before }: Op): Promise<void> {
    const row = before as KubeObjectRow;
    const path = pathOf(key, row).object;
    for (let attempt = 1; ; attempt++) {
      const there = ownerOf(row) === undefined ? undefined : await this.#read(path);
      if (there && isOfAnother(there, row)) return;
      // What somebody changes after it was read is read again.
      const { uid, resourceVersion } = there?.metadata ?? {};
      const body = there && { apiVersion: 'v1', kind: 'DeleteOptions', preconditions: { uid, resourceVersion } };
      try {
        await this.#client.send({ method: 'DELETE', ...(body && { body }) }, path);
        return;
      } catch (error) {
        if (statusOf(error) === NOT_FOUND) return;
        if (statusOf(error) !== CONFLICT || attempt === DELETE_ATTEMPTS) throw error;
      }
    }
  }

  async #read(path: string): Promise<Owned | undefined> {
    try {
      return await this.#client.get<Owned>(path, {}, AbortSignal.timeout(READ_TIMEOUT_MS));
    } catch (error) {
      if (statusOf(error) === NOT_FOUND) return undefined;
      throw error;
    }
  }

  /** Is the pod that this row is of still the one of its name? */
  async #isOwnerThere(row: KubeObjectRow): Promise<boolean> {
    const { namespace } = row.metadata;
    const path = `${collectionPath('v1', 'pods', namespace)}/${encodeURIComponent(ownerOf(row)?.name ?? '')}`;
    return (await this.#read(path))?.metadata.uid === ownerOf(row)?.uid;
  }
}

/** As the API server has it. */
interface Owned {
  metadata: { uid?: string; resourceVersion?: string; ownerReferences?: { kind: string; name: string; uid: string }[] };
}

const ownerOf = ({ metadata }: Pick<KubeObjectRow, 'metadata'> | Owned) =>
  (metadata as Owned['metadata']).ownerReferences?.find(({ kind }) => kind === 'Pod');

const isOfAnother = (there: Owned, row: KubeObjectRow): boolean => {
  const [theirs, ours] = [ownerOf(there)?.uid, ownerOf(row)?.uid];
  return theirs !== undefined && ours !== undefined && theirs !== ours;
};

/** `key` is `resource/[namespace/]name`. */
function pathOf(key: string, { apiVersion, metadata }: KubeObjectRow): { collection: string; object: string } {
  const collection = collectionPath(apiVersion, key.slice(0, key.indexOf('/')), metadata.namespace);
  return { collection, object: `${collection}/${encodeURIComponent(metadata.name)}` };
}

/** Status of objects that others own: what is there no more needs none, and what was said last stays. */
export class KubeStatusDriver implements Driver {
  readonly tables = ['kube.status'] as const;
  readonly lane = 'kube';
  readonly #client: KubeClient;

  constructor(client: KubeClient) {
    this.#client = client;
  }

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    return each(ops, async ({ action, key, value }) => {
      if (action === 'delete') return;
      const { status, ...row } = value as KubeStatusRow;
      // Conditions of Kubernetes' own objects have other writers too, and are merged by type.
      const kind = row.apiVersion === 'v1' ? 'strategic-merge' : 'merge';
      const contentType = `application/${kind}-patch+json` as const;
      try {
        await this.#client.send(
          { method: 'PATCH', body: { status }, contentType },
          `${pathOf(key, row).object}/status`,
          AS_AGENT,
        );
      } catch (error) {
        if (statusOf(error) !== NOT_FOUND) throw error;
      }
    });
  }
}

export class IdentityClaimsDriver implements Driver {
  readonly tables = ['identity.claims'] as const;
  readonly lane = 'kube';
  readonly #client: KubeClient;
  readonly #random: () => number;

  readonly #first: number;
  readonly #count: number;

  /** `random` is in [0, 1). */
  constructor(client: KubeClient, random: () => number, { first, last } = clusterRange) {
    this.#client = client;
    this.#random = random;
    this.#first = first;
    this.#count = last + 1 - first;
  }

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    return each(ops, async (op) => {
      if (op.action === 'put') await this.#claim(op.value as IdentityClaimRow);
    });
  }

  async #claim({ labels, namespace }: IdentityClaimRow): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const number = attempt <= RANDOM_ATTEMPTS ? this.#anyNumber() : await this.#freeNumber();
      const object = {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumIdentity',
        metadata: {
          name: String(number),
          ...(namespace && { labels: { 'io.kubernetes.pod.namespace': namespace } }),
        },
        'security-labels': labels,
      };
      try {
        await this.#client.send({ method: 'POST', body: object }, IDENTITIES, AS_AGENT);
        return;
      } catch (error) {
        if (statusOf(error) !== CONFLICT || attempt === CLAIM_ATTEMPTS) throw error;
      }
    }
  }

  #anyNumber(): number {
    return this.#first + Math.floor(this.#random() * this.#count);
  }

  /** The first free one after any. */
  async #freeNumber(): Promise<number> {
    const taken = new Set<string>();
    for (let token = ''; ; ) {
      const query = { limit: PAGE, ...(token && { continue: token }) };
      const page = await this.#client.get<IdentityList>(IDENTITIES, query, AbortSignal.timeout(LIST_TIMEOUT_MS));
      for (const { metadata } of page.items ?? []) taken.add(metadata.name);
      token = page.metadata.continue ?? '';
      if (!token) break;
    }
    const start = this.#anyNumber() - this.#first;
    for (let i = 0; i < this.#count; i++) {
      const number = this.#first + ((start + i) % this.#count);
      if (!taken.has(String(number))) return number;
    }
    throw new Exhausted(`all ${this.#count} numbers of identities are taken by CiliumIdentity objects of this cluster`);
  }
}

/** There is no number left. */
class Exhausted extends Error {}

interface IdentityList {
  metadata: { continue?: string };
  items?: { metadata: { name: string } }[];
}
