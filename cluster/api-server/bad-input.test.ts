/** Whatever a client sends, the answer is a Status of the client's making: never a crash, never an internal error. */
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { crdObjects } from '../crds/index.ts';
import { ApiError } from './errors.ts';
import { type ApiServer, startApiServer } from './index.ts';
import type { ApiObject, JsonRecord } from './types.ts';
import { isRecord } from './types.ts';

let server: ApiServer;
beforeAll(async () => {
  server = await startApiServer({ listeners: [], tls: false, database: ':memory:' });
});
afterAll(() => server.close());

const seeds: JsonRecord[] = [
  {
    kind: 'Pod',
    spec: {
      nodeName: 'n',
      hostAliases: [{ ip: '10.0.0.1' }],
      volumes: [{ name: 'v', configMap: { name: 'm' } }],
      tolerations: [{ key: 'k' }],
      containers: [
        {
          name: 'c',
          image: 'i:1',
          ports: [{ name: 'http', containerPort: 80, protocol: 'TCP' }],
          env: [{ name: 'E', value: '1' }],
          resources: { limits: { cpu: 1 } },
          volumeMounts: [{ name: 'v', mountPath: '/v' }],
          readinessProbe: { httpGet: { port: 80 } },
        },
      ],
    },
  },
  {
    kind: 'Service',
    spec: {
      type: 'NodePort',
      selector: { a: 'b' },
      clusterIP: '10.96.0.200',
      clusterIPs: ['10.96.0.200'],
      ipFamilies: ['IPv4'],
      ports: [{ name: 'a', port: 80, nodePort: 30500 }],
    },
  },
  {
    kind: 'Node',
    spec: { podCIDR: '10.0.0.0/24', podCIDRs: ['10.0.0.0/24'] },
    status: {
      addresses: [{ type: 'InternalIP', address: '10.0.0.1' }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  },
  {
    kind: 'NetworkPolicy',
    spec: {
      podSelector: { matchExpressions: [{ key: 'a', operator: 'In', values: ['b'] }] },
      ingress: [
        { from: [{ ipBlock: { cidr: '10.0.0.0/8', except: ['10.1.0.0/16'] } }], ports: [{ port: 80, endPort: 90 }] },
      ],
    },
  },
  {
    kind: 'EndpointSlice',
    addressType: 'IPv4',
    endpoints: [{ addresses: ['10.0.0.1'] }],
    ports: [{ name: 'a', port: 80 }],
  },
  { kind: 'ConfigMap', data: { a: 'b' }, binaryData: { c: 'YQ==' } },
  { kind: 'Secret', data: { a: 'YQ==' }, stringData: { b: 'c' } },
  { kind: 'Namespace', spec: { finalizers: ['kubernetes'] } },
  {
    kind: 'Ingress',
    spec: {
      rules: [
        {
          host: 'a.b',
          http: {
            paths: [{ path: '/', pathType: 'Prefix', backend: { service: { name: 's', port: { number: 80 } } } }],
          },
        },
      ],
      tls: [{ hosts: ['a.b'] }],
    },
  },
  {
    kind: 'CiliumNetworkPolicy',
    spec: {
      endpointSelector: { matchLabels: { a: 'b' } },
      egress: [
        {
          toFQDNs: [{ matchName: 'a.b' }],
          toPorts: [{ ports: [{ port: '53' }], rules: { dns: [{ matchPattern: '*' }] } }],
        },
      ],
    },
  },
  { kind: 'CustomResourceDefinition', ...(structuredClone(crdObjects()[5]) as unknown as JsonRecord) },
];

const junk = fc.oneof(
  fc.constantFrom<unknown>(
    null,
    '',
    0,
    -1,
    1e308,
    [],
    {},
    [null],
    [[]],
    { a: null },
    'a'.repeat(300),
    '__proto__',
    '10.0.0.0/8/8',
    ':::',
    true,
  ),
  fc.jsonValue({ maxDepth: 2 }),
);

/** Where to change it: each number picks a field or an item on the way down. */
interface Mutation {
  path: number[];
  value: unknown;
  remove: boolean;
}
const mutation: fc.Arbitrary<Mutation> = fc.record({
  path: fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }),
  value: junk,
  remove: fc.boolean(),
});

/** A copy goes in: a later mutation of the same list must not reach into it through itself, JSON has no cycles. */
function mutate(root: JsonRecord, { path, value, remove }: Mutation): void {
  let at: JsonRecord | unknown[] = root;
  for (const [i, step] of path.entries()) {
    const keys = Object.keys(at);
    const key = keys[step % Math.max(keys.length, 1)];
    if (key === undefined) return;
    const inner: unknown = (at as JsonRecord)[key];
    if (i < path.length - 1 && (isRecord(inner) || Array.isArray(inner))) at = inner;
    else {
      if (remove && Array.isArray(at)) at.splice(Number(key), 1);
      else if (remove) delete (at as JsonRecord)[key];
      else (at as JsonRecord)[key] = structuredClone(value);
      return;
    }
  }
}

/** Everything that is done with an object once it is there. */
function exercise(kind: string, body: JsonRecord, other: JsonRecord): void {
  const handle = server.store.resource(kind);
  const namespace = handle.type.namespaced ? 'default' : '';
  let created: ApiObject | undefined;
  try {
    created = server.store.create(handle.type, namespace, body);
    for (const column of handle.type.columns) column.value(created, Date.now());
    server.store.update(handle.type, namespace, created.metadata.name, other);
    server.store.update(handle.type, namespace, created.metadata.name, other, { subresource: 'status' });
  } catch (error) {
    if (!(error instanceof ApiError) || error.status.code >= 500) throw error;
  } finally {
    const left = created && handle.find(namespace, created.metadata.name);
    if (left) {
      server.store.storage.delete(handle.type.storageKey, namespace, left.metadata.name);
    }
  }
}

test('in bodies of every kind', { timeout: 120_000 }, () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...seeds),
      fc.array(mutation, { minLength: 1, maxLength: 4 }),
      fc.array(mutation, { maxLength: 3 }),
      (seed, first, second) => {
        const kind = String(seed.kind);
        const body: JsonRecord = {
          ...structuredClone(seed),
          metadata: { name: 'x', labels: { a: 'b' }, ...(structuredClone(seed.metadata) as object | undefined) },
        };
        const other = structuredClone(body);
        for (const one of first) mutate(body, one);
        for (const one of second) mutate(other, one);
        exercise(kind, body, other);
      },
    ),
    { numRuns: 4000 },
  );
});

test('in patches', { timeout: 60_000 }, () => {
  const pods = server.store.resource('pods');
  const seed = structuredClone(seeds[0]) as JsonRecord;
  fc.assert(
    fc.property(fc.array(mutation, { minLength: 1, maxLength: 3 }), (mutations) => {
      const applied = structuredClone(seed);
      for (const one of mutations) mutate(applied, one);
      try {
        server.store.apply(pods.type, 'default', 'applied', applied, { fieldManager: 'fuzz', force: true });
      } catch (error) {
        if (!(error instanceof ApiError) || error.status.code >= 500) throw error;
      }
    }),
    { numRuns: 1000 },
  );
  expect(server.store.get(server.store.resource('namespaces').type, '', 'default')).toBeDefined();
});
