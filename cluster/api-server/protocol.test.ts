/** The REST protocol over HTTP: lists in pages, watches, presentations, discovery, authentication, TLS. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { createServerCertificate } from './certificates.ts';
import { type ApiServer, startApiServer } from './index.ts';
import type { ResourceHandle } from './resource-handle.ts';

let server: ApiServer;
let maps: ResourceHandle;

beforeEach(async () => {
  server = await startApiServer({
    listeners: [{ host: '127.0.0.1', port: 0 }],
    tls: false,
    token: 'secret',
    database: ':memory:',
    crds: [],
    watchHistory: 50,
  });
  maps = server.store.resource('configmaps');
});
afterEach(() => server.close());

/** What the tests look into, of bodies of many shapes. */
interface Body {
  kind: string;
  message: string;
  metadata: { resourceVersion: string; continue?: string; remainingItemCount?: number };
  items: { metadata: { name: string } }[];
  columnDefinitions: { name: string }[];
  rows: unknown[];
  resources: { name: string }[];
  paths: Record<string, { serverRelativeURL: string }>;
}

interface Reply {
  status: number;
  body: Body;
  headers: Headers;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  const response = await fetch(server.url + path, {
    method,
    headers: {
      authorization: 'Bearer secret',
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    body: response.headers.get('content-type')?.startsWith('application/json') ? JSON.parse(text) : text,
    headers: response.headers,
  };
}

const get = (path: string, headers: Record<string, string> = {}): Promise<Reply> =>
  call('GET', path, undefined, headers);
const collection = '/api/v1/namespaces/default/configmaps';
const fill = (count: number): void => {
  for (let i = 0; i < count; i++)
    maps.create({ metadata: { name: `m${i}`, labels: { odd: String(i % 2 === 1) } }, data: { v: '0' } });
};
const namesOf = (reply: Reply): string[] => reply.body.items.map((item) => item.metadata.name);

/** The events of a watch that the server ends after a second, or that `act` caused. */
async function watch(query: string, act: () => void = () => undefined): Promise<string[]> {
  const response = await fetch(`${server.url}${collection}?watch=1&timeoutSeconds=1&${query}`, {
    headers: { authorization: 'Bearer secret' },
  });
  act();
  const lines = (await response.text()).split('\n').filter((line) => line !== '');
  return lines.map((line) => {
    const { type, object } = JSON.parse(line);
    return type === 'ERROR' ? `ERROR ${object.code} ${object.reason}` : `${type} ${object.metadata.name ?? ''}`.trim();
  });
}

describe('lists', () => {
  test('come in pages that all show one moment', async () => {
    fill(5);
    const first = await get(`${collection}?limit=2`);
    expect(first.body.metadata.remainingItemCount).toBe(3);
    maps.delete('default', 'm3');
    maps.create({ metadata: { name: 'm9' } });
    const second = await get(`${collection}?limit=2&continue=${first.body.metadata.continue}`);
    const third = await get(`${collection}?limit=2&continue=${second.body.metadata.continue}`);
    expect([first, second, third].map(namesOf)).toEqual([['m0', 'm1'], ['m2', 'm3'], ['m4']]);
    expect(third.body.metadata).toEqual({ resourceVersion: first.body.metadata.resourceVersion });
  });

  test('refuse a page of a moment that is forgotten, and tokens of others', async () => {
    fill(3);
    const { body } = await get(`${collection}?limit=1`);
    server.store.storage.put('/configmaps', {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'x', namespace: 'default' },
    });
    server.store.storage.compact();
    expect((await get(`${collection}?limit=1&continue=${body.metadata.continue}`)).body).toMatchObject({
      code: 410,
      reason: 'Expired',
    });
    expect((await get(`${collection}?continue=nonsense`)).body).toMatchObject({ code: 400, reason: 'BadRequest' });
  });

  test.each([
    ['labelSelector=odd=true', ['m1', 'm3']],
    ['labelSelector=odd!=true', ['m0', 'm2']],
    ['labelSelector=odd in (true,false),missing', []],
    ['labelSelector=!missing,odd notin (false)', ['m1', 'm3']],
    ['fieldSelector=metadata.name=m2', ['m2']],
    ['fieldSelector=metadata.name!=m2,metadata.namespace=default', ['m0', 'm1', 'm3']],
  ])('are selected by %s', async (query, names) => {
    fill(4);
    expect(namesOf(await get(`${collection}?${encodeURI(query)}`))).toEqual(names);
  });

  test.each([
    ['labelSelector=a b', 400, 'BadRequest'],
    ['fieldSelector=spec.colour=red', 400, 'BadRequest'],
    ['limit=many', 400, 'BadRequest'],
    ['resourceVersion=999999', 504, 'Timeout'],
    ['resourceVersion=abc', 400, 'BadRequest'],
  ])('with %s are refused', async (query, code, reason) => {
    expect((await get(`${collection}?${encodeURI(query)}`)).body).toMatchObject({
      kind: 'Status',
      status: 'Failure',
      code,
      reason,
    });
  });

  test('go back to an exact moment', async () => {
    fill(1);
    const { resourceVersion } = (await get(collection)).body.metadata;
    maps.delete('default', 'm0');
    expect(namesOf(await get(`${collection}?resourceVersion=${resourceVersion}&resourceVersionMatch=Exact`))).toEqual([
      'm0',
    ]);
    expect(namesOf(await get(collection))).toEqual([]);
  });
});

describe('watches', () => {
  test('without a version begin with what there is', async () => {
    fill(2);
    expect(await watch('', () => maps.delete('default', 'm0'))).toEqual(['ADDED m0', 'ADDED m1', 'DELETED m0']);
  });

  test('from a version say what came after it, and end with a bookmark', async () => {
    fill(1);
    const from = server.store.storage.revision;
    fill.call(undefined, 0);
    maps.update('default', 'm0', (current) => ({ ...current, data: { v: '1' } }));
    expect(await watch(`resourceVersion=${from}&allowWatchBookmarks=true`, () => maps.delete('default', 'm0'))).toEqual(
      ['MODIFIED m0', 'DELETED m0', 'BOOKMARK'],
    );
  });

  test('from a forgotten version are told so', async () => {
    const from = server.store.storage.revision;
    for (let i = 0; i < 120; i++)
      server.store.storage.put('/configmaps', {
        apiVersion: 'v1',
        kind: 'ConfigMap',
        metadata: { name: 'x', namespace: 'default' },
      });
    expect(await watch(`resourceVersion=${from}`)).toEqual(['ERROR 410 Expired']);
  });

  test('of labels see objects come and go as they match', async () => {
    fill(2);
    const label = (name: string, odd: string): unknown =>
      maps.update('default', name, (current) => ({ ...current, metadata: { ...current.metadata, labels: { odd } } }));
    const events = await watch(`labelSelector=odd%3Dtrue&resourceVersion=${server.store.storage.revision}`, () => {
      label('m0', 'true');
      label('m1', 'false');
      maps.delete('default', 'm1');
      maps.update('default', 'm0', (current) => ({ ...current, data: { v: '9' } }));
    });
    expect(events).toEqual(['ADDED m0', 'DELETED m1', 'MODIFIED m0']);
  });

  test('stream their beginning when asked, and mark its end', async () => {
    fill(1);
    expect(await watch('sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan')).toEqual([
      'ADDED m0',
      'BOOKMARK',
      'BOOKMARK',
    ]);
  });

  test('of one object work by its path', async () => {
    fill(2);
    const response = await fetch(`${server.url}${collection}/m1?watch=true&timeoutSeconds=1`, {
      headers: { authorization: 'Bearer secret' },
    });
    expect((await response.text()).trim().split('\n')).toHaveLength(1);
  });
});

describe('presentations', () => {
  test('a table has the columns of the kind and rows with metadata', async () => {
    fill(1);
    const { body, headers } = await get(collection, {
      accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json',
    });
    expect(headers.get('content-type')).toBe('application/json;as=Table;v=v1;g=meta.k8s.io');
    expect(body.columnDefinitions.map(({ name }) => name)).toEqual(['Name', 'Data', 'Age']);
    expect(body.rows[0]).toMatchObject({
      cells: ['m0', 1, expect.stringMatching(/s$/)],
      object: { kind: 'PartialObjectMetadata', metadata: { name: 'm0' } },
    });
  });

  test('partial metadata leaves the rest out', async () => {
    fill(1);
    const { body } = await get(collection, {
      accept: 'application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io',
    });
    expect(body.kind).toBe('PartialObjectMetadataList');
    expect(Object.keys(body.items[0] ?? {}).sort()).toEqual(['apiVersion', 'kind', 'metadata']);
  });

  test('unknown fields are a warning to those who do not ask for strictness', async () => {
    const reply = await call('POST', collection, { metadata: { name: 'w' }, datum: {} });
    expect(reply.status).toBe(201);
    expect(reply.headers.get('warning')).toBe('299 - "unknown field \\"datum\\""');
    expect(
      (await call('POST', `${collection}?fieldValidation=Strict`, { metadata: { name: 'w2' }, datum: {} })).status,
    ).toBe(400);
  });
});

describe('requests', () => {
  test('need the token, except for health', async () => {
    expect((await get('/api', { authorization: 'Bearer wrong' })).body).toMatchObject({
      code: 401,
      reason: 'Unauthorized',
    });
    expect((await get('/healthz', { authorization: '' })).body).toBe('ok');
  });

  test.each([
    ['GET', '/api/v1/nothings', undefined, {}, 404],
    ['GET', '/somewhere', undefined, {}, 404],
    ['GET', '/api/v1/namespaces/default/pods/x/log', undefined, {}, 404],
    ['POST', collection, '{not json', {}, 400],
    ['POST', collection, '[]', {}, 400],
    ['POST', collection, 'a=b', { 'content-type': 'application/x-www-form-urlencoded' }, 415],
    ['PATCH', `${collection}/x`, '{}', { 'content-type': 'application/merge-patch+json' }, 404],
    ['PUT', collection, '{}', {}, 405],
    ['POST', '/api/v1/configmaps', '{}', {}, 400],
    ['POST', `${collection}?dryRun=Some`, '{}', {}, 400],
    ['DELETE', `${collection}/x?gracePeriodSeconds=-1`, undefined, {}, 400],
    ['POST', collection, `{"metadata":{"name":"${'x'.repeat(3 * 1024 * 1024)}"}}`, {}, 413],
  ])('%s %s %.20s is answered with a Status', async (method, path, body, headers, code) => {
    maps.create({ metadata: { name: 'other' } });
    expect(await call(method, path, body, headers)).toMatchObject({
      status: code,
      body: { kind: 'Status', status: 'Failure', code },
    });
  });

  test('a patch of an unknown form is refused, with the known ones', async () => {
    fill(1);
    const reply = await call('PATCH', `${collection}/m0`, '{}', { 'content-type': 'application/json' });
    expect(reply.body.message).toContain('application/strategic-merge-patch+json');
  });

  test('collections are deleted by selector', async () => {
    fill(4);
    await call('DELETE', `${collection}?labelSelector=odd%3Dtrue`);
    expect(maps.list('default').map(({ metadata }) => metadata.name)).toEqual(['m0', 'm2']);
  });

  test('protobuf bodies of kubectl are understood', async () => {
    // `kubectl create namespace foo`, as kubectl 1.32 sends it.
    const body = Buffer.from(
      '6b3873000a0f0a02763112094e616d657370616365121b0a130a03666f6f12001a0022002a003200380042001200' +
        '1a020a001a002200',
      'hex',
    );
    const response = await fetch(`${server.url}/api/v1/namespaces`, {
      method: 'POST',
      headers: { authorization: 'Bearer secret', 'content-type': 'application/vnd.kubernetes.protobuf' },
      body,
    });
    expect(await response.json()).toMatchObject({
      kind: 'Namespace',
      metadata: { name: 'foo' },
      status: { phase: 'Active' },
    });
    const cut = await fetch(`${server.url}/api/v1/namespaces`, {
      method: 'POST',
      headers: { authorization: 'Bearer secret', 'content-type': 'application/vnd.kubernetes.protobuf' },
      body: body.subarray(0, 30),
    });
    expect(cut.status).toBe(415);
  });
});

test('discovery names every resource in both forms', async () => {
  const plain = await get('/apis/networking.k8s.io/v1');
  expect(plain.body.resources.map(({ name }) => name)).toEqual([
    'networkpolicies',
    'ingresses',
    'ingresses/status',
    'ingressclasses',
  ]);
  const { body } = await get('/apis', {
    accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json',
  });
  expect(body.kind).toBe('APIGroupDiscoveryList');
  expect(body.items.map(({ metadata }) => metadata.name)).toContain('coordination.k8s.io');
  expect((await get('/openapi/v3')).body.paths['api/v1']?.serverRelativeURL).toMatch(/^\/openapi\/v3\/api\/v1\?hash=/);
});

test('the certificate is its authority’s, for the addresses it was made for', async () => {
  const { ca, cert } = createServerCertificate(['127.0.0.1', 'fd00::1', 'node.local'], new Date());
  const [authority, certificate] = [new X509Certificate(ca), new X509Certificate(cert)];
  expect(authority.ca).toBe(true);
  expect(certificate.checkIssued(authority)).toBe(true);
  expect(certificate.verify(authority.publicKey)).toBe(true);
  expect(certificate.checkIP('fd00::1')).toBe('fd00::1');
  expect(certificate.checkHost('node.local')).toBe('node.local');
  expect(certificate.checkIP('10.0.0.1')).toBeUndefined();
});

test('a restart keeps everything, and watches go on from the last revision', async () => {
  const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-restart-`));
  const start = (): Promise<ApiServer> =>
    startApiServer({ listeners: [{ host: '127.0.0.1', port: 0 }], tls: false, database: join(directory, 'db') });
  try {
    const first = await start();
    const kept = first.store.resource('ciliumidentities').create({ metadata: { name: '300' }, 'security-labels': {} });
    await new Promise((resolve) => setImmediate(resolve));
    const { revision } = first.store.storage;
    await first.close();
    const second = await start();
    try {
      expect(second.store.resource('ciliumidentities').list()).toEqual([kept]);
      const watching = await fetch(
        `${second.url}/api/v1/namespaces?watch=1&resourceVersion=${revision}&timeoutSeconds=1`,
      );
      second.store.resource('namespaces').create({ metadata: { name: 'after' } });
      expect(await watching.text()).toContain('"name":"after"');
    } finally {
      await second.close();
    }
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('over TLS clients trust the kubeconfig’s authority', async () => {
  const secure = await startApiServer({ listeners: [{ host: '127.0.0.1', port: 0 }], database: ':memory:', crds: [] });
  try {
    const status = await new Promise<number>((resolve, reject) => {
      const call = request(`${secure.url}/version`, { ca: secure.certificate?.ca ?? '' }, (response) => {
        response.resume();
        resolve(response.statusCode ?? 0);
      });
      call.on('error', reject).end();
    });
    expect(status).toBe(200);
    expect(secure.kubeconfig()).toContain('certificate-authority-data');
  } finally {
    await secure.close();
  }
});
