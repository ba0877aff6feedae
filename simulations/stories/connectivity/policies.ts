/** Puts the policies of one case in force in a town and waits until the agent says that they are. */
import { Agent, request } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../../cluster/events.ts';
import type { PolicyNodeView } from '../../../observe/policy.ts';
import { type EmbeddedCluster, until } from '../embedded.ts';

const SETTLE_TIMEOUT_MS = 15_000;
const plurals: Readonly<Record<string, string>> = {
  NetworkPolicy: 'networkpolicies',
  CiliumNetworkPolicy: 'ciliumnetworkpolicies',
  CiliumClusterwideNetworkPolicy: 'ciliumclusterwidenetworkpolicies',
  CiliumCIDRGroup: 'ciliumcidrgroups',
  Service: 'services',
  EndpointSlice: 'endpointslices',
};

export const read = (yaml: string): KubeObject[] =>
  parseAllDocuments(yaml).flatMap((document) => (document.toJS() as KubeObject | null) ?? []);

const isPolicy = ({ kind }: KubeObject): boolean => kind.endsWith('NetworkPolicy');
const keyOf = ({ kind, metadata }: KubeObject): string => `${kind}/${metadata.namespace ?? ''}/${metadata.name}`;
const sorted = (texts: Iterable<string>): string => [...texts].sort().join(' ');

export class PoliciesInForce {
  readonly #cluster: EmbeddedCluster;
  readonly #settleTimeoutMs: number;
  readonly #config = new KubeConfig();
  readonly #connections = new Agent({ keepAlive: true });
  #now: KubeObject[] = [];
  #round = 0;

  constructor(cluster: EmbeddedCluster, settleTimeoutMs = SETTLE_TIMEOUT_MS) {
    this.#cluster = cluster;
    this.#settleTimeoutMs = settleTimeoutMs;
    this.#config.loadFromFile(cluster.ready.kubeconfig);
  }

  close(): void {
    this.#connections.destroy();
  }

  /** As it is written: the client library knows fields by names of its own, and leaves out what it does not know. */
  async #call(method: 'POST' | 'DELETE', object: KubeObject): Promise<void> {
    const { apiVersion, kind, metadata } = object;
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const place = metadata.namespace ? `/namespaces/${metadata.namespace}` : '';
    const path = `${root}${place}/${plurals[kind]}${method === 'DELETE' ? `/${metadata.name}` : ''}`;
    const options: Record<string, unknown> = { method, agent: this.#connections };
    await this.#config.applyToHTTPSOptions(options);
    const headers = { ...(options.headers as object), 'content-type': 'application/json' };
    const url = `${this.#config.getCurrentCluster()?.server}${path}`;
    await new Promise<void>((done, fail) => {
      const call = request(
        url,
        { ...options, agent: this.#connections, ca: options.ca as string, headers },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('end', () => {
            if ((response.statusCode ?? 500) < 300) done();
            else fail(new Error(`${method} ${path}: ${Buffer.concat(chunks).toString().slice(0, 1000)}`));
          });
        },
      );
      call.on('error', fail);
      call.end(method === 'POST' ? JSON.stringify(object) : undefined);
    });
  }

  /** Instead of those before. Resolves with the objects as they were made: policies get names that no case before had. */
  async replace(yaml: string): Promise<KubeObject[]> {
    const round = ++this.#round;
    const next = read(yaml).map((object) =>
      isPolicy(object)
        ? { ...object, metadata: { ...object.metadata, name: `${object.metadata.name}-${round}` } }
        : object,
    );
    const old = this.#now;
    this.#now = next;
    const hasOthers = [...old, ...next].some((object) => !isPolicy(object));
    const remove = (): Promise<unknown> => Promise.all(old.map((object) => this.#call('DELETE', object)));
    const create = (): Promise<unknown> => Promise.all(next.map((object) => this.#call('POST', object)));
    if (hasOthers) {
      await remove();
      await this.#settled([]);
      await create();
    } else {
      await Promise.all([remove(), create()]);
    }
    await this.#settled(next);
    return next;
  }

  async #settled(objects: readonly KubeObject[]): Promise<void> {
    const policies = sorted(objects.filter(isPolicy).map(keyOf));
    const groups = sorted(
      objects.filter(({ kind }) => kind === 'CiliumCIDRGroup').map(({ metadata }) => metadata.name),
    );
    const services = objects
      .filter(({ kind }) => kind === 'Service')
      .map(({ metadata }) => `${metadata.namespace}/${metadata.name}`);
    const hasSlices = objects.some(({ kind }) => kind === 'EndpointSlice');
    let last: PolicyNodeView | undefined;
    await until(`policies ${policies || 'none'} in force`, this.#settleTimeoutMs, async () => {
      last = await this.#cluster.debug<PolicyNodeView>('/v1/policy');
      if (!last.settled || sorted(last.policies.map(({ key }) => key)) !== policies) return undefined;
      if (sorted(last.groups) !== groups) return undefined;
      const known = last.services;
      const hasServices = services.every((name) => known.some(({ service }) => service === name));
      const hasAddresses = !hasSlices || known.some(({ addresses }) => addresses.length > 0);
      return (hasServices && hasAddresses) || objects.length === 0 ? true : undefined;
    }).catch((error: unknown) => {
      throw new Error(
        `${error instanceof Error ? error.message : error}; the agent has ${JSON.stringify(last)?.slice(0, 2000)}`,
      );
    });
  }
}
