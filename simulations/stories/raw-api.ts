/** Objects as they are written, over kept connections: the client library knows fields by names of its own, and leaves out others. */
import { Agent, request } from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import type { KubeObject } from '../../cluster/events.ts';
import type { EmbeddedCluster } from './embedded.ts';

const plurals: Readonly<Record<string, string>> = {
  Service: 'services',
  EndpointSlice: 'endpointslices',
  Event: 'events',
  NetworkPolicy: 'networkpolicies',
  Pod: 'pods',
};
const CONNECTIONS = 8;

export class RawApi {
  readonly #config = new KubeConfig();
  readonly #connections = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  #options: Record<string, unknown> | undefined;

  constructor(cluster: EmbeddedCluster) {
    this.#config.loadFromFile(cluster.ready.kubeconfig);
  }

  close(): void {
    this.#connections.destroy();
  }

  create(object: KubeObject): Promise<KubeObject> {
    return this.#call('POST', object);
  }
  /** Whatever is there. */
  replace(object: KubeObject): Promise<KubeObject> {
    return this.#call('PUT', object);
  }
  remove(object: KubeObject): Promise<KubeObject> {
    return this.#call('DELETE', object);
  }

  async #call(method: 'POST' | 'PUT' | 'DELETE', object: KubeObject): Promise<KubeObject> {
    const { apiVersion, kind, metadata } = object;
    const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
    const own = method === 'POST' ? '' : `/${metadata.name}`;
    const path = `${root}/namespaces/${metadata.namespace}/${plurals[kind]}${own}`;
    if (!this.#options) {
      const options: Record<string, unknown> = {};
      await this.#config.applyToHTTPSOptions(options);
      const headers = { ...(options.headers as object), 'content-type': 'application/json' };
      this.#options = { ...options, headers, agent: this.#connections };
    }
    const text = await this.#ask(method, path, method === 'DELETE' ? undefined : JSON.stringify(object));
    return JSON.parse(text) as KubeObject;
  }

  #ask(method: string, path: string, body: string | undefined): Promise<string> {
    return new Promise((done, fail) => {
      const url = `${this.#config.getCurrentCluster()?.server}${path}`;
      const call = request(url, { ...this.#options, method }, (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          text += chunk;
        });
        response.on('end', () => {
          if ((response.statusCode ?? 500) < 300) done(text);
          else fail(new Error(`${method} ${path}: ${text.slice(0, 1000)}`));
        });
      });
      call.on('error', fail);
      call.end(body);
    });
  }
}
