/** Who owns which field, told as short stories. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ApiError } from './errors.ts';
import { type ApiServer, startApiServer } from './index.ts';
import type { ResourceHandle } from './resource-handle.ts';
import type { ApiObject, JsonRecord } from './types.ts';

let server: ApiServer;
let services: ResourceHandle;
beforeAll(async () => {
  server = await startApiServer({ listeners: [], tls: false, database: ':memory:', crds: [] });
  services = server.store.resource('services');
});
afterAll(() => server.close());
beforeEach(() => {
  if (services.find('default', 's')) services.delete('default', 's');
});

const apply = (manager: string, spec: JsonRecord, labels: Record<string, string> = {}, force = false): ApiObject =>
  server.store.apply(
    services.type,
    'default',
    's',
    { metadata: { name: 's', labels }, spec },
    { fieldManager: manager, force },
  ).object;

const ports = (object: ApiObject): unknown =>
  (object.spec as { ports: { name: string; port: number }[] }).ports.map(({ name, port }) => `${name}:${port}`);
const managers = (object: ApiObject): string[] =>
  (object.metadata.managedFields ?? []).map(({ manager, operation }) => `${manager} ${operation}`).sort();

function refused(act: () => unknown): string {
  try {
    act();
  } catch (error) {
    if (error instanceof ApiError) return error.message;
    throw error;
  }
  return 'nothing was refused';
}

const port = (name: string, number: number): JsonRecord => ({ name, port: number });

describe('applying', () => {
  test('creates what is not there, and does nothing when nothing changed', () => {
    const created = apply('one', { ports: [port('a', 80)] });
    expect(managers(created)).toEqual(['one Apply']);
    expect(apply('one', { ports: [port('a', 80)] })).toEqual(created);
  });

  test('removes what its manager leaves out, and only that', () => {
    apply('one', { ports: [port('a', 80), port('b', 81)] }, { x: '1', y: '2' });
    const after = apply('one', { ports: [port('a', 80)] }, { x: '1' });
    expect(ports(after)).toEqual(['a:80']);
    expect(after.metadata.labels).toEqual({ x: '1' });
    expect(after.spec).toMatchObject({ type: 'ClusterIP', sessionAffinity: 'None' });
  });

  test('two managers share a list by its keys', () => {
    apply('one', { ports: [port('a', 80)] });
    expect(ports(apply('two', { ports: [port('b', 81)] }))).toEqual(['a:80', 'b:81']);
    expect(ports(apply('one', { ports: [port('c', 82)] }))).toEqual(['b:81', 'c:82']);
  });

  test('what two managers apply alike stays until both leave it', () => {
    apply('one', { ports: [port('a', 80)] }, { shared: 'yes' });
    apply('two', { ports: [port('a', 80)] }, { shared: 'yes' });
    expect(apply('one', { ports: [port('a', 80)] }).metadata.labels).toEqual({ shared: 'yes' });
    expect(apply('two', { ports: [port('a', 80)] }).metadata.labels ?? {}).toEqual({});
  });

  test('a field of another manager is a conflict, unless it is taken by force', () => {
    apply('one', { ports: [port('a', 80)] }, { who: 'one' });
    expect(refused(() => apply('two', { ports: [port('a', 80)] }, { who: 'two' }))).toBe(
      'Apply failed with 1 conflict: conflict with "one" using v1: .metadata.labels.who',
    );
    const taken = apply('two', { ports: [port('a', 80)] }, { who: 'two' }, true);
    expect(taken.metadata.labels).toEqual({ who: 'two' });
    expect(refused(() => apply('one', { ports: [port('a', 80)] }, { who: 'one' }))).toContain('conflict with "two"');
  });

  test('names the item in a conflict', () => {
    apply('one', { ports: [{ ...port('a', 80), targetPort: 8080 }] });
    expect(refused(() => apply('two', { ports: [{ ...port('a', 80), targetPort: 9090 }] }))).toContain(
      '.spec.ports[port=80,protocol="TCP"].targetPort',
    );
  });

  test('without a manager is refused', () => {
    expect(refused(() => apply('', { ports: [port('a', 80)] }))).toContain('fieldManager: Required value');
  });
});

describe('an update', () => {
  test('takes the fields it changes, so that applying sees a conflict', () => {
    apply('one', { ports: [port('a', 80)] }, { x: '1' });
    services.update(
      'default',
      's',
      (current) => ({ ...current, metadata: { ...current.metadata, labels: { x: '2' } } }),
      { fieldManager: 'editor' },
    );
    expect(managers(services.find('default', 's') as ApiObject)).toEqual(['editor Update', 'one Apply']);
    expect(refused(() => apply('one', { ports: [port('a', 80)] }, { x: '1' }))).toContain('conflict with "editor"');
  });

  test('of the status is a manager of its own', () => {
    apply('one', { ports: [port('a', 80)] });
    services.update(
      'default',
      's',
      (current) => ({ ...current, status: { loadBalancer: { ingress: [{ ip: '1.2.3.4' }] } } }),
      { subresource: 'status', fieldManager: 'lb' },
    );
    const after = apply('one', { ports: [port('a', 80)] });
    expect(after.status).toEqual({ loadBalancer: { ingress: [{ ip: '1.2.3.4' }] } });
    expect(after.metadata.managedFields?.find(({ manager }) => manager === 'lb')).toMatchObject({
      subresource: 'status',
    });
  });

  test('of an object that nobody applied records nothing', () => {
    services.create({ metadata: { name: 's' }, spec: { ports: [port('a', 80)] } });
    services.update('default', 's', (current) => ({
      ...current,
      metadata: { ...current.metadata, labels: { x: '2' } },
    }));
    expect(services.find('default', 's')?.metadata).not.toHaveProperty('managedFields');
  });
});
