/** Objects as kubectl wrote them: read in every shape, and played as the control plane of a node. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../cluster/events.ts';
import {
  historyOf,
  isKubectlOutput,
  readKubectl,
  type WatchHistory,
  type WatchItem,
} from '../cluster/kubectl-watch.ts';
import { replayObjects } from './imported.ts';

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-imported-`));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let files = 0;
async function read(text: string): Promise<WatchItem[]> {
  const path = join(directory, `${++files}.json`);
  writeFileSync(path, text);
  const items: WatchItem[] = [];
  for await (const item of readKubectl(path)) items.push(item);
  return items;
}

const pod = (name: string, nodeName: string, ip: string, change: object = {}): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name, namespace: 'shop', uid: `uid-${name}`, labels: { app: name } },
  spec: { nodeName },
  status: { phase: 'Running', podIP: ip, podIPs: [{ ip }] },
  ...change,
});
const node = (name: string): KubeObject => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name },
  spec: { podCIDRs: ['10.0.1.0/24'] },
  status: { addresses: [{ type: 'InternalIP', address: '192.0.2.7' }] },
});
const service: KubeObject = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'web', namespace: 'shop' },
  spec: {
    clusterIP: '10.96.0.9',
    clusterIPs: ['10.96.0.9'],
    ipFamilies: ['IPv4'],
    ports: [{ port: 80, protocol: 'TCP' }],
  },
};
const slice: KubeObject = {
  apiVersion: 'discovery.k8s.io/v1',
  kind: 'EndpointSlice',
  metadata: { name: 'web-1', namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web' } },
  addressType: 'IPv4',
  ports: [{ port: 8080, protocol: 'TCP' }],
  endpoints: [{ addresses: ['10.0.1.5'], conditions: { ready: true } }],
};

function given(...items: object[]): Promise<WatchHistory> {
  const path = join(directory, `${++files}.json`);
  writeFileSync(path, items.map((item) => JSON.stringify(item)).join('\n'));
  return historyOf([path]);
}
const upserted = (object: KubeObject) => ({ type: 'MODIFIED', object });
const options = { node: '', version: 'test' };

describe('kubectl’s output', () => {
  it('is a list, objects in a row, or events; indented or not', async () => {
    const [a, b] = [pod('a', 'n', '10.0.1.5'), pod('b', 'n', '10.0.1.6')];
    const upserted = (object: KubeObject, line: number) => expect.objectContaining({ type: 'upserted', object, line });
    const expected = [upserted(a, 1), upserted(b, 1)];
    expect(await read(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: [a, b] }, undefined, 4))).toEqual(
      expected,
    );
    expect(await read(`${JSON.stringify(a, undefined, 1)}\n${JSON.stringify(b)}`)).toEqual([
      upserted(a, 1),
      upserted(b, 25),
    ]);
    const events = [
      { type: 'ADDED', object: a },
      { type: 'BOOKMARK', object: {} },
      { type: 'DELETED', object: a },
    ].map((event) => JSON.stringify(event, undefined, 2));
    expect(await read(events.join(''))).toMatchObject([
      { type: 'upserted', object: a, line: 1 },
      { type: 'deleted', object: a },
    ]);
  });

  it('may have braces and quotes in its texts, and may be cut off', async () => {
    const odd = pod('a', 'n', '10.0.1.5', { note: 'a "}" and \\{' });
    const text = JSON.stringify(odd);
    expect(await read(`${text}${text.slice(0, 40)}`)).toMatchObject([{ object: odd }, { type: 'torn', line: 1 }]);
  });

  it('of several files is one history: first lists, then changes by their versions', async () => {
    const versioned = (object: KubeObject, resourceVersion: string) => ({
      ...object,
      metadata: { ...object.metadata, resourceVersion },
    });
    const write = (...documents: object[]): string => {
      const path = join(directory, `${++files}.json`);
      writeFileSync(path, documents.map((one) => JSON.stringify(one, undefined, 1)).join('\n'));
      return path;
    };
    const [a, b] = [pod('a', 'n', '10.0.1.5'), pod('b', 'n', '10.0.1.6')];
    const pods = write(
      { type: 'ADDED', object: versioned(a, '5') },
      { type: 'ADDED', object: versioned(b, '3') },
      { type: 'BOOKMARK', object: {} },
      { type: 'MODIFIED', object: versioned(a, '12') },
      { type: 'DELETED', object: versioned(b, '20') },
    );
    const services = write({ type: 'ADDED', object: versioned(service, '15') });
    const { list, changes } = await historyOf([pods, services]);
    expect(list.map(({ object }) => object.metadata.name)).toEqual(['a', 'b']);
    const heard: string[] = [];
    for await (const item of changes) if ('object' in item) heard.push(`${item.type} ${item.object.metadata.name}`);
    expect(heard).toEqual(['upserted a', 'upserted web', 'deleted b']);
  });

  it('with an error or garbage in it is read on by a lenient reader, which says where', async () => {
    const path = join(directory, `${++files}.json`);
    const a = JSON.stringify(pod('a', 'n', '10.0.1.5'), undefined, 1);
    writeFileSync(path, `${a}\nError from server\n{"type":"ERROR","object":{"code":410}}\n${a}`);
    const items: WatchItem[] = [];
    for await (const item of readKubectl(path, true)) items.push(item);
    const lines = a.split('\n').length;
    expect(items.map(({ type, line }) => [type, line])).toEqual([
      ['upserted', 1],
      ['fault', lines + 1],
      ['fault', lines + 2],
      ['upserted', lines + 3],
    ]);
    await expect(
      readKubectl(path)
        .next()
        .then(() => read(`${a}\nError from server`)),
    ).rejects.toThrow(/json:\d+: .*expected JSON/);
  });

  it('is refused with its place when it is something else', async () => {
    await expect(read('{"kind":"Pod"}')).rejects.toThrow(/json:1: expected a Kubernetes object/);
    await expect(read('{"type":"CHANGED","object":{}}')).rejects.toThrow(/field type is "CHANGED"/);
    await expect(read('{"type":"ERROR","object":{"code":410}}')).rejects.toThrow(/ended with an error.*410/);
    await expect(read('{a}')).rejects.toThrow(/expected JSON/);
  });

  it('is told from a recording', () => {
    expect(isKubectlOutput('{\n    "apiVersion": "v1",')).toBe(true);
    expect(isKubectlOutput('{"format":"axoneme-recording","version":1,"kind":1')).toBe(false);
  });
});

describe('the control plane of a node', () => {
  it('has the rows of its pods and services, with their addresses', async () => {
    const others = pod('far', 'node-2', '10.0.2.5');
    const { engine, kernel } = await replayObjects(
      await given(...[node('node-1'), pod('web', 'node-1', '10.0.1.5'), others, service, slice].map(upserted)),
      { ...options, node: 'node-1' },
    );
    expect([...engine.actual('bpf.endpoints').keys()]).toEqual(['10.0.1.5']);
    expect([...engine.actual('bpf.frontends').keys()]).toEqual(['10.96.0.9:80/TCP']);
    expect([...engine.actual('bpf.backends').keys()]).toEqual(['10.0.1.5:8080/TCP']);
    expect([...kernel.rows()].length).toBeGreaterThan(0);
    expect(engine.stats().inFlight).toBe(0);
  });

  it('knows pods of other nodes by their labels, as policies see them', async () => {
    const remote = pod('far', 'node-2', '10.0.2.5', { status: { podIPs: [{ ip: '10.0.2.5' }], hostIP: '192.0.2.8' } });
    const other = { ...node('node-2'), status: { addresses: [{ type: 'InternalIP', address: '192.0.2.8' }] } };
    const objects = [node('node-1'), other, pod('web', 'node-1', '10.0.1.5'), remote];
    const { engine } = await replayObjects(await given(...objects.map(upserted)), { ...options, node: 'node-1' });
    const identity = (engine.actual('bpf.ipcache').get('10.0.2.5/32') as { identity?: number } | undefined)?.identity;
    expect(identity).toBeGreaterThanOrEqual(256);
    const gone = await given(...objects.map(upserted), { type: 'DELETED', object: remote });
    const after = await replayObjects(gone, { ...options, node: 'node-1' });
    expect(after.engine.actual('bpf.ipcache').has('10.0.2.5/32')).toBe(false);
  });

  it('follows what changes: a pod that goes leaves nothing, and ends are the same again and again', async () => {
    const web = pod('web', 'node-1', '10.0.1.5');
    const items = [upserted(node('node-1')), upserted(web), { type: 'DELETED', object: web }];
    const [one, two] = [
      await replayObjects(await given(...items), options),
      await replayObjects(await given(...items), options),
    ];
    expect([...one.engine.actual('bpf.endpoints')]).toEqual([]);
    expect(one.digest).toEqual(two.digest);
  });

  it('asks whose it is when objects name several nodes, or none', async () => {
    await expect(replayObjects(await given(upserted(node('a')), upserted(node('b'))), options)).rejects.toThrow(
      'several nodes: a, b; choose one with --node',
    );
    await expect(replayObjects(await given(upserted(service)), options)).rejects.toThrow(/no object names a node/);
  });
});
