/**
 * One Kubernetes resource as a stream: list, then watch, for ever.
 *
 * - An object is said once for each of its resource versions: what a reconnect repeats is not said again.
 * - After 410 Gone everything is listed anew; what vanished meanwhile is said as deleted.
 * - A lost, cut or silent connection is made again from the last version seen (bookmarks included), with backoff and jitter.
 * - `synced` is said once, after the first complete list.
 */
import type { KubeConfig } from '@kubernetes/client-node';
import { Observable } from 'rxjs';
import { KubeClient, KubeError, type Query, statusError } from './client.ts';
import type { KubeObject } from './events.ts';
import { jsonLines } from './json-lines.ts';
import { type Slim, type WatchEvent, WatchedSet } from './watched-set.ts';

export type { WatchEvent } from './watched-set.ts';

export interface WatchOptions {
  /** REST path of the collection, e.g. `/api/v1/pods`. */
  path: string;
  fieldSelector?: string;
  labelSelector?: string;
  /** Of each object before it is kept and said. */
  slim?: Slim;
  /** Objects a page of the list. */
  limit?: number;
  /** In [0, 1); spreads reconnects of many nodes. */
  random?: () => number;
  /** Calls back later; returns what cancels it. */
  after?: After;
  /** Hears why a connection ended, for people. */
  onTrouble?: (cause: string) => void;
}

export type After = (milliseconds: number, act: () => void) => () => void;

const pageSize = 500;
const firstDelayMs = 100;
const delayMaxMs = 10_000;
const listTimeoutMs = 30_000;
/** The server ends a watch after this. */
const watchSeconds = 240;
/** Servers send a bookmark each minute: one and a half without a byte is a dead connection. */
const silenceMaxMs = 90_000;
/** Pages of one list expire when the server compacts; after so many tries it is asked for in one piece. */
const pagedListTries = 2;

/** The list must be made anew: the revision is compacted, or the server's history is not the one we know. */
const mustRelist = (error: unknown): boolean =>
  error instanceof KubeError && (error.status === 410 || error.causes.includes('ResourceVersionTooLarge'));

/** Cold: each subscription has its own connection. Never completes and never errors. */
export function watchResource(config: KubeConfig, options: WatchOptions): Observable<WatchEvent> {
  return new Observable((subscriber) => {
    const loop = new WatchLoop(new KubeClient(config), options, (event) => subscriber.next(event));
    void loop.run();
    return () => loop.stop();
  });
}

class WatchLoop {
  readonly #client: KubeClient;
  readonly #options: WatchOptions;
  readonly #emit: (event: WatchEvent) => void;
  readonly #after: After;
  readonly #abort = new AbortController();
  readonly #set: WatchedSet;
  #mustList = true;
  #failures = 0;

  constructor(client: KubeClient, options: WatchOptions, emit: (event: WatchEvent) => void) {
    this.#client = client;
    this.#options = options;
    this.#emit = emit;
    this.#set = new WatchedSet(options.slim);
    this.#after = options.after ?? afterMs;
  }

  stop(): void {
    this.#abort.abort();
    this.#client.disconnect();
  }

  async run(): Promise<void> {
    while (!this.#abort.signal.aborted) {
      try {
        if (this.#mustList) await this.#list();
        await this.#watch();
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.#failures++;
        if (mustRelist(error)) this.#mustList = true;
        this.#options.onTrouble?.(error instanceof Error ? error.message : String(error));
      }
      await this.#pause();
    }
  }

  async #list(): Promise<void> {
    const { objects, revision } = await this.#pages();
    this.#say(this.#set.listed(objects, revision));
    this.#mustList = false;
  }

  async #pages(): Promise<{ objects: KubeObject[]; revision: string }> {
    for (let tries = 1; ; tries++) {
      try {
        return await this.#onePassOfPages(tries <= pagedListTries ? (this.#options.limit ?? pageSize) : 0);
      } catch (error) {
        if (!mustRelist(error) || tries > pagedListTries) throw error;
      }
    }
  }

  /** A limit of 0 asks for everything at once. */
  async #onePassOfPages(limit: number): Promise<{ objects: KubeObject[]; revision: string }> {
    const objects: KubeObject[] = [];
    for (let token = ''; ; ) {
      const query = {
        ...this.#selectors(),
        ...(limit > 0 && { limit: String(limit) }),
        ...(token && { continue: token }),
      };
      const timeout = AbortSignal.timeout(listTimeoutMs);
      const signal = AbortSignal.any([this.#abort.signal, timeout]);
      const page = await this.#client.get<KubeList>(this.#options.path, query, signal);
      const { apiVersion = '', kind = '' } = page;
      // Items of a list do not repeat what they are.
      for (const item of page.items ?? [])
        objects.push({
          ...item,
          apiVersion: item.apiVersion ?? apiVersion,
          kind: item.kind ?? kind.replace(/List$/, ''),
        });
      token = page.metadata.continue ?? '';
      if (!token) return { objects, revision: page.metadata.resourceVersion };
    }
  }

  /** Resolves when the server ends the watch as agreed. */
  async #watch(): Promise<void> {
    const silence = new AbortController();
    let cancel = (): void => undefined;
    let quiet = true;
    const listen = (): void => {
      cancel();
      cancel = this.#after(silenceMaxMs, () => silence.abort());
    };
    listen();
    try {
      const query = {
        ...this.#selectors(),
        watch: 'true',
        allowWatchBookmarks: 'true',
        resourceVersion: this.#set.revision,
        timeoutSeconds: String(watchSeconds),
      };
      const body = await this.#client.stream(
        this.#options.path,
        query,
        AbortSignal.any([this.#abort.signal, silence.signal]),
      );
      for await (const line of jsonLines(body as AsyncIterable<Uint8Array>, listen)) {
        this.#heard(line as WatchLine);
        quiet = false;
      }
      // A server that ends every watch at once must not be asked in a tight loop.
      if (quiet) this.#failures++;
    } catch (error) {
      if (!silence.signal.aborted) throw error;
      this.#client.disconnect();
      throw new KubeError(0, 'ETIMEDOUT', `nothing was heard for ${silenceMaxMs / 1000} s`);
    } finally {
      cancel();
    }
  }

  #heard({ type, object }: WatchLine): void {
    if (this.#abort.signal.aborted) return;
    if (type === 'ERROR') throw statusError(object as Parameters<typeof statusError>[0]);
    this.#failures = 0;
    this.#say(this.#set.heard(type, object));
  }

  #say(events: readonly WatchEvent[]): void {
    for (const event of events) if (!this.#abort.signal.aborted) this.#emit(event);
  }

  #selectors(): Query {
    const { fieldSelector, labelSelector } = this.#options;
    return { ...(fieldSelector && { fieldSelector }), ...(labelSelector && { labelSelector }) };
  }

  /** After trouble, longer each time; after a watch that said something, not at all. */
  #pause(): Promise<void> {
    const random = this.#options.random ?? Math.random;
    const ceiling = Math.min(firstDelayMs * 2 ** this.#failures, delayMaxMs);
    const delay = this.#failures === 0 ? 0 : ceiling / 2 + (random() * ceiling) / 2;
    return new Promise((resolve) => {
      const { signal } = this.#abort;
      const finish = (): void => {
        cancel();
        signal.removeEventListener('abort', finish);
        resolve();
      };
      const cancel = this.#after(delay, finish);
      signal.addEventListener('abort', finish, { once: true });
    });
  }
}

interface KubeList {
  kind?: string;
  apiVersion?: string;
  metadata: { resourceVersion: string; continue?: string };
  items: KubeObject[] | null;
}

interface WatchLine {
  type: string;
  object: KubeObject;
}

const afterMs: After = (milliseconds, act) => {
  const timer = setTimeout(act, milliseconds);
  return () => clearTimeout(timer);
};
