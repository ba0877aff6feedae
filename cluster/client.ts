/**
 * Reading from and writing to an API server with the credentials of a kubeconfig.
 *
 * - Headers are made for each request, so that rotated tokens are used at once.
 * - The connection pool is kept until a connection fails: then certificates are read anew.
 */

import type { Readable } from 'node:stream';
import { HttpMethod, type KubeConfig, RequestContext } from '@kubernetes/client-node';
import { type Dispatcher, request } from 'undici';

/** Why the API server refused, or could not be reached (`status` 0). */
export class KubeError extends Error {
  readonly status: number;
  /** The word for machines: `Expired`, `NotFound`, …; for connections the errno name. */
  readonly reason: string;
  /** The reasons of `details.causes`. */
  readonly causes: readonly string[];

  constructor(status: number, reason: string, message: string, causes: readonly string[] = []) {
    super(message);
    this.name = 'KubeError';
    this.status = status;
    this.reason = reason;
    this.causes = causes;
  }
}

interface Status {
  message?: string;
  reason?: string;
  code?: number;
  details?: { causes?: { reason?: string }[] };
}

/** The Status object of an answer or of an ERROR event as an error. */
export function statusError(status: Status, code = status.code ?? 0): KubeError {
  const causes = (status.details?.causes ?? []).map((cause) => cause.reason ?? '');
  return new KubeError(code, status.reason ?? '', status.message ?? `HTTP ${code}`, causes);
}

export type Query = Readonly<Record<string, string>>;

export interface Write {
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  body?: unknown;
  /** By default JSON; of a PATCH the kind of patch. */
  contentType?: 'application/merge-patch+json' | 'application/strategic-merge-patch+json';
}

const WRITE_TIMEOUT_MS = 30_000;

/** The path of a resource's collection: `/apis/cilium.io/v2/namespaces/default/ciliumendpoints`. */
export function collectionPath(apiVersion: string, resource: string, namespace?: string): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  return `${root}${namespace ? `/namespaces/${encodeURIComponent(namespace)}` : ''}/${resource}`;
}

export class KubeClient {
  readonly #config: KubeConfig;
  #dispatcher: Dispatcher | undefined;

  constructor(config: KubeConfig) {
    this.#config = config;
  }

  /** The body of a good answer, as it comes in. Everything else is a KubeError. */
  async stream(path: string, query: Query, signal: AbortSignal, write?: Write): Promise<Readable> {
    const cluster = this.#config.getCurrentCluster();
    if (!cluster) throw new KubeError(0, 'NoCluster', 'the kubeconfig has no current cluster');
    const url = new URL(cluster.server + path);
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
    const context = new RequestContext(url.toString(), HttpMethod.GET);
    context.setHeaderParam('Accept', 'application/json');
    if (write?.body) context.setHeaderParam('Content-Type', write.contentType ?? 'application/json');
    await this.#config.applySecurityAuthentication(context);
    this.#dispatcher ??= context.getDispatcher() as Dispatcher | undefined;
    const dispatcher = this.#dispatcher;
    try {
      const answer = await request(url, {
        method: write?.method ?? 'GET',
        headers: context.getHeaders(),
        signal,
        // A watch is silent for long; who waits for it decides how long.
        bodyTimeout: 0,
        ...(write?.body ? { body: JSON.stringify(write.body) } : {}),
        ...(dispatcher ? { dispatcher } : {}),
      });
      if (answer.statusCode >= 200 && answer.statusCode < 300) return answer.body;
      throw answerError(answer.statusCode, await answer.body.text());
    } catch (error) {
      if (error instanceof KubeError) throw error;
      this.disconnect();
      throw connectionError(error);
    }
  }

  /** A whole JSON answer. */
  async get<T>(path: string, query: Query, signal: AbortSignal, write?: Write): Promise<T> {
    const body = await this.stream(path, query, signal, write);
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) chunks.push(chunk);
      return JSON.parse(Buffer.concat(chunks).toString('utf8')) as T;
    } catch (error) {
      throw connectionError(error);
    }
  }

  /** A write, and the object that the server made of it. */
  send<T>(write: Write, path: string, query: Query = {}): Promise<T> {
    return this.get<T>(path, query, AbortSignal.timeout(WRITE_TIMEOUT_MS), write);
  }

  /** The next request opens a new connection. */
  disconnect(): void {
    const dispatcher = this.#dispatcher;
    this.#dispatcher = undefined;
    // Others may still be reading from it: it closes when they are done.
    void dispatcher?.close().catch(() => undefined);
  }
}

function answerError(code: number, text: string): KubeError {
  try {
    return statusError(JSON.parse(text) as Status, code);
  } catch {
    return new KubeError(code, '', `HTTP ${code}: ${text.slice(0, 200)}`);
  }
}

function connectionError(error: unknown): KubeError {
  const { code = '', message = String(error), cause } = error as { code?: string; message?: string; cause?: unknown };
  const below = cause instanceof Error ? `: ${cause.message}` : '';
  return new KubeError(0, code, `${message}${below}`);
}
