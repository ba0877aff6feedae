/**
 * The node's health endpoint: a network namespace of its own, wired as a pod's, that answers other nodes by ICMP and HTTP.
 *
 * - It is added as pods are, by a CNI request of the agent to itself, and survives the agent as they do.
 * - What is missing of it (a namespace after a reboot, an address while the pool is empty) is tried again until it is there.
 */
import type { CniAddRequest, CniAttachment, CniReply } from '../../cluster/cni-types.ts';
import { HEALTH_CONTAINER } from '../../machines/endpoint-context.ts';
import { createNetns, deleteNetns, isErrno, netnsId } from '../../native/index.ts';
import type { LocalEndpointRow } from '../../state/tables.ts';
import type { HealthConfig } from '../network-config.ts';
import { type Responder, respondTo } from './health-responder.ts';

interface Parts {
  health: HealthConfig;
  cni: { add(request: CniAddRequest): Promise<CniReply>; del(attachment: CniAttachment): Promise<CniReply> };
  /** Endpoints of the life before this one. */
  restored: readonly LocalEndpointRow[];
  log(line: string): void;
}

const ATTACHMENT: CniAttachment = { containerId: HEALTH_CONTAINER, ifname: 'eth0' };
const RETRY_MS = 2_000;

export function healthEndpoint({ health, cni, restored, log }: Parts): { close(): Promise<void> } {
  const { netns, port, enabled } = health;
  const known = restored.find(({ containerId }) => containerId === HEALTH_CONTAINER);
  let responder: Responder | undefined;
  let retry: NodeJS.Timeout | undefined;
  let isClosed = false;
  let said = '';
  let isWired = known !== undefined && known.netns === netns && isThere(netns);

  async function wire(): Promise<void> {
    await cni.del(ATTACHMENT);
    deleteNetns(netns);
    createNetns(netns, { loopbackUp: true });
    const { error } = await cni.add({ ...ATTACHMENT, netns, podNamespace: '', podName: '', podUid: '' });
    if (error) throw new Error([error.msg, error.details].filter(Boolean).join(': '));
    isWired = true;
  }

  async function work(): Promise<void> {
    try {
      if (!isWired) await wire();
      const made = await respondTo(port, netns);
      if (isClosed) await made.close();
      else responder = made;
    } catch (error) {
      const line = `health endpoint: ${String(error)}, trying again`;
      if (line !== said && !isClosed) log(line);
      said = line;
      if (!isClosed) retry = setTimeout(() => void work(), RETRY_MS);
    }
  }

  if (enabled && netns !== '') void work();
  else if (known) void cni.del(ATTACHMENT).then(() => deleteNetns(known.netns));

  return {
    async close() {
      isClosed = true;
      clearTimeout(retry);
      await responder?.close();
    },
  };
}

function isThere(netns: string): boolean {
  try {
    // What is left of a mount is a file of the directory's own device, and no namespace.
    return netnsId(netns).dev === netnsId().dev;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return false;
    throw error;
  }
}
