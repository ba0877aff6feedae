/** The pure parts of the embedded cluster: names, manifests, environment, status and endpoint slices as data. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Service, slicesOf } from './endpoint-slices.ts';
import { inOrderOfNeed, readManifests } from './manifests.ts';
import { netnsPrefix, podNetns } from './names.ts';
import type { Container, Pod } from './pod.ts';
import { argvOf, environmentOf } from './pod-env.ts';
import { type ContainerReport, podStatus } from './pod-status.ts';

function pod(
  name: string,
  over: {
    labels?: Record<string, string>;
    deletionTimestamp?: string;
    spec?: Partial<Pod['spec']>;
    status?: Pod['status'];
  } = {},
): Pod {
  const status = over.status ?? {
    phase: 'Running',
    podIPs: [{ ip: '10.0.1.2' }, { ip: 'fd00::2' }],
    conditions: [{ type: 'Ready', status: 'True' }],
  };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace: 'shop',
      uid: `uid-${name}`,
      labels: over.labels ?? { app: 'web' },
      ...(over.deletionTimestamp && { deletionTimestamp: over.deletionTimestamp }),
    },
    spec: {
      nodeName: 'node-1',
      containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 8080 }] }],
      ...over.spec,
    },
    status,
  };
}

describe('names', () => {
  test('a namespace bears cluster, namespace, pod and a piece of the uid', () => {
    expect(podNetns('demo', 'shop', 'web-0', 'u1')).toMatch(/^axo-demo\.shop\.web-0\.[0-9a-f]{5}$/);
    expect(podNetns('demo', 'shop', 'web-0', 'u1')).not.toBe(podNetns('demo', 'shop', 'web-0', 'u2'));
  });
  test('long ones are cut and stay different', () => {
    const [a, b] = ['a', 'b'].map((end) => podNetns('demo', 'n'.repeat(63), `${'p'.repeat(200)}${end}`, 'u'));
    expect(a?.length).toBeLessThan(90);
    expect(a).not.toBe(b);
  });
  test('no cluster is a prefix of another', () => {
    expect(podNetns('a-b', 'shop', 'web', 'u').startsWith(netnsPrefix('a'))).toBe(false);
  });
});

describe('manifests', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-`));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  const write = (file: string, text: string) => writeFileSync(join(directory, file), text);
  const minimal = (kind: string, name: string) => `apiVersion: v1\nkind: ${kind}\nmetadata: {name: ${name}}\n`;

  test('files in order of name, documents in order, namespaces first', () => {
    write('b.yaml', `${minimal('Namespace', 'late')}---\n---\n${minimal('Service', 's')}`);
    write('a.yml', minimal('Pod', 'p'));
    write('c.json', '{"kind":"List","items":[{"apiVersion":"v1","kind":"Pod","metadata":{"name":"q"}}]}');
    write('readme.md', 'not a manifest');
    const manifests = readManifests(directory);
    expect(manifests.map(({ object }) => object.metadata.name)).toEqual(['p', 'late', 's', 'q']);
    expect(inOrderOfNeed(manifests).map(({ object }) => object.metadata.name)).toEqual(['late', 'p', 's', 'q']);
    write('flows.json', '[{"id": 1}]');
    const others: string[] = [];
    expect(readManifests(directory, (file) => others.push(file))).toEqual(manifests);
    expect(others).toEqual([join(directory, 'flows.json')]);
    expect(() => readManifests(directory)).toThrow(
      'flows.json, document 1: is [{"id":1}], expected a Kubernetes object',
    );
    expect(manifests[3]?.origin).toBe(`${join(directory, 'c.json')}, document 1, items[0]`);
  });
  test.each([
    ['kind: Pod\nmetadata: {name: x}', /document 1: apiVersion is missing, expected text/],
    ['apiVersion: v1\nkind: 7\nmetadata: {name: x}', /document 1: kind is 7, expected text/],
    ['apiVersion: v1\nkind: Pod', /document 1: metadata is missing/],
    ['apiVersion: v1\nkind: Pod\nmetadata: {name: [x]}', /document 1: metadata.name is \["x"\]/],
    ['- 1', /document 1: is \[1\], expected a Kubernetes object/],
    [`${minimal('Pod', 'x')}---\na: [`, /document 2: .*Flow sequence/],
  ])('%j is refused by name', (text, message) => {
    write('bad.yaml', text);
    expect(() => readManifests(directory)).toThrow(message);
  });
  test('a path that is not there or holds nothing is refused', () => {
    expect(() => readManifests(join(directory, 'none'))).toThrow('no such file or directory');
    expect(() => readManifests(directory)).toThrow('no .yaml, .yml or .json file');
  });
});

describe('environment', () => {
  const facts = { pod: pod('web-0'), podIPs: ['10.0.1.2', 'fd00::2'], hostIPs: ['172.28.0.10'], kubeconfig: '/k' };
  const field = (name: string, fieldPath: string) => ({ name, valueFrom: { fieldRef: { fieldPath } } });
  test('fields of the pod, and references to variables before', () => {
    const env = [
      field('NAME', 'metadata.name'),
      field('IPS', 'status.podIPs'),
      field('APP', "metadata.labels['app']"),
      { name: 'URL', value: 'http://$(NAME)/$$(NAME)/$(NONE)' },
    ];
    const container: Container = { name: 'c', env, command: ['echo', '$(APP)'], args: ['$(date +%s)'] };
    const result = environmentOf(container, facts);
    expect(result).toMatchObject({
      NAME: 'web-0',
      IPS: '10.0.1.2,fd00::2',
      APP: 'web',
      URL: 'http://web-0/$(NAME)/$(NONE)',
      HOSTNAME: 'web-0',
    });
    expect(argvOf(container, result)).toEqual(['echo', 'web', '$(date +%s)']);
  });
  test('what cannot be had is named', () => {
    expect(() => environmentOf({ name: 'c', env: [field('X', 'spec.nope')] }, facts)).toThrow(
      'env X: fieldPath is spec.nope',
    );
    expect(() => environmentOf({ name: 'c', env: [{ name: 'S', valueFrom: { secretKeyRef: {} } }] }, facts)).toThrow(
      'valueFrom.secretKeyRef',
    );
  });
  test('without a command a container is played', () => {
    expect(argvOf({ name: 'c', args: ['x'] }, {})).toBeUndefined();
  });
});

describe('status', () => {
  const running = { kind: 'running' as const, startedAt: 't' };
  const ended = (exitCode: number) => ({
    kind: 'terminated' as const,
    exitCode,
    reason: '',
    message: '',
    startedAt: 't',
    finishedAt: 't',
  });
  const waiting = { kind: 'waiting' as const, reason: 'ContainerCreating', message: '' };
  const report = (state: ContainerReport['state'], restarts = 0): ContainerReport => ({
    name: 'c',
    image: 'i',
    id: 'x',
    state,
    lastState: undefined,
    restarts,
  });
  const status = (
    states: ContainerReport[],
    restartPolicy: 'Always' | 'OnFailure' | 'Never' = 'Always',
    before: Pod['status'] = {},
  ) =>
    podStatus({
      pod: pod('p', { spec: { restartPolicy }, status: before }),
      podIPs: ['10.0.0.1'],
      hostIPs: ['1.1.1.1'],
      initContainers: [],
      containers: states,
      startTime: 't',
      now: 'now',
    });
  const ready = (of: Record<string, unknown>) =>
    (of.conditions as { type: string; status: string }[]).find(({ type }) => type === 'Ready');

  test.each([
    ['Pending', 'False', [report(waiting)], 'Always'],
    ['Running', 'True', [report(running)], 'Always'],
    ['Running', 'False', [report(running), report(waiting)], 'Always'],
    ['Running', 'False', [report({ ...waiting, reason: 'CrashLoopBackOff' }, 2)], 'Always'],
    ['Running', 'False', [report(ended(1))], 'OnFailure'],
    ['Succeeded', 'False', [report(ended(0))], 'OnFailure'],
    ['Succeeded', 'False', [report(ended(0)), report(ended(0))], 'Never'],
    ['Failed', 'False', [report(ended(0)), report(ended(2))], 'Never'],
    ['Running', 'False', [report(ended(0))], 'Always'],
  ] as const)('%s, ready %s: %j %s', (phase, isReady, states, policy) => {
    const result = status([...states], policy);
    expect(result.phase).toBe(phase);
    expect(ready(result)?.status).toBe(isReady);
  });
  test('a condition keeps its time until it changes', () => {
    const before = { conditions: [{ type: 'Ready', status: 'True', lastTransitionTime: 'then' }] };
    expect(ready(status([report(running)], 'Always', before))).toMatchObject({ lastTransitionTime: 'then' });
    expect(ready(status([report(waiting)], 'Always', before))).toMatchObject({ lastTransitionTime: 'now' });
  });
});

describe('endpoint slices', () => {
  const service = (spec: Partial<Service['spec']> = {}): Service => ({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: 'web', namespace: 'shop', uid: 's' },
    spec: {
      selector: { app: 'web' },
      ports: [{ name: 'http', port: 80, targetPort: 'http' }],
      ipFamilies: ['IPv4', 'IPv6'],
      ...spec,
    },
  });
  const addresses = (slices: ReturnType<typeof slicesOf>) =>
    slices.map((slice) => (slice.endpoints as { addresses: string[] }[]).flatMap((e) => e.addresses));

  test('one for each family, with the pods that the selector means, named ports looked up', () => {
    const slices = slicesOf(service(), [pod('a'), pod('b', { labels: { app: 'other' } })]);
    expect(slices.map(({ metadata }) => metadata.name)).toEqual([
      expect.stringMatching(/^web-ipv4-[0-9a-f]{5}$/),
      expect.stringMatching(/^web-ipv6-[0-9a-f]{5}$/),
    ]);
    expect(addresses(slices)).toEqual([['10.0.1.2'], ['fd00::2']]);
    expect(slices[0]?.ports).toEqual([{ name: 'http', port: 8080, protocol: 'TCP' }]);
  });
  test('an unready pod is listed as not ready, a finished one not at all', () => {
    const unready = pod('a', { status: { phase: 'Running', podIPs: [{ ip: '10.0.1.3' }] } });
    const [slice] = slicesOf(service({ ipFamilies: ['IPv4'] }), [
      unready,
      pod('z', { status: { phase: 'Succeeded', podIPs: [{ ip: '10.0.1.4' }] } }),
    ]);
    expect(slice?.endpoints).toMatchObject([
      { addresses: ['10.0.1.3'], conditions: { ready: false, serving: false, terminating: false } },
    ]);
  });
  test('pods whose named ports differ are in slices of their own, numbered ports have one name', () => {
    const other = pod('b', {
      spec: { containers: [{ name: 'c', ports: [{ name: 'http', containerPort: 9090 }] }] },
    });
    const slices = slicesOf(service({ ipFamilies: ['IPv4'] }), [pod('a'), other]);
    expect(slices.map(({ ports }) => (ports as { port: number }[])[0]?.port)).toEqual([8080, 9090]);
    const [after] = slicesOf(service({ ipFamilies: ['IPv4'] }), [other]);
    expect(after?.metadata.name).toBe(slices[1]?.metadata.name);
    const numbered = service({ ports: [{ port: 80, targetPort: 8080 }], ipFamilies: ['IPv4'] });
    expect(slicesOf(numbered, []).map(({ metadata }) => metadata.name)).toEqual(['web-ipv4']);
  });
  test('a pod that is being deleted serves until it is not ready any more', () => {
    const going = (ready: boolean) =>
      pod('a', {
        deletionTimestamp: '2026-01-01T00:00:00Z',
        status: {
          phase: 'Running',
          podIPs: [{ ip: '10.0.1.2' }],
          conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
        },
      });
    const conditions = (of: Pod, spec: Partial<Service['spec']> = {}) =>
      slicesOf(service({ ipFamilies: ['IPv4'], ...spec }), [of]).map(
        ({ endpoints }) => (endpoints as { conditions: object }[])[0]?.conditions,
      );
    expect(conditions(going(true))).toEqual([{ ready: false, serving: true, terminating: true }]);
    expect(conditions(going(false))).toEqual([{ ready: false, serving: false, terminating: true }]);
    expect(conditions(going(true), { publishNotReadyAddresses: true })).toEqual([
      { ready: true, serving: true, terminating: true },
    ]);
  });
  test.each([
    [undefined, undefined],
    ['PreferClose', { forZones: [{ name: 'zone-a' }] }],
    ['PreferSameZone', { forZones: [{ name: 'zone-a' }] }],
    ['PreferSameNode', { forZones: [{ name: 'zone-a' }], forNodes: [{ name: 'node-1' }] }],
  ])('trafficDistribution %s becomes hints, and the zone is that of the node', (trafficDistribution, hints) => {
    const spec = { ipFamilies: ['IPv4'], ...(trafficDistribution && { trafficDistribution }) };
    const slices = slicesOf(service(spec), [pod('a')], new Map([['node-1', 'zone-a']]));
    const [endpoint] = slices.flatMap(({ endpoints }) => endpoints as { hints?: object }[]);
    expect(endpoint).toMatchObject({ zone: 'zone-a', nodeName: 'node-1' });
    expect(endpoint?.hints).toEqual(hints);
  });
  test('without a selector there are none', () => {
    expect(slicesOf(service({ selector: {} }), [pod('a')])).toEqual([]);
  });
});
