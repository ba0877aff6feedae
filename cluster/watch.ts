/**
 * One Kubernetes resource as a stream: list, then watch, for ever.
 *
 * - An object is said once for each of its resource versions: what a reconnect repeats is not said again.
 * - After 410 Gone everything is listed anew; what vanished meanwhile is said as deleted.
 * - A lost connection is tried again from the last version seen (bookmarks included), with backoff and jitter.
 * - `synced` is said once, after the first complete list.
 */
import { HttpMethod, IsomorphicFetchHttpLibrary, type KubeConfig, RequestContext, Watch } from '@kubernetes/client-node';
import { Observable } from 'rxjs';
import { type KubeObject, objectKey } from './events.ts';

export type WatchEvent = { type: 'upsert' | 'delete'; object: KubeObject } | { type: 'synced' };

export interface WatchOptions {
  /** REST path of the collection, e.g. `/api/v1/pods`. */
  path: string;
  fieldSelector?: string;
  labelSelector?: string;
  /** Objects a page of the list. */
  limit?: number;
  /** In [0, 1); spreads reconnects of many nodes. */
  random?: () => number;
  /** Hears why a connection ended, for people. */
  onTrouble?: (message: string) => void;
}

const PAGE = 500;
const FIRST_DELAY_MS = 100;
const DELAY_MAX_MS = 10_000;
const LIST_TIMEOUT_MS = 30_000;
/** The server ends a watch after this. */
const WATCH_SECONDS = 240;
const GONE = 410;

interface KubeList {
  kind?: string;
  apiVersion?: string;
  metadata: { resourceVersion: string; continue?: string };
  items: KubeObject[] | null;
}

class Gone extends Error {}

/** Cold: each subscription has its own connection. Never completes and never errors. */
export function watchResource(config: KubeConfig, options: WatchOptions): Observable<WatchEvent> {
  return new Observable((subscriber) => {
    const loop = new WatchLoop(config, options, (event) => subscriber.next(event));
    void loop.run();
    return () => loop.stop();
  });
}

class WatchLoop {
  readonly #config: KubeConfig;
  readonly #options: WatchOptions;
  readonly #emit: (event: WatchEvent) => void;
  readonly #abort = new AbortController();
  /** What has been said and not deleted. */
  readonly #known = new Map<string, KubeObject>();
  /** Where the watch goes on; empty: list first. */
  #version = '';
  #synced = false;
  #failures = 0;

  constructor(config: KubeConfig, options: WatchOptions, emit: (event: WatchEvent) => void) {
    this.#config = config;
    this.#options = options;
    this.#emit = emit;
  }

  stop(): void {
    this.#abort.abort();
  }

  async run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        if (!this.#version) await this.#list();
        await this.#watch();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        if (error instanceof Gone) this.#version = '';
        else {
          this.#failures++;
          this.#options.onTrouble?.(`${this.#options.path}: ${reasonOf(error)}`);
        }
      }
      await this.#pause();
    }
  }

  async #list(): Promise<void> {
    const objects: KubeObject[] = [];
    let token = '';
    let version = '';
    do {
      const page = await this.#page(token);
      const { apiVersion = '', kind = '' } = page;
      for (const item of page.items ?? []) {
        objects.push({ ...item, apiVersion: item.apiVersion ?? apiVersion, kind: item.kind ?? kind.replace(/List$/, '') });
      }
      token = page.metadata.continue ?? '';
      version = page.metadata.resourceVersion;
    } while (token);
    const listed = new Set(objects.map(objectKey));
    for (const [key, object] of this.#known) if (!listed.has(key)) this.#deleted(object);
    for (const object of objects) this.#upserted(object);
    this.#version = version;
    this.#failures = 0;
    if (this.#synced) return;
    this.#synced = true;
    this.#emit({ type: 'synced' });
  }

  async #page(token: string): Promise<KubeList> {
    const { path, limit = PAGE } = this.#options;
    const cluster = this.#config.getCurrentCluster();
    if (!cluster) throw new Error('the kubeconfig has no current cluster');
    const url = new URL(cluster.server + path);
    const parameters = { ...this.#selectors(), limit: String(limit), ...(token && { continue: token }) };
    for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
    const request = new RequestContext(url.toString(), HttpMethod.GET);
    request.setHeaderParam('Accept', 'application/json');
    request.setSignal(AbortSignal.any([this.#abort.signal, AbortSignal.timeout(LIST_TIMEOUT_MS)]));
    await this.#config.applySecurityAuthentication(request);
    const response = await new IsomorphicFetchHttpLibrary().send(request).toPromise();
    const text = await response.body.text();
    if (response.httpStatusCode === GONE) throw new Gone();
    if (response.httpStatusCode !== 200) throw new Error(`list answered ${response.httpStatusCode}: ${text.slice(0, 200)}`);
    return JSON.parse(text) as KubeList;
  }

  #selectors(): Record<string, string> {
    const { fieldSelector, labelSelector } = this.#options;
    return { ...(fieldSelector && { fieldSelector }), ...(labelSelector && { labelSelector }) };
  }

  /** Resolves when the server ends the watch as agreed. */
  async #watch(): Promise<void> {
    const watch = new Watch(this.#config);
    const parameters = {
      ...this.#selectors(),
      allowWatchBookmarks: true,
      resourceVersion: this.#version,
      timeoutSeconds: WATCH_SECONDS,
    };
    let stop: (() => void) | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const fail = (error: unknown): void => reject(error instanceof Error ? error : new Error(String(error)));
        const hear = (phase: string, object: KubeObject): void => {
          try {
            this.#heard(phase, object);
          } catch (error) {
            fail(error);
          }
        };
        const done = (error: unknown): void => {
          // The library gives up a connection that was silent for 30 s: it may be dead, so it is made anew.
          if (!error || (error as Error).name === 'TimeoutError') resolve();
          else fail(statusOf(error) === GONE ? new Gone() : error);
        };
        watch.watch(this.#options.path, parameters, hear, done).then((controller) => {
          stop = () => controller.abort();
          if (this.#abort.signal.aborted) stop();
          this.#abort.signal.addEventListener('abort', stop, { once: true });
        }, fail);
      });
    } finally {
      if (stop) this.#abort.signal.removeEventListener('abort', stop);
      stop?.();
    }
  }

  #heard(phase: string, object: KubeObject): void {
    if (this.#abort.signal.aborted) return;
    if (phase === 'ERROR') {
      const { code, message } = object as unknown as { code?: number; message?: string };
      throw code === GONE ? new Gone() : new Error(`watch answered ${code}: ${message}`);
    }
    this.#failures = 0;
    this.#version = object.metadata.resourceVersion ?? this.#version;
    if (phase === 'DELETED') this.#deleted(object);
    else if (phase !== 'BOOKMARK') this.#upserted(object);
  }

  #upserted(object: KubeObject): void {
    const key = objectKey(object);
    const before = this.#known.get(key);
    if (before?.metadata.uid === object.metadata.uid && before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    this.#known.set(key, object);
    this.#emit({ type: 'upsert', object: trimmed(object) });
  }

  #deleted(object: KubeObject): void {
    const key = objectKey(object);
    if (this.#known.delete(key)) this.#emit({ type: 'delete', object: trimmed(object) });
  }

  /** After trouble, longer each time; after an orderly end, a moment. */
  async #pause(): Promise<void> {
    const random = this.#options.random ?? Math.random;
    const ceiling = Math.min(FIRST_DELAY_MS * 2 ** this.#failures, DELAY_MAX_MS);
    const delay = this.#failures === 0 ? 0 : ceiling / 2 + (random() * ceiling) / 2;
    await new Promise<void>((resolve) => {
      const timer = setTimeout(finish, delay);
      const signal = this.#abort.signal;
      function finish(): void {
        clearTimeout(timer);
        signal.removeEventListener('abort', finish);
        resolve();
      }
      signal.addEventListener('abort', finish, { once: true });
    });
  }
}

/** Without managedFields, which nobody here reads and which are most of an object. */
function trimmed(object: KubeObject): KubeObject {
  const { managedFields: _, ...metadata } = object.metadata as KubeObject['metadata'] & { managedFields?: unknown };
  return { ...object, metadata };
}

const statusOf = (error: unknown): number => (error as { statusCode?: number }).statusCode ?? 0;

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}
