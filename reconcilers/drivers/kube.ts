/**
 * Tables whose world is the API server: objects we own, and claims of numeric identities.
 *
 * - An op is one write; a lost connection or a busy server is a retryable failure, never a crash.
 * - Identity numbers are random, so that nodes that allocate at once seldom collide; AlreadyExists picks another.
 */
import { ApiException, type KubernetesObject, type KubernetesObjectApi, PatchStrategy } from '@kubernetes/client-node';
import type { Driver, Op, OpError, OpResult } from '../../datapath/driver.ts';
import type { IdentityClaimRow, KubeObjectRow } from '../../state/tables.ts';

const CONFLICT = 409;
const NOT_FOUND = 404;
const FIELD_MANAGER = 'axoneme-agent';

/** reference/identities-and-labels.md, section 1: cluster id 0. */
const IDENTITY_MIN = 256;
const IDENTITY_MAX = 65_535;
const CLAIM_ATTEMPTS = 16;

const statusOf = (error: unknown): number => (error instanceof ApiException ? error.code : 0);

/** Client errors are final, but for conflict, time-out and too many requests. */
function failure(op: Op, error: unknown): OpError {
  const status = statusOf(error);
  const final = status >= 400 && status < 500 && ![CONFLICT, 408, 429].includes(status);
  const cause = error instanceof Error && error.cause instanceof Error ? `: ${error.cause.message}` : '';
  const text = error instanceof Error ? `${error.message.split('\n')[0]}${cause}` : String(error);
  return {
    kind: 'kube',
    errno: status ? String(status) : 'ECONNECTION',
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
  readonly #api: KubernetesObjectApi;

  constructor(api: KubernetesObjectApi) {
    this.#api = api;
  }

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    return each(ops, (op) => (op.action === 'put' ? this.#put(op.value as KubeObjectRow) : this.#delete(op)));
  }

  async #put(row: KubeObjectRow): Promise<void> {
    const object = row as KubernetesObject;
    try {
      await this.#api.create(object, undefined, undefined, FIELD_MANAGER);
    } catch (error) {
      if (statusOf(error) !== CONFLICT) throw error;
      await this.#api.patch(object, undefined, undefined, FIELD_MANAGER, undefined, PatchStrategy.MergePatch);
    }
  }

  async #delete({ before }: Op): Promise<void> {
    const { apiVersion, kind, metadata } = before as KubeObjectRow;
    const { name, namespace } = metadata;
    try {
      await this.#api.delete({ apiVersion, kind, metadata: { name, ...(namespace && { namespace }) } });
    } catch (error) {
      if (statusOf(error) !== NOT_FOUND) throw error;
    }
  }
}

export class IdentityClaimsDriver implements Driver {
  readonly tables = ['identity.claims'] as const;
  readonly lane = 'kube';
  readonly #api: KubernetesObjectApi;
  readonly #random: () => number;

  /** `random` is in [0, 1). */
  constructor(api: KubernetesObjectApi, random: () => number) {
    this.#api = api;
    this.#random = random;
  }

  apply(ops: readonly Op[]): Promise<OpResult[]> {
    return each(ops, async (op) => {
      if (op.action === 'put') await this.#claim(op.value as IdentityClaimRow);
    });
  }

  async #claim({ labels, namespace }: IdentityClaimRow): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const number = IDENTITY_MIN + Math.floor(this.#random() * (IDENTITY_MAX + 1 - IDENTITY_MIN));
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
        await this.#api.create(object, undefined, undefined, FIELD_MANAGER);
        return;
      } catch (error) {
        if (statusOf(error) !== CONFLICT || attempt === CLAIM_ATTEMPTS) throw error;
      }
    }
  }
}
