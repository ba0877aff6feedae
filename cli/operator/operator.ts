/**
 * Duties of the whole cluster, done by one process at a time: identities that nobody uses are collected, and policies say where they
 * are in force.
 *
 * - Only the holder of the lease acts, and only while it is sure to hold it; each write names the version that it judged.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { collectionPath, KubeClient, KubeError } from '../../cluster/client.ts';
import type { KubeObject } from '../../cluster/events.ts';
import { sweepIdentities, UNUSED_SINCE, usedIdentities } from '../../cluster/identity-sweep.ts';
import { LeaderLease } from '../../cluster/lease.ts';
import type { IdentitySweep } from '../../observe/metrics/operator-metrics.ts';
import { PolicyNodes } from './policy-nodes.ts';

export interface OperatorOptions {
  kubeConfig: KubeConfig;
  /** Of this process, among operators. */
  holder: string;
  namespace: string;
  leaseMs: number;
  sweepIntervalMs: number;
  /** Between two looks at where policies are in force. */
  policyIntervalMs: number;
  graceMs: number;
  log(line: string): void;
  /** After each time that identities were collected, or could not be. */
  onSweep?(sweep: IdentitySweep): void;
}

export interface Operator {
  /** Whether it leads now. */
  readonly isLeader: boolean;
  stop(): Promise<void>;
}

const LEASE = 'axoneme-operator';
/** Of the lease's duration. */
const RENEWALS = 3;
const PAGE = '500';
const REQUEST_TIMEOUT_MS = 30_000;
const MERGE = 'application/merge-patch+json';
const IDENTITIES = collectionPath('cilium.io/v2', 'ciliumidentities');
/** Those who name identities. */
const ENDPOINTS = collectionPath('cilium.io/v2', 'ciliumendpoints');
const ENDPOINT_SLICES = collectionPath('cilium.io/v2alpha1', 'ciliumendpointslices');

export function startOperator(options: OperatorOptions): Operator {
  const { kubeConfig, holder, namespace, leaseMs, sweepIntervalMs, policyIntervalMs, graceMs, log } = options;
  const client = new KubeClient(kubeConfig);
  const lease = new LeaderLease({ client, namespace, name: LEASE, holder, durationMs: leaseMs, nowMs: Date.now });
  let isLeader = false;
  let sweepDueMs = 0;
  let isStopped = false;
  let timer: NodeJS.Timeout | undefined;
  let policyNodes: PolicyNodes | undefined;
  const isOurs = (): boolean => lease.heldUntilMs > Date.now();
  const trouble = (what: string, error: unknown): void =>
    log(`operator: ${what}: ${error instanceof Error ? error.message : String(error)}`);

  const turn = async (): Promise<void> => {
    const was = isLeader;
    try {
      isLeader = await lease.hold();
    } catch (error) {
      isLeader = isOurs();
      trouble('the lease could not be renewed', error);
    }
    if (isLeader !== was) log(`operator: ${holder} ${isLeader ? 'leads' : 'leads no longer'}`);
    if (!isLeader) {
      policyNodes?.stop();
      policyNodes = undefined;
      return;
    }
    policyNodes ??= new PolicyNodes(kubeConfig, client);
    if (Date.now() < sweepDueMs) return;
    sweepDueMs = Date.now() + sweepIntervalMs;
    const sinceMs = performance.now();
    const tell = (outcome: IdentitySweep['outcome'], alive = 0, deleted = 0): void =>
      options.onSweep?.({ outcome, tookMs: performance.now() - sinceMs, alive, deleted });
    try {
      const { alive, deleted } = await collect({ client, graceMs, log, isOurs });
      tell('success', alive, deleted);
    } catch (error) {
      tell('fail');
      trouble('identities could not be collected', error);
    }
  };
  const period = Math.max(1, Math.min(leaseMs / RENEWALS, sweepIntervalMs));
  let current: Promise<void> = Promise.resolve();
  const again = (): void => {
    if (isStopped) return;
    current = turn().finally(() => {
      if (!isStopped) timer = setTimeout(again, period);
    });
  };
  again();
  let tellTimer: NodeJS.Timeout | undefined;
  let telling: Promise<void> = Promise.resolve();
  const tellAgain = (): void => {
    if (isStopped) return;
    const told = policyNodes?.tell(isOurs) ?? Promise.resolve();
    telling = told.catch((error: unknown) => trouble('status of policies could not be written', error));
    void telling.finally(() => {
      if (!isStopped) tellTimer = setTimeout(tellAgain, policyIntervalMs);
    });
  };
  tellAgain();
  return {
    get isLeader() {
      return isLeader;
    },
    async stop() {
      isStopped = true;
      clearTimeout(timer);
      clearTimeout(tellTimer);
      await Promise.all([current, telling]);
      policyNodes?.stop();
      await lease.release().catch((error: unknown) => trouble('the lease could not be given back', error));
      client.disconnect();
    },
  };
}

interface Collecting {
  client: KubeClient;
  graceMs: number;
  log(line: string): void;
  /** The lease is ours still. */
  isOurs(): boolean;
}

/** Users are listed after identities: whoever took one up meanwhile is seen. */
async function collect({ client, graceMs, log, isOurs }: Collecting): Promise<{ alive: number; deleted: number }> {
  const identities = await listed(client, IDENTITIES);
  const users = [
    ...(await listed(client, ENDPOINTS)),
    ...(await listed(client, ENDPOINT_SLICES).catch(unknownIsEmpty)),
  ];
  const now = Date.now();
  const { mark, unmark, remove } = sweepIdentities(identities, usedIdentities(users), now, graceMs);
  const annotated = (since: string | null) => (identity: KubeObject) =>
    client.send(
      {
        method: 'PATCH',
        contentType: MERGE,
        body: { metadata: { ...versionOf(identity), annotations: { [UNUSED_SINCE]: since } } },
      },
      pathOf(identity),
    );
  const gone = (identity: KubeObject) =>
    client.send({ method: 'DELETE', body: { preconditions: versionOf(identity) } }, pathOf(identity));
  const works: [readonly KubeObject[], (identity: KubeObject) => Promise<unknown>, string][] = [
    [mark, annotated(new Date(now).toISOString()), 'found unused'],
    [unmark, annotated(null), 'used again'],
    [remove, gone, 'removed'],
  ];
  let deleted = 0;
  for (const [some, work, done] of works) {
    let count = 0;
    for (const identity of some) {
      if (!isOurs()) break;
      if (await unlessChanged(work(identity))) count++;
    }
    if (some === remove) deleted = count;
    if (count > 0) log(`operator: ${count} ${count === 1 ? 'identity' : 'identities'} ${done}`);
  }
  return { alive: identities.length - deleted, deleted };
}

const pathOf = ({ metadata }: KubeObject): string => `${IDENTITIES}/${encodeURIComponent(metadata.name)}`;

function versionOf({ metadata }: KubeObject): { uid?: string; resourceVersion?: string } {
  const { uid, resourceVersion } = metadata as { uid?: string; resourceVersion?: string };
  return { ...(uid && { uid }), ...(resourceVersion && { resourceVersion }) };
}

/** What somebody else changed or removed meanwhile is looked at the next time. */
async function unlessChanged(work: Promise<unknown>): Promise<boolean> {
  try {
    await work;
    return true;
  } catch (error) {
    if (error instanceof KubeError && (error.status === 404 || error.status === 409)) return false;
    throw error;
  }
}

interface KubeList {
  metadata: { continue?: string };
  items?: KubeObject[];
}

/** Of a resource that the server need not know. */
function unknownIsEmpty(error: unknown): KubeObject[] {
  if (error instanceof KubeError && error.status === 404) return [];
  throw error;
}

async function listed(client: KubeClient, path: string): Promise<KubeObject[]> {
  const found: KubeObject[] = [];
  for (let token = ''; ; ) {
    const query = { limit: PAGE, ...(token && { continue: token }) };
    const page = await client.get<KubeList>(path, query, AbortSignal.timeout(REQUEST_TIMEOUT_MS));
    found.push(...(page.items ?? []));
    token = page.metadata.continue ?? '';
    if (!token) return found;
  }
}
