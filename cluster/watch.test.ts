/** Watches against the embedded API server, with a proxy between them that breaks what can break. */
import { KubeConfig } from '@kubernetes/client-node';
import fc from 'fast-check';
import type { Subscription } from 'rxjs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from './api-server/index.ts';
import type { ResourceHandle } from './api-server/resource-handle.ts';
import { type KubeObject, objectKey } from './events.ts';
import { type FaultProxy, faultProxy } from './fault-proxy.ts';
import { type After, type WatchEvent, type WatchOptions, watchResource } from './watch.ts';

let server: ApiServer;
let proxy: FaultProxy;
let maps: ResourceHandle;
let subscription: Subscription | undefined;

/** What one watcher heard, and the set that follows from it. */
class Listener {
  readonly lines: string[] = [];
  readonly set = new Map<string, string>();
  readonly troubles: string[] = [];
  synced = 0;

  hear(event: WatchEvent): void {
    if (event.type === 'synced') {
      this.synced++;
      this.lines.push('synced');
      return;
    }
    const key = objectKey(event.object);
    const state = stateOf(event.object);
    if (event.type === 'upsert') {
      // No state twice, and no delete of what is not there: checked on each event.
      if (this.set.get(key) === state) throw new Error(`said twice: ${key} ${state}`);
      this.set.set(key, state);
    } else if (!this.set.delete(key)) throw new Error(`deleted but not there: ${key}`);
    this.lines.push(
      `${event.type} ${event.object.metadata.name} ${String((event.object.data as Record<string, string> | undefined)?.v ?? '')}`,
    );
  }
}

const stateOf = ({ metadata }: KubeObject): string => `${metadata.uid}@${metadata.resourceVersion}`;

/** Time runs a hundred times as fast: delays of backoff stay in proportion. */
const fast: After = (milliseconds, act) => {
  const timer = setTimeout(act, milliseconds / 100);
  return () => clearTimeout(timer);
};

function listen(options: Partial<WatchOptions> = {}): Listener {
  const config = new KubeConfig();
  config.loadFromString(server.kubeconfig({ server: `http://127.0.0.1:${proxy.port}` }));
  const listener = new Listener();
  subscription = watchResource(config, {
    path: '/api/v1/namespaces/default/configmaps',
    after: (milliseconds, act) => (milliseconds > 60_000 ? afterRealMs(600, act) : fast(milliseconds, act)),
    onTrouble: (message) => listener.troubles.push(message),
    ...options,
  }).subscribe((event) => listener.hear(event));
  return listener;
}

function afterRealMs(milliseconds: number, act: () => void): () => void {
  const timer = setTimeout(act, milliseconds);
  return () => clearTimeout(timer);
}

const put = (name: string, v: string, labels: Record<string, string> = {}): void => {
  if (maps.find('default', name))
    maps.update('default', name, (current) => ({ ...current, metadata: { ...current.metadata, labels }, data: { v } }));
  else maps.create({ metadata: { name, labels }, data: { v } });
};

const truth = (): Map<string, string> =>
  new Map(maps.list('default').map((object) => [objectKey(object), stateOf(object)]));

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = Date.now() + 10_000;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const agrees = (listener: Listener): Promise<void> =>
  until(
    () => listener.synced > 0 && JSON.stringify([...listener.set].sort()) === JSON.stringify([...truth()].sort()),
    'the watcher agrees with the store',
  );

beforeEach(async () => {
  server = await startApiServer({
    listeners: [{ host: '127.0.0.1', port: 0 }],
    tls: false,
    token: 'test',
    database: ':memory:',
    crds: [],
    watchHistory: 1000,
  });
  maps = server.store.resource('configmaps');
  proxy = await faultProxy(server.port);
});

afterEach(async () => {
  subscription?.unsubscribe();
  await proxy.close();
  await server.close();
});

describe('a watch', () => {
  test('says what is there, then that it is complete, then each change', async () => {
    put('a', '1');
    put('b', '1');
    const heard = listen({ limit: 1 });
    await until(() => heard.synced === 1, 'synced');
    put('a', '2');
    maps.delete('default', 'b');
    put('c', '1');
    await agrees(heard);
    expect(heard.lines).toEqual(['upsert a 1', 'upsert b 1', 'synced', 'upsert a 2', 'delete b 1', 'upsert c 1']);
    expect(heard.troubles).toEqual([]);
  });

  test('says of which kind an object is, and nothing of managed fields', async () => {
    server.store.apply(maps.type, 'default', 'applied', { data: { v: '1' } }, { fieldManager: 'someone' });
    const objects: KubeObject[] = [];
    const config = new KubeConfig();
    config.loadFromString(server.kubeconfig());
    const seen = watchResource(config, { path: '/api/v1/configmaps' }).subscribe((event) => {
      if (event.type !== 'synced') objects.push(event.object);
    });
    await until(() => objects.length === 1, 'the object');
    seen.unsubscribe();
    expect(objects[0]).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'applied' } });
    expect(objects[0]?.metadata).not.toHaveProperty('managedFields');
  });

  test('goes on where it was after its connection is cut', async () => {
    put('a', '1');
    const heard = listen();
    await agrees(heard);
    proxy.cut();
    put('a', '2');
    put('b', '1');
    await agrees(heard);
    expect(heard.lines).toEqual(['upsert a 1', 'synced', 'upsert a 2', 'upsert b 1']);
  });

  test('says an event that was cut in the middle of its line once, and whole', async () => {
    const heard = listen();
    await agrees(heard);
    for (const bytes of [1, 40, 200]) {
      proxy.cutAfter(bytes);
      put('a', String(bytes));
      await agrees(heard);
    }
    expect(heard.lines).toEqual(['synced', 'upsert a 1', 'upsert a 40', 'upsert a 200']);
  });

  test('lists anew when its version is compacted, and says only what is different', async () => {
    put('kept', '1');
    put('gone', '1');
    put('changed', '1');
    const heard = listen();
    await agrees(heard);
    proxy.refuse(true);
    proxy.cut();
    maps.delete('default', 'gone');
    put('changed', '2');
    put('new', '1');
    server.store.storage.compact();
    put('later', '1');
    proxy.refuse(false);
    await agrees(heard);
    expect(heard.lines.slice(4)).toEqual(['upsert changed 2', 'upsert later 1', 'upsert new 1', 'delete gone 1']);
    expect(heard.synced).toBe(1);
  });

  test('says of a namesake that the one before it is gone', async () => {
    put('a', '1');
    const heard = listen();
    await agrees(heard);
    proxy.refuse(true);
    proxy.cut();
    maps.delete('default', 'a');
    put('a', '2');
    server.store.storage.compact();
    proxy.refuse(false);
    await agrees(heard);
    expect(heard.lines).toEqual(['upsert a 1', 'synced', 'delete a 1', 'upsert a 2']);
  });

  test('waits longer each time while the server is away, and catches up when it is back', async () => {
    put('a', '1');
    const delays: number[] = [];
    const heard = listen({
      random: () => 0.5,
      after: (milliseconds, act) => {
        if (milliseconds < 60_000) delays.push(milliseconds);
        return milliseconds > 60_000 ? afterRealMs(60_000, act) : fast(milliseconds, act);
      },
    });
    await agrees(heard);
    delays.length = 0;
    proxy.refuse(true);
    proxy.cut();
    put('a', '2');
    await until(() => delays.length >= 8, 'eight tries');
    proxy.refuse(false);
    await agrees(heard);
    expect(delays.slice(0, 8)).toEqual([150, 300, 600, 1200, 2400, 4800, 7500, 7500]);
    expect(heard.lines).toEqual(['upsert a 1', 'synced', 'upsert a 2']);
  });

  test('notices that a connection is dead though it is open', async () => {
    put('a', '1');
    const heard = listen();
    await agrees(heard);
    put('b', '1');
    await agrees(heard);
    proxy.stall();
    put('a', '2');
    await agrees(heard);
    expect(heard.troubles.at(-1)).toContain('nothing was heard');
  });

  test('starts before the server does', async () => {
    proxy.refuse(true);
    const heard = listen();
    await until(() => heard.troubles.length > 0, 'trouble');
    put('a', '1');
    proxy.refuse(false);
    await agrees(heard);
    expect(heard.lines).toEqual(['upsert a 1', 'synced']);
  });

  test('of labels says what leaves the selection as deleted', async () => {
    put('a', '1', { app: 'web' });
    put('b', '1', { app: 'db' });
    const heard = listen({ labelSelector: 'app in (web)' });
    await until(() => heard.synced === 1, 'synced');
    put('a', '2', { app: 'db' });
    put('b', '2', { app: 'web' });
    await until(() => heard.lines.length === 4, 'both changes');
    expect(heard.lines).toEqual(['upsert a 1', 'synced', 'delete a 1', 'upsert b 2']);
  });

  test('ends all it holds when nobody listens any more', async () => {
    const heard = listen();
    await agrees(heard);
    subscription?.unsubscribe();
    put('a', '1');
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(heard.lines).toEqual(['synced']);
  });
});

type Step =
  | { act: 'put' | 'delete'; name: string }
  | { act: 'cut' | 'compact' | 'pause' }
  | { act: 'cutAfter'; bytes: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      act: fc.constantFrom('put' as const, 'put' as const, 'delete' as const),
      name: fc.constantFrom('a', 'b', 'c', 'd'),
    }),
  },
  { weight: 2, arbitrary: fc.record({ act: fc.constantFrom('cut' as const, 'compact' as const, 'pause' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ act: fc.constant('cutAfter' as const), bytes: fc.integer({ min: 1, max: 600 }) }),
  },
);

test('after any changes and disconnects the set is the store, and nothing was said twice', {
  timeout: 120_000,
}, async () => {
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      run++;
      for (const object of maps.list('default')) maps.delete('default', object.metadata.name);
      const heard = listen({ limit: 2 });
      try {
        for (const [i, one] of steps.entries()) {
          switch (one.act) {
            case 'put':
              put(one.name, `${run}.${i}`);
              break;
            case 'delete':
              if (maps.find('default', one.name)) maps.delete('default', one.name);
              break;
            case 'cut':
              proxy.cut();
              break;
            case 'cutAfter':
              proxy.cutAfter(one.bytes);
              break;
            case 'compact':
              server.store.storage.compact();
              break;
            case 'pause':
              await new Promise((resolve) => setTimeout(resolve, 3));
          }
        }
        await agrees(heard);
        expect(heard.synced).toBe(1);
      } finally {
        subscription?.unsubscribe();
      }
    }),
    { numRuns: 60 },
  );
});
