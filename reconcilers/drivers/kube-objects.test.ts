/** Objects of pods that move between nodes: a node that is late neither takes nor overwrites what another one's pod of that name has. */
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from '../../cluster/api-server/index.ts';
import { KubeClient } from '../../cluster/client.ts';
import { crdObjects } from '../../cluster/crds/index.ts';
import type { Op } from '../../datapath/driver.ts';
import type { KubeObjectRow } from '../../state/tables.ts';
import { KubeObjectsDriver } from './kube.ts';

let server: ApiServer;
let driver: KubeObjectsDriver;

beforeAll(async () => {
  server = await startApiServer({
    listeners: [{ host: '127.0.0.1', port: 0 }],
    ...{ tls: false as const, token: 't', database: ':memory:', crds: crdObjects() },
  });
  const config = new KubeConfig();
  config.loadFromString(server.kubeconfig());
  driver = new KubeObjectsDriver(new KubeClient(config));
  server.store.resource('namespaces').create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'demo' } });
});
afterAll(() => server.close());

/** The pod of that name as it is now. */
function pod(name: string): string {
  const pods = server.store.resource('pods');
  if (pods.list('demo').some(({ metadata }) => metadata.name === name))
    pods.delete('demo', name, { gracePeriodSeconds: 0 });
  const spec = { containers: [{ name: 'c', image: 'i' }] };
  return pods.create({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace: 'demo' }, spec }).metadata.uid ?? '';
}
const row = (name: string, uid: string, node: string): KubeObjectRow => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumEndpoint',
  metadata: { name, namespace: 'demo', ownerReferences: [{ apiVersion: 'v1', kind: 'Pod', name, uid }] },
  status: { networking: { addressing: [], node } },
});
const op = (action: Op['action'], value: KubeObjectRow): Op => ({
  ...{ table: 'kube.objects', action, key: `ciliumendpoints/demo/${value.metadata.name}`, revision: 1, owners: [] },
  value: action === 'put' ? value : undefined,
  before: action === 'put' ? undefined : value,
});
const nodeOf = (name: string): string | undefined => {
  const all = server.store.resource('ciliumendpoints').list('demo');
  const status = all.find(({ metadata }) => metadata.name === name)?.status as KubeObjectRow['status'];
  return (status as { networking?: { node?: string } } | undefined)?.networking?.node;
};

test('its own is put, put again and deleted, and deleting what is gone is no error', async () => {
  const own = row('a', pod('a'), 'n1');
  expect(await driver.apply([op('put', own)])).toEqual([undefined]);
  expect(await driver.apply([op('put', { ...own, status: { networking: { addressing: [], node: 'n1b' } } })])).toEqual([
    undefined,
  ]);
  expect(nodeOf('a')).toBe('n1b');
  for (let i = 0; i < 2; i++) expect(await driver.apply([op('delete', own)])).toEqual([undefined]);
  expect(nodeOf('a')).toBeUndefined();
});

test('the pod that is there takes over what the one before it left; a late node does not take it back', async () => {
  const late = row('b', pod('b'), 'n1');
  await driver.apply([op('put', late)]);
  const now = row('b', pod('b'), 'n2');
  expect(await driver.apply([op('put', now)])).toEqual([undefined]);
  expect(nodeOf('b')).toBe('n2');
  expect(await driver.apply([op('put', late)])).toEqual([undefined]);
  expect(nodeOf('b')).toBe('n2');
  expect(await driver.apply([op('delete', late)])).toEqual([undefined]);
  expect(nodeOf('b')).toBe('n2');
});
