/**
 * Says in the status of each CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy on which nodes it is in force.
 *
 * - One process says it of all nodes: if each node said it of itself, that would be news to all others, the square of their number.
 * - What has changed is looked at once in an interval, and only what differs from the object is written.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import type { Subscription } from 'rxjs';
import { collectionPath, type KubeClient, KubeError } from '../../cluster/client.ts';
import { type KubeObject, objectKey } from '../../cluster/events.ts';
import { watchResource } from '../../cluster/watch.ts';
import { parsePolicy } from '../../policy/parse.ts';
import type { Policy } from '../../policy/rule.ts';
import { canonical } from '../../state/tables.ts';
import { endpointsOf, hostsOf, nodesOf, type OfNode } from './in-force.ts';

const CILIUM = 'cilium.io/v2';
const policyResources = ['ciliumnetworkpolicies', 'ciliumclusterwidenetworkpolicies'] as const;
type PolicyResource = (typeof policyResources)[number];
const paths = {
  nodes: collectionPath('v1', 'nodes'),
  ciliumnodes: collectionPath(CILIUM, 'ciliumnodes'),
  ciliumendpoints: collectionPath(CILIUM, 'ciliumendpoints'),
  ciliumnetworkpolicies: collectionPath(CILIUM, 'ciliumnetworkpolicies'),
  ciliumclusterwidenetworkpolicies: collectionPath(CILIUM, 'ciliumclusterwidenetworkpolicies'),
} as const;
type Resource = keyof typeof paths;

interface Said {
  nodes?: Record<string, OfNode>;
}

export class PolicyNodes {
  readonly #client: KubeClient;
  readonly #objects: Record<Resource, Map<string, KubeObject>> = {
    nodes: new Map(),
    ciliumnodes: new Map(),
    ciliumendpoints: new Map(),
    ciliumnetworkpolicies: new Map(),
    ciliumclusterwidenetworkpolicies: new Map(),
  };
  /** Of each policy object; undefined: nothing of it is valid. */
  readonly #policies = new Map<string, Policy | undefined>();
  readonly #synced = new Set<Resource>();
  readonly #watches: Subscription[];
  #isChanged = true;

  constructor(kubeConfig: KubeConfig, client: KubeClient) {
    this.#client = client;
    this.#watches = (Object.keys(paths) as Resource[]).map((resource) =>
      watchResource(kubeConfig, { path: paths[resource], ...(resource === 'ciliumendpoints' && { slim }) }).subscribe(
        (event) => {
          if (event.type === 'synced') this.#synced.add(resource);
          else this.#hear(resource, event.object, event.type === 'delete');
          this.#isChanged = true;
        },
      ),
    );
  }

  stop(): void {
    for (const watch of this.#watches) watch.unsubscribe();
  }

  #hear(resource: Resource, object: KubeObject, gone: boolean): void {
    const key = objectKey(object);
    if (gone) {
      this.#objects[resource].delete(key);
      this.#policies.delete(`${resource}/${key}`);
      return;
    }
    this.#objects[resource].set(key, object);
    if (isPolicy(resource)) this.#policies.set(`${resource}/${key}`, parsePolicy(object).policy);
  }

  /** Writes what differs, while `isOurs`. */
  async tell(isOurs: () => boolean): Promise<void> {
    if (!this.#isChanged || this.#synced.size < Object.keys(paths).length) return;
    this.#isChanged = false;
    const nodes = [...this.#objects.nodes.values()];
    const names = new Map(nodes.flatMap(addressesOf));
    const hosts = hostsOf(nodes, this.#objects.ciliumnodes);
    const endpoints = endpointsOf([...this.#objects.ciliumendpoints.values()], names);
    try {
      for (const resource of policyResources)
        for (const [key, object] of this.#objects[resource]) {
          if (!isOurs()) return;
          const policy = this.#policies.get(`${resource}/${key}`);
          await this.#write(resource, object, policy ? nodesOf(policy, endpoints, hosts) : {});
        }
    } catch (error) {
      this.#isChanged = true;
      throw error;
    }
  }

  async #write(resource: PolicyResource, object: KubeObject, now: Record<string, OfNode>): Promise<void> {
    const { nodes: before = {} } = (object.status ?? {}) as Said;
    if (canonical(before) === canonical(now)) return;
    const left = Object.keys(before).filter((name) => now[name] === undefined);
    // A merge patch keeps what it does not name: fields too.
    const said = Object.entries(now).map(([name, one]) => [name, { ...one, error: one.error ?? null }] as const);
    const nodes = { ...Object.fromEntries(said), ...Object.fromEntries(left.map((name) => [name, null])) };
    const { namespace, name } = object.metadata;
    const path = `${collectionPath(CILIUM, resource, namespace)}/${encodeURIComponent(name)}/status`;
    try {
      const contentType = 'application/merge-patch+json';
      await this.#client.send({ method: 'PATCH', body: { status: { nodes } }, contentType }, path);
    } catch (error) {
      if (!(error instanceof KubeError && error.status === 404)) throw error;
    }
  }
}

const isPolicy = (resource: Resource): resource is PolicyResource =>
  policyResources.some((policy) => policy === resource);

function addressesOf({ metadata, status }: KubeObject): [address: string, name: string][] {
  const { addresses = [] } = (status ?? {}) as { addresses?: { address: string }[] };
  return addresses.map(({ address }) => [address, metadata.name]);
}

/** What is asked of an endpoint. */
function slim({ apiVersion, kind, metadata, status }: KubeObject): KubeObject {
  const { identity, networking, policy, state } = (status ?? {}) as Record<string, unknown>;
  const { name, namespace, uid, resourceVersion } = metadata as KubeObject['metadata'] & Record<string, string>;
  const { node } = (networking ?? {}) as { node?: unknown };
  return {
    apiVersion,
    kind,
    metadata: { name, namespace, uid, resourceVersion } as KubeObject['metadata'],
    status: { identity, networking: { node }, policy, state },
  };
}
