/** Each exporter against a receiver on loopback that speaks its protocol; what a dead, slow or full one costs. */
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage } from 'node:http';
import { type AddressInfo, createServer as createTcp } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Subject } from 'rxjs';
import { afterAll, beforeEach, expect, it } from 'vitest';
import type { Flow } from '../hubble/types.ts';
import { type ExportConfig, exportTrouble } from './config.ts';
import { type Exporters, startExporters } from './start.ts';

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-export-`));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

let flows$: Subject<Flow>;
let number = 0;
beforeEach(() => {
  flows$ = new Subject();
});

const end = (pod_name: string, identity: number) => ({
  ID: 0,
  identity,
  cluster_name: 'default',
  namespace: 'shop',
  labels: [`k8s:app=${pod_name}`],
  pod_name,
});

function flow(change: Partial<Flow> = {}): Flow {
  number++;
  return {
    time: { seconds: 1_700_000_000 + number, nanos: 123_456_789 },
    uuid: `uuid-${number}`,
    emitter: { name: 'Hubble', version: '0.1.0' },
    verdict: 'FORWARDED',
    IP: { source: '10.0.0.1', destination: 'fd00::2', ipVersion: 'IPv6' },
    l4: { TCP: { source_port: 40_000, destination_port: 8080, flags: { SYN: true } } },
    source: end('web', 300),
    destination: end('api=|\\', 301),
    Type: 'L3_L4',
    node_name: 'default/node-1',
    event_type: { type: 4, sub_type: 0 },
    traffic_direction: 'EGRESS',
    Summary: 'TCP Flags: SYN',
    ...change,
  };
}

function start(config: ExportConfig, log: (line: string) => void = () => {}): Promise<Exporters> {
  expect(exportTrouble([config])).toBe('');
  return startExporters([config], flows$, { nodeName: 'node-1', version: '0.1.0', log });
}

interface Received {
  headers: IncomingMessage['headers'];
  path: string | undefined;
  body: string;
}

/** An HTTP server that keeps what it gets, and answers with `status()`. */
async function receiver(status: () => number = () => 204) {
  const got: Received[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const code = status();
      if (code < 300) got.push({ headers: request.headers, path: request.url, body: Buffer.concat(chunks).toString() });
      response.writeHead(code, { 'content-type': 'application/json' }).end(code < 300 ? '{}' : 'try later');
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { got, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

it('writes lines to a file that only root reads, turns it over by size, and keeps so many', async () => {
  const path = join(directory, 'flows.ndjson');
  const exporters = await start({ type: 'file', path, maxSizeMb: 1, maxBackups: 2, capacity: 100_000 });
  flows$.next(flow());
  await expect.poll(() => existsSync(path) && readFileSync(path, 'utf8').endsWith('\n')).toBe(true);
  const [line] = readFileSync(path, 'utf8').trim().split('\n');
  expect(JSON.parse(line ?? '')).toMatchObject({ node_name: 'default/node-1', flow: { verdict: 'FORWARDED' } });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  for (let i = 0; i < 12_000; i++) flows$.next(flow());
  await expect.poll(() => exporters.stats()[0]?.sent, { timeout: 20_000 }).toBe(12_001);
  await exporters.close();
  expect([1, 2, 3].map((backup) => existsSync(`${path}.${backup}`))).toEqual([true, true, false]);
  expect(statSync(`${path}.1`).size).toBeGreaterThan(1 << 20);
});

it('pushes to Loki, with token and tenant, streams by node and verdict', async () => {
  const loki = await receiver();
  const tokenFile = join(directory, 'token');
  writeFileSync(tokenFile, 'hush\n', { mode: 0o600 });
  const url = `${loki.url}/loki/api/v1/push`;
  const exporters = await start({ type: 'loki', url, tokenFile, headers: { 'X-Scope-OrgID': 'team' } });
  const [one, two] = [flow(), flow({ verdict: 'DROPPED', drop_reason_desc: 'POLICY_DENIED' })];
  flows$.next(one);
  flows$.next(two);
  await exporters.close();
  await loki.close();
  expect(loki.got[0]).toMatchObject({
    path: '/loki/api/v1/push',
    headers: { authorization: 'Bearer hush', 'x-scope-orgid': 'team' },
  });
  const { streams } = JSON.parse(loki.got[0]?.body ?? '') as { streams: { stream: object; values: string[][] }[] };
  expect(streams.map(({ stream }) => stream)).toMatchObject([{ verdict: 'FORWARDED' }, { verdict: 'DROPPED' }]);
  expect(streams[1]?.values[0]?.[0]).toBe(`${two.time.seconds}123456789`);
  expect(JSON.parse(streams[1]?.values[0]?.[1] ?? '')).toMatchObject({ flow: { uuid: two.uuid } });
});

it('sends log records by OTLP', async () => {
  const collector = await receiver(() => 200);
  const exporters = await start({ type: 'otlp', url: `${collector.url}/v1/logs` });
  flows$.next(flow({ verdict: 'DROPPED', drop_reason_desc: 'POLICY_DENIED' }));
  await exporters.close();
  await collector.close();
  expect(collector.got[0]?.path).toBe('/v1/logs');
  const { resourceLogs } = JSON.parse(collector.got[0]?.body ?? '') as {
    resourceLogs: { resource: { attributes: unknown[] }; scopeLogs: { logRecords: Record<string, unknown>[] }[] }[];
  };
  expect(resourceLogs[0]?.resource.attributes).toContainEqual({
    key: 'service.name',
    value: { stringValue: 'axoneme' },
  });
  const record = resourceLogs[0]?.scopeLogs[0]?.logRecords[0];
  expect(record).toMatchObject({ severityText: 'WARN', timeUnixNano: expect.stringMatching(/123456789$/) });
  expect(record?.['attributes']).toContainEqual({ key: 'flow.verdict', value: { stringValue: 'DROPPED' } });
});

it('speaks syslog with CEF over TCP, escaped, and JSON over UDP', async () => {
  let stream = '';
  const server = createTcp((socket) => socket.on('data', (chunk) => (stream += chunk.toString()))).listen(
    0,
    '127.0.0.1',
  );
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const tcp = await start({ type: 'syslog', address: `127.0.0.1:${port}` });
  flows$.next(flow({ verdict: 'DROPPED', drop_reason_desc: 'POLICY_DENIED' }));
  await expect.poll(() => stream).toContain('duser=');
  await tcp.close();
  server.close();
  const [, length = '0', message = ''] = /^([0-9]+) (.*)$/s.exec(stream) ?? [];
  expect(Buffer.byteLength(message)).toBe(Number(length));
  expect(message).toMatch(
    /^<36>1 2023-11-1\dT[\d:]+\.123456Z node-1 axoneme - flow - CEF:0\|Axoneme\|axoneme\|0\.1\.0\|DROPPED\|/,
  );
  expect(message).toContain('src=10.0.0.1 spt=40000 dst=fd00::2 dpt=8080 reason=POLICY_DENIED');
  expect(message).toContain('duser=shop/api\\=|\\\\');

  const udp = createSocket('udp4').bind(0, '127.0.0.1');
  await once(udp, 'listening');
  const arrived = once(udp, 'message');
  const address = `127.0.0.1:${udp.address().port}`;
  const exporters = await start({ type: 'syslog', address, transport: 'udp', format: 'json', facility: 16 });
  flows$.next(flow());
  const [datagram] = (await arrived) as [Buffer];
  expect(datagram.toString()).toMatch(/^<134>1 .* axoneme - flow - \{"flow":/);
  await exporters.close();
  udp.close();
});

it('only what filters let through', async () => {
  const loki = await receiver();
  const exporters = await start({
    type: 'loki',
    url: loki.url,
    allow: [{ verdict: ['DROPPED'] }],
    deny: [{ source_identity: [300] }],
  });
  flows$.next(flow());
  flows$.next(flow({ verdict: 'DROPPED' }));
  const wanted = flow({ verdict: 'DROPPED', source: end('other', 302) });
  flows$.next(wanted);
  await exporters.close();
  await loki.close();
  const text = loki.got.map(({ body }) => body).join('');
  expect(text.match(/uuid-[0-9]+/g)).toEqual([wanted.uuid]);
});

it('a dead sink costs counted flows and nothing else; what waited arrives when it comes to life', async () => {
  let isUp = false;
  const loki = await receiver(() => (isUp ? 204 : 503));
  const lines: string[] = [];
  const exporters = await start({ type: 'loki', url: loki.url, capacity: 100 }, (line) => lines.push(line));
  for (let i = 0; i < 1_000; i++) flows$.next(flow());
  await expect.poll(() => exporters.stats()[0]).toMatchObject({ sent: 0, dropped: 900, queued: 100 });
  await expect.poll(() => exporters.stats()[0]?.error).toContain('503 try later');
  isUp = true;
  await expect.poll(() => exporters.stats()[0], { timeout: 10_000 }).toMatchObject({ sent: 100, queued: 0, error: '' });
  await exporters.close();
  await loki.close();
  expect(lines).toHaveLength(2);
});

it('a full disk is one more dead sink', async () => {
  const exporters = await start({ type: 'file', path: '/dev/full', capacity: 10 });
  for (let i = 0; i < 50; i++) flows$.next(flow());
  await expect.poll(() => exporters.stats()[0]?.error).toContain('ENOSPC');
  expect(exporters.stats()[0]).toMatchObject({ sent: 0, dropped: 40, queued: 10 });
  await exporters.close();
});

it('a disk that fills up leaves whole lines, and what waited follows once there is room', async () => {
  const disk = mkdtempSync(join(tmpdir(), `axt-${process.pid}-disk-`));
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'axt', disk]);
  try {
    const path = join(disk, 'flows.ndjson');
    const ballast = join(disk, 'ballast');
    writeFileSync(ballast, Buffer.alloc(40 << 10));
    const exporters = await start({ type: 'file', path, capacity: 60 });
    for (let i = 0; i < 80; i++) flows$.next(flow());
    await expect.poll(() => exporters.stats()[0]?.error, { timeout: 5_000 }).toContain('ENOSPC');
    expect(exporters.stats()[0]).toMatchObject({ sent: 0, dropped: 20, queued: 60 });
    expect(readFileSync(path, 'utf8')).toBe('');
    rmSync(ballast);
    await expect.poll(() => exporters.stats()[0]?.sent, { timeout: 15_000 }).toBe(60);
    const lines = readFileSync(path, 'utf8').trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { flow: object }).flow)).toHaveLength(60);
    await exporters.close();
  } finally {
    execFileSync('umount', [disk]);
    rmSync(disk, { recursive: true, force: true });
  }
}, 30_000);

it.each([
  [{ type: 'kafka' }, 'hubble.export[0].type is "kafka", expected file | loki | otlp | syslog'],
  [{ type: 'file' }, 'hubble.export[0].path is undefined, expected a path'],
  [{ type: 'file', path: '/x', maxSize: 3 }, 'hubble.export[0].maxSize: unknown'],
  [{ type: 'loki', url: 'loki:3100' }, 'hubble.export[0].url is "loki:3100", expected an http(s) URL'],
  [{ type: 'loki', url: 'http://me:secret@loki' }, 'hubble.export[0].url has a user or password, expected them in'],
  [{ type: 'syslog', address: 'siem' }, 'hubble.export[0].address is "siem", expected HOST:PORT'],
  [{ type: 'file', path: '/x', allow: [{ http_path: ['('] }] }, 'hubble.export[0].allow: filter http_path'],
  [{ type: 'file', path: '/x', capacity: 0 }, 'hubble.export[0].capacity is 0, expected a whole number'],
  ['file', 'hubble.export[0] is "file", expected an object'],
])('refuses %j by name', (config, expected) => {
  expect(exportTrouble([config])).toContain(expected);
});
