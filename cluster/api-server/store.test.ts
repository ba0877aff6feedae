/** The rules of the API for objects: names, versions, status, finalizers, namespaces, owners. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { expireEvents } from './controllers.ts';
import { ApiError } from './errors.ts';
import { type ApiServer, startApiServer } from './index.ts';
import type { ResourceHandle } from './resource-handle.ts';
import type { ApiObject } from './types.ts';

let server: ApiServer;
let pods: ResourceHandle;
let maps: ResourceHandle;
let namespaces: ResourceHandle;

beforeEach(async () => {
  server = await startApiServer({
    listeners: [],
    tls: false,
    database: ':memory:',
    clock: () => Date.parse('2026-01-02T03:04:05.678Z'),
  });
  pods = server.store.resource('pods');
  maps = server.store.resource('configmaps');
  namespaces = server.store.resource('namespaces');
});

afterEach(() => server.close());

/** One turn, in which controllers act. */
const settled = async (): Promise<void> => {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
};

function refused(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ApiError) return `${error.status.code} ${error.status.reason}: ${error.message}`;
    throw error;
  }
  return 'nothing was refused';
}

const newPod = (name: string): object => ({
  metadata: { name },
  spec: { containers: [{ name: 'main', image: 'nginx' }] },
});
const newIdentity = (name: string, more: object = {}): object => ({
  metadata: { name },
  'security-labels': { 'k8s:app': 'web' },
  ...more,
});

describe('creating', () => {
  test('gives an object its identity', () => {
    const map = maps.create({ metadata: { name: 'a' } });
    expect(map.metadata).toMatchObject({ name: 'a', namespace: 'default', creationTimestamp: '2026-01-02T03:04:05Z' });
    expect(map.metadata.uid).toMatch(/^[0-9a-f-]{36}$/);
    expect(map).toMatchObject({ apiVersion: 'v1', kind: 'ConfigMap' });
  });

  test('makes up a name', () => {
    const [one, two] = [
      maps.create({ metadata: { generateName: 'x-' } }),
      maps.create({ metadata: { generateName: 'x-' } }),
    ];
    expect(one.metadata.name).toMatch(/^x-[a-z0-9]{5}$/);
    expect(two.metadata.name).not.toBe(one.metadata.name);
  });

  test.each([
    [
      'a second time',
      () => [maps.create({ metadata: { name: 'a' } }), maps.create({ metadata: { name: 'a' } })],
      '409 AlreadyExists: configmaps "a" already exists',
    ],
    [
      'where there is no namespace',
      () => maps.create({ metadata: { name: 'a', namespace: 'nowhere' } }),
      '404 NotFound: namespaces "nowhere" not found',
    ],
    [
      'with a version',
      () => maps.create({ metadata: { name: 'a', resourceVersion: '3' } }),
      '400 BadRequest: resourceVersion should not be set on objects to be created',
    ],
    [
      'without a name',
      () => maps.create({ metadata: {} }),
      '422 Invalid: ConfigMap "undefined" is invalid: metadata.name: Required value',
    ],
    [
      'of another kind',
      () => maps.create({ kind: 'Secret', apiVersion: 'v1', metadata: { name: 'a' } }),
      '400 BadRequest: "Secret" of "v1" cannot be handled as a ConfigMap of "v1"',
    ],
    [
      'in another namespace than the URL says',
      () => maps.create({ metadata: { name: 'a', namespace: 'b' } }, 'default'),
      '400 BadRequest: the namespace of the provided object does not match',
    ],
  ])('is refused %s', (_, act, message) => {
    expect(refused(act)).toContain(message);
  });

  test('as a dry run leaves nothing', () => {
    server.store.create(maps.type, 'default', { metadata: { name: 'a' } }, { dryRun: true });
    expect(maps.find('default', 'a')).toBeUndefined();
  });
});

describe('updating', () => {
  test('an old version is refused', () => {
    const old = maps.create({ metadata: { name: 'a' }, data: { v: '1' } });
    maps.update('default', 'a', (current) => ({ ...current, data: { v: '2' } }));
    expect(refused(() => maps.update('default', 'a', () => ({ ...old, data: { v: '3' } })))).toContain(
      '409 Conflict: Operation cannot be fulfilled on configmaps "a": the object has been modified',
    );
    expect(maps.find('default', 'a')?.data).toEqual({ v: '2' });
  });

  test('a custom resource needs the version it was read at', () => {
    const identities = server.store.resource('ciliumidentities');
    identities.create(newIdentity('300'));
    expect(refused(() => identities.update('', '300', () => newIdentity('300')))).toContain(
      'metadata.resourceVersion: Invalid value: 0x0: must be specified for an update',
    );
  });

  test('what changes nothing is no change', () => {
    const before = maps.create({ metadata: { name: 'a' }, data: { v: '1' } });
    expect(maps.update('default', 'a', (current) => current)).toEqual(before);
  });

  test('identity and creation are kept, whatever the body says', () => {
    const before = maps.create({ metadata: { name: 'a' } });
    const after = maps.update('default', 'a', (current) => ({
      ...current,
      metadata: { ...current.metadata, creationTimestamp: '2000-01-01T00:00:00Z', generation: 77 },
      data: { v: '1' },
    }));
    expect(after.metadata).toMatchObject({
      uid: before.metadata.uid,
      creationTimestamp: before.metadata.creationTimestamp,
    });
    expect(after.metadata.generation).toBeUndefined();
  });

  test('the object does not touch the status, and the status nothing else', () => {
    pods.create(newPod('a'));
    pods.updateStatus('default', 'a', { phase: 'Running' });
    const changed = pods.update('default', 'a', (current) => ({
      ...current,
      status: { phase: 'Failed' },
      metadata: { ...current.metadata, labels: { a: 'b' } },
    }));
    expect(changed.status).toMatchObject({ phase: 'Running' });
    const status = pods.update(
      'default',
      'a',
      (current) => ({ ...current, spec: {}, status: { phase: 'Succeeded' } }),
      { subresource: 'status' },
    );
    expect(status).toMatchObject({ spec: { restartPolicy: 'Always' }, status: { phase: 'Succeeded' } });
  });

  test('generation counts changes of the spec only', () => {
    const policies = server.store.resource('networkpolicies');
    policies.create({ metadata: { name: 'a' }, spec: { podSelector: {} } });
    policies.update('default', 'a', (current) => ({
      ...current,
      metadata: { ...current.metadata, labels: { a: 'b' } },
    }));
    expect(policies.find('default', 'a')?.metadata.generation).toBe(1);
    policies.update('default', 'a', (current) => ({ ...current, spec: { podSelector: { matchLabels: { a: 'b' } } } }));
    expect(policies.find('default', 'a')?.metadata.generation).toBe(2);
  });

  test('all versions of a custom resource are one object', () => {
    const groups = server.store.resource('ciliumcidrgroups');
    groups.create({ metadata: { name: 'a' }, spec: { externalCIDRs: ['10.0.0.0/8'] } });
    const old = server.store.registry.find('cilium.io', 'v2alpha1', 'ciliumcidrgroups');
    expect(old && server.store.get(old, '', 'a')).toMatchObject({
      apiVersion: 'cilium.io/v2alpha1',
      spec: { externalCIDRs: ['10.0.0.0/8'] },
    });
  });
});

describe('deleting', () => {
  test('waits for finalizers', () => {
    maps.create({ metadata: { name: 'a', finalizers: ['example.com/hold'] } });
    maps.delete('default', 'a');
    expect(maps.find('default', 'a')?.metadata).toMatchObject({
      deletionTimestamp: '2026-01-02T03:04:05Z',
      deletionGracePeriodSeconds: 0,
    });
    maps.update('default', 'a', (current) => ({ ...current, metadata: { ...current.metadata, finalizers: [] } }));
    expect(maps.find('default', 'a')).toBeUndefined();
  });

  test('a pod without a node goes at once, one with a node when its kubelet says so', () => {
    pods.create(newPod('a'));
    pods.delete('default', 'a');
    expect(pods.find('default', 'a')).toBeUndefined();
    pods.create(newPod('b'));
    pods.bind('default', 'b', 'node-1');
    pods.delete('default', 'b');
    expect(pods.find('default', 'b')?.metadata).toMatchObject({
      deletionTimestamp: '2026-01-02T03:04:35Z',
      deletionGracePeriodSeconds: 30,
    });
    pods.delete('default', 'b', { gracePeriodSeconds: 5 });
    expect(pods.find('default', 'b')?.metadata.deletionGracePeriodSeconds).toBe(5);
    pods.delete('default', 'b', { gracePeriodSeconds: 0 });
    expect(pods.find('default', 'b')).toBeUndefined();
  });

  test('of another object of the same name is refused', () => {
    maps.create({ metadata: { name: 'a' } });
    expect(refused(() => maps.delete('default', 'a', { preconditions: { uid: 'other' } }))).toContain('409 Conflict');
    expect(refused(() => maps.delete('default', 'b'))).toBe('404 NotFound: configmaps "b" not found');
  });

  test('a node is given to a pod once', () => {
    pods.create(newPod('a'));
    pods.bind('default', 'a', 'node-1');
    expect(pods.find('default', 'a')).toMatchObject({
      spec: { nodeName: 'node-1' },
      status: { conditions: [{ type: 'PodScheduled', status: 'True' }] },
    });
    expect(refused(() => pods.bind('default', 'a', 'node-2'))).toContain('already assigned to node "node-1"');
  });
});

describe('by itself', () => {
  test('a namespace gets its service account, and takes all it holds with it', async () => {
    namespaces.create({ metadata: { name: 'team' } });
    await settled();
    expect(server.store.resource('serviceaccounts').find('team', 'default')).toBeDefined();
    maps.create({ metadata: { name: 'a' } }, 'team');
    pods.create(
      { metadata: { name: 'p' }, spec: { nodeName: 'node-1', containers: [{ name: 'main', image: 'nginx' }] } },
      'team',
    );
    namespaces.delete('', 'team');
    await settled();
    expect(namespaces.find('', 'team')).toMatchObject({ status: { phase: 'Terminating' } });
    expect(maps.find('team', 'a')).toBeUndefined();
    expect(refused(() => maps.create({ metadata: { name: 'late' } }, 'team'))).toContain(
      'because it is being terminated',
    );
    pods.delete('team', 'p', { gracePeriodSeconds: 0 });
    await settled();
    expect(namespaces.find('', 'team')).toBeUndefined();
  });

  test('what has lost all its owners goes, what kept one stays', async () => {
    const owners = ['one', 'two'].map((name) => maps.create({ metadata: { name } }));
    const reference = (owner: ApiObject): object => ({
      apiVersion: 'v1',
      kind: 'ConfigMap',
      name: owner.metadata.name,
      uid: owner.metadata.uid,
    });
    maps.create({ metadata: { name: 'of-one', ownerReferences: owners.slice(0, 1).map(reference) } });
    maps.create({ metadata: { name: 'of-both', ownerReferences: owners.map(reference) } });
    maps.delete('default', 'one');
    await settled();
    expect(maps.list('default').map(({ metadata }) => metadata.name)).toEqual(['of-both', 'two']);
  });

  test('owners wait for dependents in the foreground, and leave them when told', async () => {
    const make = (name: string): void => {
      const owner = maps.create({ metadata: { name } });
      maps.create({
        metadata: {
          name: `${name}-child`,
          ownerReferences: [{ apiVersion: 'v1', kind: 'ConfigMap', name, uid: owner.metadata.uid }],
          finalizers: ['example.com/hold'],
        },
      });
    };
    make('front');
    maps.delete('default', 'front', { propagationPolicy: 'Foreground' });
    await settled();
    expect(maps.list('default').map(({ metadata }) => metadata.name)).toEqual(['front', 'front-child']);
    maps.update('default', 'front-child', (current) => ({
      ...current,
      metadata: { ...current.metadata, finalizers: [] },
    }));
    await settled();
    expect(maps.list('default')).toEqual([]);
    make('orphaning');
    maps.delete('default', 'orphaning', { propagationPolicy: 'Orphan' });
    await settled();
    expect(maps.list('default').map(({ metadata }) => [metadata.name, metadata.ownerReferences ?? []])).toEqual([
      ['orphaning-child', []],
    ]);
  });

  test('events go after an hour', () => {
    const events = server.store.resource('events');
    for (const [name, lastTimestamp] of [
      ['old', '2026-01-02T03:00:00Z'],
      ['new', '2026-01-02T03:50:00Z'],
    ]) {
      events.create({ metadata: { name }, involvedObject: {}, lastTimestamp });
    }
    expireEvents(server.store, Date.parse('2026-01-02T04:00:00Z'));
    expect(events.list().map(({ metadata }) => metadata.name)).toEqual(['new']);
  });

  test('objects of a definition go with it', async () => {
    const identities = server.store.resource('ciliumidentities');
    identities.create(newIdentity('300'));
    server.store.resource('customresourcedefinitions').delete('', 'ciliumidentities.cilium.io');
    await settled();
    expect(server.store.storage.list('cilium.io/ciliumidentities')).toEqual([]);
    expect(() => server.store.resource('ciliumidentities')).toThrow('no resource');
  });
});
