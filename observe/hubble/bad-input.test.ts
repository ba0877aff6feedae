/** Clients that send rubbish, read nothing, or vanish: none of them costs the others anything. */
import { mkdtempSync, rmSync } from 'node:fs';
import { type ClientHttp2Session, connect as connectHttp2 } from 'node:http2';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { HubbleClient } from './client.ts';
import { compileFilters } from './filter.ts';
import type { GetFlowsResponse } from './observer.ts';
import { Servers } from './servers.ts';
import type { HubbleSource } from './source.ts';
import { timestampOf } from './types.ts';

const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-bad-`));
const socket = join(directory, 'hubble.sock');
const GET_FLOWS = '/observer.Observer/GetFlows';
const INVALID_ARGUMENT = '3';

let given = 0;
let open = 0;
const answer: GetFlowsResponse = {
  flow: { uuid: 'x'.repeat(1_000) },
  node_name: 'n',
  time: timestampOf(1n),
};
/** Has more whenever a reader takes more. */
async function* endless(signal: AbortSignal): AsyncGenerator<GetFlowsResponse> {
  open++;
  try {
    for (; !signal.aborted; given++) {
      if (given % 64 === 0) await sleep(0);
      yield answer;
    }
  } finally {
    open--;
  }
}
const source: HubbleSource = {
  version: '1',
  versionHeader: 'hubble-server-version',
  flows({ whitelist }, signal) {
    compileFilters(whitelist);
    return endless(signal);
  },
  status: () => ({ num_flows: 1, max_flows: 1, seen_flows: 1, uptime_ns: 1, version: '1', flows_rate: 0 }),
  namespaces: () => [],
};
const servers = new Servers({ socket, listen: '', tlsCert: '', tlsKey: '', tlsClientCa: '' }, source);
let good: HubbleClient;

beforeAll(async () => {
  await servers.open();
  good = new HubbleClient(`unix://${socket}`);
});
afterAll(async () => {
  good?.close();
  await servers.close();
  rmSync(directory, { recursive: true, force: true });
});

async function eventually(what: string, is: () => boolean): Promise<void> {
  for (const end = Date.now() + 15_000; !is(); await sleep(20)) if (Date.now() > end) throw new Error(`not: ${what}`);
}

const session = (): ClientHttp2Session => {
  const made = connectHttp2('http://hubble', { createConnection: () => connect(socket) });
  made.on('error', () => {});
  return made;
};

/** The status that a call of these bytes ends with; 'reset' when it is cut. */
function called(
  from: ClientHttp2Session,
  body: Uint8Array,
  { path = GET_FLOWS, ...headers }: Record<string, string> = {},
): Promise<string> {
  return new Promise((resolve) => {
    const call = from.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
    });
    let status = '';
    const take = (all: Record<string, unknown>): void => {
      status ||= String(all['grpc-status'] ?? (all[':status'] === 200 ? '' : `http ${all[':status']}`));
    };
    call
      .on('response', take)
      .on('trailers', take)
      .on('error', () => {});
    // A request that is good after all gets flows without end.
    call.once('data', () => call.close());
    call.on('data', () => {});
    call.on('close', () => resolve(status || 'reset'));
    call.end(body);
  });
}

const framed = (message: Uint8Array, { flag = 0, length = message.length } = {}): Buffer => {
  const head = Buffer.alloc(5);
  head.writeUInt8(flag);
  head.writeUInt32BE(length, 1);
  return Buffer.concat([head, message]);
};

it('refuses what is no message, and serves the next', async () => {
  const from = session();
  const cases: [Uint8Array, Record<string, string>?][] = [
    [framed(Buffer.from([0x32, 0x7f, 0x01]))], // a filter that is longer than the message
    [framed(Buffer.from([0x0f, 0xff, 0xff]))], // a wire type that does not exist
    [framed(Buffer.alloc(10), { length: 1_000 })], // cut short
    [framed(Buffer.alloc(0), { length: 0xffffffff })], // four gigabytes are announced
    [framed(Buffer.alloc((1 << 20) + 1))], // more than is taken
    [framed(Buffer.from([1, 2, 3]), { flag: 1 })], // compressed, and nobody says how
    [framed(Buffer.from([1, 2, 3]), { flag: 1 }), { 'grpc-encoding': 'gzip' }],
    [framed(Buffer.alloc(0)), { 'grpc-encoding': 'no-such' }],
    [framed(Buffer.alloc(0)), { path: '/observer.Observer/NoSuch' }],
    [framed(Buffer.alloc(0)), { 'content-type': 'text/html' }],
    [Buffer.alloc(0)],
  ];
  for (const [body, headers] of cases) {
    const status = await called(from, body, headers);
    expect(status, JSON.stringify(headers ?? body.subarray(0, 12))).not.toBe('0');
    expect(await good.status()).toMatchObject({ num_flows: 1 });
  }
  from.destroy();
}, 30_000);

it('lives through any bytes, as message and as connection', async () => {
  let from = session();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), fc.boolean(), async (bytes, isFramed) => {
      if (from.destroyed) from = session();
      await called(from, isFramed ? framed(bytes) : bytes);
    }),
    { numRuns: 60 },
  );
  from.destroy();
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.boolean(), async (bytes, hasPreface) => {
      const raw = await opened();
      if (hasPreface) raw.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
      raw.end(bytes);
      raw.destroySoon();
    }),
    { numRuns: 60 },
  );
  expect(await good.status()).toMatchObject({ num_flows: 1 });
}, 60_000);

const opened = (): Promise<Socket> =>
  new Promise((resolve, reject) => {
    const raw = connect(socket, () => resolve(raw)).on('error', reject);
    raw.on('error', () => raw.destroy());
  });

it('a regular expression that is none is the client’s mistake, and is named', async () => {
  await expect(good.flows({ whitelist: [{ http_path: ['('] }] }).next()).rejects.toThrow(/filter http_path: "\("/);
  const from = session();
  // whitelist { http_path: "(" }
  expect(await called(from, framed(Buffer.from([0x32, 4, 0xb2, 0x01, 1, 0x28])))).toBe(INVALID_ARGUMENT);
  from.destroy();
});

it('a server that is not there is named, and why, in few words', async () => {
  const nobody = new HubbleClient('unix:///nowhere/hubble.sock');
  await expect(nobody.status()).rejects.toThrow(
    /^unix:\/\/\/nowhere\/hubble.sock: connect ENOENT \/nowhere\/hubble.sock$/,
  );
  nobody.close();
});

it('a hundred readers that read nothing hold little and slow nobody; gone, they are forgotten', async () => {
  const raws: Socket[] = [];
  const before = given;
  for (let i = 0; i < 100; i++) {
    const raw = await opened();
    raw.pause();
    raws.push(raw);
    const slow = connectHttp2('http://hubble', { createConnection: () => raw });
    slow.on('error', () => {});
    const call = slow.request({
      ':method': 'POST',
      ':path': GET_FLOWS,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    call.on('error', () => {});
    call.end(framed(Buffer.alloc(0)));
  }
  await eventually('all follow', () => open === 100);
  // Every reader is filled up to its window, and then nothing more is made for it.
  for (let last = -1; last !== given; await sleep(300)) last = given;
  expect((given - before) / 100).toBeLessThan(500);
  const asked = performance.now();
  expect(await good.status()).toMatchObject({ num_flows: 1 });
  let got = 0;
  for await (const _ of good.flows({})) if (++got === 1_000) break;
  expect(performance.now() - asked).toBeLessThan(10_000);
  for (const raw of raws) raw.destroy();
  await eventually('all are forgotten', () => open === 0);
}, 60_000);
