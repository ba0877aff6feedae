/**
 * What the agent does for the container runtime: each request becomes an event, each answer is a row.
 *
 * - The endpoint id is chosen here, at the edge, and enters the log with the event.
 */
import { randomUUID } from 'node:crypto';
import {
  type CniAddRequest,
  type CniAttachment,
  type CniHandlers,
  type CniReply,
  cniCodes,
  cniError,
} from '../../cluster/cni-types.ts';
import { CNI_EXISTS, type EndpointContext, isHealth } from '../../machines/endpoint-context.ts';
import { nodeKey } from '../../machines/node.ts';
import type { CniRepliesDriver } from '../../reconcilers/drivers/cni-replies.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { Loop } from '../../reconcilers/loop.ts';
import type { Store } from '../../state/store.ts';
import type { TableName } from '../../state/tables.ts';

export interface CniParts {
  engine: Engine;
  loop: Loop;
  store: Store;
  replies: CniRepliesDriver;
  /** What is really there of a table. */
  kernelRows(table: TableName): Promise<ReadonlyMap<string, unknown>>;
}

const nameOf = ({ containerId, ifname }: CniAttachment): string => `${containerId}/${ifname}`;

/** Tables whose rows a CHECK looks up in the kernel. */
const CHECKED: readonly TableName[] = ['links', 'addrs', 'routes', 'attachments', 'bpf.endpoints'];

export function cniHandlers({ engine, loop, store, replies, kernelRows }: CniParts): CniHandlers {
  async function add(request: CniAddRequest): Promise<CniReply> {
    const endpointId = store.allocateEndpointId(nameOf(request));
    if (endpointId === undefined) {
      return cniError(cniCodes.tryAgainLater, 'all 65535 endpoint ids of this node are taken', nameOf(request));
    }
    const requestId = randomUUID();
    const reply = replies.wait(requestId);
    const { containerId, ifname, netns, podNamespace, podName, podUid } = request;
    loop.push('cni', {
      type: 'cni.add',
      requestId,
      containerId,
      ifname,
      netns,
      podNamespace,
      podName,
      podUid,
      endpointId,
    });
    const answer = await reply;
    if (answer.error && answer.error.code !== CNI_EXISTS) store.releaseEndpointId(nameOf(request));
    return answer;
  }

  async function del({ containerId, ifname }: CniAttachment): Promise<CniReply> {
    const requestId = randomUUID();
    const reply = replies.wait(requestId);
    loop.push('cni', { type: 'cni.del', requestId, containerId, ifname });
    const answer = await reply;
    store.releaseEndpointId(nameOf({ containerId, ifname }));
    return answer;
  }

  return {
    add,
    del,
    async check({ containerId, ifname, netns, addresses }) {
      const machine = engine.machine(`endpoint/${containerId}/${ifname}`);
      if (!machine) {
        return cniError(cniCodes.unknownContainer, `container ${containerId} has no endpoint`, `interface ${ifname}`);
      }
      const context = machine.context as EndpointContext;
      const have = [context.ipv4 && `${context.ipv4}/32`, context.ipv6 && `${context.ipv6}/128`].filter(Boolean);
      const strange = addresses.filter((address) => !have.includes(address));
      if (strange.length > 0) {
        return cniError(
          cniCodes.io,
          `address ${strange.join(', ')} of prevResult is not the endpoint's`,
          `it has ${have.join(', ')}`,
        );
      }
      if (netns && netns !== context.netns) {
        return cniError(cniCodes.io, `netns ${netns} is not the endpoint's`, `it was added in ${context.netns}`);
      }
      const missing: string[] = [];
      for (const table of CHECKED) {
        const there = await kernelRows(table);
        const wanted = machine.rows.filter((row) => row.table === table);
        missing.push(...wanted.filter((row) => !there.has(row.key)).map((row) => `${table} ${row.key}`));
      }
      if (missing.length > 0)
        return cniError(cniCodes.io, `missing: ${missing.join(', ')}`, 'repaired at the next resync');
      return {};
    },
    async gc({ validAttachments }) {
      const valid = new Set(validAttachments.map(nameOf));
      const stale = engine
        .machines()
        .filter(({ kind }) => kind === 'endpoint')
        .map(({ context }) => context as EndpointContext)
        .filter((context) => !valid.has(nameOf(context)) && !isHealth(context));
      await Promise.all(stale.map(del));
      return {};
    },
    status() {
      const state = engine.machine(nodeKey)?.state ?? 'unborn';
      return state === 'ready' ? { ready: true, reason: '' } : { ready: false, reason: `node is ${state}` };
    },
  };
}
