/** Recordings: what goes in comes out, secrets do not, and a broken file says where and why. */
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { AgentFacts, ClusterEvent, LogEntry } from './events.ts';
import { openRecording } from './recording.ts';
import { partsOf } from './recording-files.ts';
import {
  type ReadingPlace,
  type RecordingBatch,
  type RecordingItem,
  readBatches,
  readRecording,
} from './recording-reader.ts';
import { REDACTED, redact } from './recording-redact.ts';

const config: AgentFacts = {
  nodeName: 'n1',
  clusterName: 'default',
  devices: [],
  ipv4: true,
  ipv6: true,
  masquerade: true,
  mtu: 0,
  datapathBuild: 'b1',
};
const facts = { build: '0.1.0', node: 'n1', config, kernel: '6.18.0' };
const entry = (seq: number, event: ClusterEvent = { type: 'timer.fired', key: `t${seq}` }): LogEntry => ({
  seq,
  at: 1_000 * seq,
  source: 'test',
  event,
});
const pod = (spec: object, more: object = {}): ClusterEvent => ({
  type: 'kube.upserted',
  resource: 'pods',
  object: { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'web', labels: { app: 'token-ring' } }, spec, ...more },
});

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-recording-`));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function read(path = directory): Promise<RecordingItem[]> {
  const items: RecordingItem[] = [];
  for await (const item of readRecording(path)) items.push(item);
  return items;
}
const seqs = (items: RecordingItem[]): (number | string)[] =>
  items.map((item) => (item.kind === 'entry' ? item.entry.seq : item.kind));

function record(count: number, startedAt: number, limits = {}): void {
  const recording = openRecording(directory, facts, { startedAt, ...limits });
  for (let seq = 1; seq <= count; seq++) recording.write(entry(seq));
  recording.close();
}

describe('recording', () => {
  it('gives back what was written, run after run, and is for root only', async () => {
    record(2, 1_000);
    record(1, 2_000);
    const items = await read();
    expect(seqs(items)).toEqual(['run', 1, 2, 'run', 1]);
    expect(items[0]).toMatchObject({ header: { ...facts, startedAt: 1_000, part: 1 } });
    expect(items[2]).toMatchObject({ entry: entry(2), line: 3 });
    for (const file of partsOf(directory)) expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('begins a new part by size and by age, and reads them as one run', async () => {
    record(10, 1_000, { partBytesMax: 500 });
    record(10, 2_000, { partAgeMaxMs: 4_000 });
    expect(partsOf(directory).length).toBeGreaterThan(5);
    expect(seqs(await read())).toEqual(['run', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 'run', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  });

  it('drops the oldest parts beyond its share of the disk, and the reader says that the start is missing', async () => {
    record(20, 1_000, { partBytesMax: 500, totalBytesMax: 1_500 });
    await expect(read()).rejects.toThrow(/000001\.ndjson|:1: this is part \d+ of its run, expected part 1/);
  });

  it('loses at most the last line when the writer dies in it', async () => {
    record(3, 1_000);
    const [file = ''] = partsOf(directory);
    truncateSync(file, statSync(file).size - 10);
    expect(seqs(await read())).toEqual(['run', 1, 2, 'torn']);
    record(1, 2_000);
    expect(seqs(await read())).toEqual(['run', 1, 2, 'torn', 'run', 1]);
  });

  it.each(['gzip', 'zstd'] as const)(
    'packs files that are over as %s, those of the life before too, and reads them as before',
    async (packing) => {
      record(5, 1_000);
      const recording = openRecording(directory, facts, { startedAt: 2_000, partBytesMax: 500, packing });
      for (let seq = 1; seq <= 10; seq++) recording.write(entry(seq));
      recording.close();
      await recording.packed();
      const parts = partsOf(directory);
      expect(parts.filter((file) => file.endsWith('.ndjson'))).toEqual(parts.slice(-1));
      for (const file of parts) expect(statSync(file).mode & 0o777).toBe(0o600);
      expect(seqs(await read())).toEqual(['run', 1, 2, 3, 4, 5, 'run', 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
      // A packed file that is cut off gives what can be unpacked of it.
      const [first = ''] = parts;
      truncateSync(first, statSync(first).size - 20);
      expect(seqs(await read(first))).not.toContain(6);
    },
  );

  it('goes on from the place where a batch ended', async () => {
    record(50, 1_000, { partBytesMax: 500 });
    const batches: RecordingBatch[] = [];
    for await (const batch of readBatches(directory)) batches.push(batch);
    const from = batches[4]?.next as ReadingPlace;
    const rest: RecordingItem[] = [];
    for await (const { items } of readBatches(directory, { from })) rest.push(...items);
    expect(rest).toEqual(batches.slice(5).flatMap(({ items }) => items));
  });

  it('ends, and says so once, when it cannot write', () => {
    const failures: string[] = [];
    const recording = openRecording(directory, facts, {
      startedAt: 1,
      partBytesMax: 1,
      onFailure: (e) => failures.push(e.message),
    });
    rmSync(directory, { recursive: true });
    recording.write(entry(1));
    recording.write(entry(2));
    expect(failures).toEqual([expect.stringContaining('ENOENT')]);
  });
});

describe('a broken recording names the file, the line and what was expected', () => {
  const header = JSON.stringify({ format: 'axoneme-recording', version: 1, ...facts, startedAt: 1, part: 1 });
  it.each([
    ['no header', ['{"kind":"Pod"}'], /:1: expected a header .*got \{"kind":"Pod"\}/],
    [
      'another version',
      [header.replace('"version":1', '"version":9')],
      /:1: field version is 9, this build reads versions 1 to 2/,
    ],
    ['no JSON', [header, 'hello', '{}'], /:2: expected a line of JSON/],
    [
      'a gap',
      [header, JSON.stringify(entry(1)), JSON.stringify(entry(3))],
      /:3: field seq is 3, expected 2: entries are missing/,
    ],
    [
      'an unknown event',
      [header, JSON.stringify({ ...entry(1), event: { type: 'moon' } })],
      /:2: field event.type is "moon", expected one of kube.upserted/,
    ],
    [
      'a field of another type',
      [header, JSON.stringify(entry(1, { type: 'timer.fired', key: 7 as unknown as string }))],
      /:2: field event.key is 7, expected text/,
    ],
  ])('%s', async (_, lines, message) => {
    const file = join(directory, 'x.ndjson');
    writeFileSync(file, `${lines.join('\n')}\n`);
    await expect(read(file)).rejects.toThrow(message);
    await expect(read(file)).rejects.toThrow(file);
  });

  it('a lenient reader says each and goes on with what is good', async () => {
    const file = join(directory, 'x.ndjson');
    const lines = [
      header,
      JSON.stringify(entry(1)),
      'hello',
      JSON.stringify(entry(2)),
      JSON.stringify(entry(5)),
      JSON.stringify(entry(4)),
    ];
    const odd = JSON.stringify({ ...entry(6), event: { type: 'moon' } });
    writeFileSync(file, `${[...lines, odd, JSON.stringify(entry(6))].join('\n')}\n{"seq":7`);
    const items: RecordingItem[] = [];
    for await (const item of readRecording(file, { lenient: true })) items.push(item);
    const told = items.map((item) =>
      item.kind === 'fault' ? `${item.line}` : item.kind === 'entry' ? item.entry.seq : item.kind,
    );
    expect(told).toEqual(['run', 1, '3', 2, '5', 5, '6', '7', 6, 'torn']);
    expect(items.flatMap((item) => (item.kind === 'fault' ? [item.message] : []))[2]).toMatch(
      /out of order, or there a second time/,
    );
    writeFileSync(file, `${header.replace('"version":1', '"version":9')}\n${JSON.stringify(entry(1))}\n`);
    await expect(read(file)).rejects.toThrow(/written by a newer axoneme/);
    const future: RecordingItem[] = [];
    for await (const item of readRecording(file, { lenient: true })) future.push(item);
    expect(seqs(future)).toEqual(['fault', 'run', 1]);
  });

  it('nothing there', async () => {
    await expect(read(join(directory, 'none'))).rejects.toThrow(/none: no such file or directory/);
    await expect(read(directory)).rejects.toThrow(/no files \*\.ndjson/);
    appendFileSync(join(directory, 'empty.ndjson'), '');
    expect(await read()).toEqual([]);
  });
});

describe('secrets', () => {
  const planted = 'PLANTED-hunter2';
  const jwt = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJQTEFOVEVEIn0.c2lnbmF0dXJl';
  const pem = '-----BEGIN EC PRIVATE KEY-----\nPLANTED\n-----END EC PRIVATE KEY-----';
  const hiding: [string, object][] = [
    ['data of a Secret', { kind: 'Secret', data: { user: planted }, stringData: { deep: { er: planted } } }],
    ['an environment variable named like one', { env: [{ name: 'DB_PASSWORD', value: planted }] }],
    ['a field named like one', { apiToken: planted, wgPrivateKey: planted, 'preshared-key': planted, psk: planted }],
    ['a list named like one', { tokens: [planted, planted] }],
    ['a flag', { args: [`--password=${planted}`, '--auth-token', planted, `API_KEY=${planted}`] }],
    ['a URL', { image: `postgres://root:${planted}@db:5432/x` }],
    ['a header', { value: `Authorization: Bearer ${planted}abcdefgh` }],
    ['a JSON web token', { note: `x ${jwt} y` }],
    ['a private key', { config: `a\n${pem}\nb` }],
    ['an annotation', { annotations: { note: `users: the token: ${planted}`, other: `{"apiToken": "${planted}"}` } }],
    [
      'a kubeconfig',
      {
        text: `users:\n- name: a\n  user:\n    token: ${planted}\n    client-key-data: ${planted}\n    password: "${planted}"`,
      },
    ],
    [
      'a kubeconfig in JSON',
      { text: JSON.stringify({ users: [{ user: { token: planted, 'client-key-data': planted } }] }) },
    ],
    ['WireGuard’s configuration', { data: `[Interface]\nPrivateKey = ${planted}=\n[Peer]\nPresharedKey = ${planted}` }],
    [
      'a key of IPsec',
      { keys: '3 rfc4106(gcm(aes)) PLANTED0 128'.replace('PLANTED0', `${'5'.repeat(8)}1ead1ead`.padEnd(40, 'b')) },
    ],
    ['an access key', { env: [{ name: 'X', value: 'AKIAPLANTEDPLANTED00' }] }],
    [
      'what kubectl keeps',
      {
        annotations: {
          'kubectl.kubernetes.io/last-applied-configuration': JSON.stringify({ kind: 'Secret', data: { a: planted } }),
        },
      },
    ],
  ];

  it.each(hiding)('in %s are not recorded', (_, where) => {
    const recording = openRecording(
      directory,
      { ...facts, config: { ...config, token: planted } as AgentFacts },
      { startedAt: 1 },
    );
    recording.write(entry(1, pod(where, where)));
    recording.close();
    const text = readFileSync(partsOf(directory)[0] as string, 'utf8');
    expect(text).not.toMatch(/PLANTED|UExBTlRFRA|c2lnbmF0dXJl|1ead1ead/);
    expect(text).toContain(REDACTED);
  });

  it('are all that is hidden', () => {
    const open = entry(
      1,
      pod({
        containers: [
          {
            name: 'password-manager',
            env: [{ name: 'PATH', value: '/bin' }],
            args: ['--token-file=/x', '--secret-name=y'],
          },
        ],
        volumes: [{ secret: { secretName: 's', items: [{ key: 'a', path: 'b' }] } }],
        automountServiceAccountToken: true,
        serviceAccountName: 'x',
        imagePullSecrets: [{ name: 'pull' }],
      }),
    );
    expect(redact(open)).toBe(open);
    const texts = {
      note: 'a token=ring; the key: value of it',
      labels: ['k8s:token=ring'],
      key: 'identity/k8s:token=ring;/retry',
      age: 'tokens: 3',
    };
    expect(redact(texts)).toEqual(texts);
    const labels = {
      metadata: { labels: { 'password-manager': 'yes', token: 'ring' } },
      'security-labels': { 'k8s:token': 'ring' },
    };
    expect(redact(labels)).toBe(labels);
  });
});
