/** Claims of identities where the numbers become few: a free one is found, and that there is none is said. */
import { KubeConfig } from '@kubernetes/client-node';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ApiServer, startApiServer } from '../../cluster/api-server/index.ts';
import { KubeClient } from '../../cluster/client.ts';
import { crdObjects } from '../../cluster/crds/index.ts';
import type { Op } from '../../datapath/driver.ts';
import { EXHAUSTED } from '../../machines/identity.ts';
import { IdentityClaimsDriver } from './kube.ts';

const range = { first: 256, last: 355 };
/** Chance meets one that is taken. */
const RANDOM = 0.25;
const FREE = 300;

let server: ApiServer;
let client: KubeClient;

const claim = (app: string): Op => ({
  table: 'identity.claims',
  action: 'put',
  key: `k8s:app=${app};`,
  value: { labels: { 'k8s:app': app }, namespace: 'default' },
  before: undefined,
  revision: 1,
  owners: [],
});
const names = (): string[] =>
  server.store
    .resource('ciliumidentities')
    .list('')
    .map(({ metadata }) => metadata.name);

beforeAll(async () => {
  server = await startApiServer({
    listeners: [{ host: '127.0.0.1', port: 0 }],
    ...{ tls: false as const, token: 't', database: ':memory:', crds: crdObjects() },
  });
  const identities = server.store.resource('ciliumidentities');
  for (let number = range.first; number <= range.last; number++) {
    if (number === FREE) continue;
    const metadata = { name: String(number) };
    identities.create({ apiVersion: 'cilium.io/v2', kind: 'CiliumIdentity', metadata, 'security-labels': {} });
  }
  const config = new KubeConfig();
  config.loadFromString(server.kubeconfig());
  client = new KubeClient(config);
});
afterAll(async () => {
  client.disconnect();
  await server.close();
});

test('the last free number is found; then it is said that there is none', async () => {
  const driver = new IdentityClaimsDriver(client, () => RANDOM, range);
  expect(await driver.apply([claim('a')])).toEqual([undefined]);
  expect(names()).toContain(String(FREE));
  const [error] = await driver.apply([claim('b')]);
  expect(error).toMatchObject({ errno: EXHAUSTED, retryable: true });
  expect(error?.message).toContain('all 100 numbers of identities are taken');
});
