/** The CNI server: its socket, its answers to good, bad and odd requests, and the queue of DELs. */
import { chmodSync, existsSync, lstatSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { deleteQueueOf, enqueueDelete, readDeleteQueue } from './cni-delete-queue.ts';
import { type CniServer, type CniServerOptions, startCniServer } from './cni-server.ts';
import type { CniHandlers, CniReply } from './cni-types.ts';

const add = {
  containerId: 'c0ffee',
  ifname: 'eth0',
  netns: '/proc/self/ns/net',
  podNamespace: 'default',
  podName: 'web-0',
  podUid: '',
};

let directory: string;
let path: string;
let server: CniServer | undefined;
let calls: string[];
let lines: string[];

const handlers: CniHandlers = {
  add: async (r) => note('add', r, { result: { link: 'lxc1' } }),
  del: async (r) => note('del', r, {}),
  check: async (r) => note('check', r, {}),
  gc: async (r) => note('gc', r, {}),
  status: () => ({ ready: true, reason: '' }),
};
function note(name: string, value: unknown, reply: CniReply): CniReply {
  calls.push(`${name} ${JSON.stringify(value)}`);
  return reply;
}
async function start(options: Partial<CniServerOptions> = {}): Promise<void> {
  server = await startCniServer({ path, handlers, log: (line) => lines.push(line), ...options });
}
function ask(method: string, url: string, body: string | Buffer): Promise<{ status: number; reply: CniReply }> {
  return new Promise((done, fail) => {
    const headers = { 'content-length': Buffer.byteLength(body) };
    const call = request({ socketPath: path, method, path: url, headers }, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      done({ status: response.statusCode ?? 0, reply: JSON.parse(Buffer.concat(chunks).toString()) });
    });
    call.on('error', fail);
    call.end(body);
  });
}
const post = (verb: string, body: unknown) => ask('POST', `/v1/cni/${verb}`, JSON.stringify(body));

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-`));
  path = join(directory, 'cni.sock');
  calls = [];
  lines = [];
});
afterEach(async () => {
  await server?.close();
  server = undefined;
  rmSync(directory, { recursive: true, force: true });
});

describe('socket', () => {
  test('is for root only, and gone after close', async () => {
    await start();
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
    await server?.close();
    server = undefined;
    expect(existsSync(path)).toBe(false);
  });
  test('replaces a stale one', async () => {
    const stale = createServer().listen(path);
    await new Promise((done) => stale.on('listening', done));
    // libuv unlinks on close; a killed process does not.
    const kept = `${path}.kept`;
    const { renameSync } = await import('node:fs');
    renameSync(path, kept);
    await new Promise((done) => stale.close(done));
    renameSync(kept, path);
    chmodSync(path, 0o777);
    await start();
    expect((await ask('GET', '/v1/cni/status', '')).reply).toEqual({ result: { ready: true, reason: '' } });
    expect(lstatSync(path).mode & 0o777).toBe(0o600);
  });
  test('refuses to push a living agent away', async () => {
    await start();
    await expect(startCniServer({ path, handlers })).rejects.toThrow('another agent listens');
  });
  test('refuses a path that is a file, or too long', async () => {
    writeFileSync(path, 'precious');
    await expect(start()).rejects.toThrow('not a socket');
    path = join(directory, 'x'.repeat(120));
    await expect(start()).rejects.toThrow('expected at most 103');
  });
});

describe('requests', () => {
  test('a good one reaches its handler', async () => {
    await start();
    expect(await post('add', add)).toEqual({ status: 200, reply: { result: { link: 'lxc1' } } });
    expect(calls).toEqual([
      `add ${JSON.stringify({ containerId: 'c0ffee', ifname: 'eth0', netns: add.netns, podNamespace: 'default', podName: 'web-0', podUid: '' })}`,
    ]);
  });
  test.each([
    ['containerId', { ...add, containerId: '../etc' }],
    ['containerId', { ...add, containerId: undefined }],
    ['ifname', { ...add, ifname: 'a-name-that-is-too-long' }],
    ['ifname', { ...add, ifname: 'eth/0' }],
    ['netns', { ...add, netns: 'relative' }],
    ['netns', { ...add, netns: '/nowhere' }],
    ['netns', { ...add, netns: '/etc/passwd' }],
    ['podNamespace', { ...add, podNamespace: 'a/b' }],
    ['podName', { ...add, podName: '' }],
    ['podUid', { ...add, podUid: 7 }],
    ['body', []],
  ])('a bad %s is named, and no handler sees it', async (field, body) => {
    await start();
    const { status, reply } = await post('add', body);
    expect(status).toBe(400);
    expect(reply.error).toMatchObject({
      code: 6,
      details: field,
      msg: expect.stringMatching(new RegExp(`${field} is .+, expected `)),
    });
    expect(calls).toEqual([]);
  });
  test('one that is too large, unknown or unfinished is refused', async () => {
    await start();
    expect((await ask('POST', '/v1/cni/gc', Buffer.alloc(5 << 20, 32))).status).toBe(413);
    expect((await ask('POST', '/v1/cni/nothing', '{}')).status).toBe(404);
    expect((await ask('POST', '/v1/cni/del', '{"containerId":')).reply.error?.details).toBe('body');
  });
  test('a handler that throws or hangs means try again', async () => {
    const broken = {
      ...handlers,
      add: () => new Promise<never>(() => {}),
      del: () => Promise.reject(new Error('boom')),
    };
    await start({ handlers: broken, handlerTimeoutMs: 50 });
    expect((await post('add', add)).reply.error?.code).toBe(11);
    expect((await post('del', add)).reply.error).toMatchObject({ code: 11, details: 'Error: boom' });
  });
});

describe('delete queue', () => {
  test('is replayed at start; what is no request is reported and removed', async () => {
    const queue = deleteQueueOf(path);
    enqueueDelete(queue, { containerId: 'a', ifname: 'eth0' });
    enqueueDelete(queue, { containerId: 'a', ifname: 'eth0' });
    enqueueDelete(queue, { containerId: 'b', ifname: 'eth0' });
    writeFileSync(join(queue, 'junk.json'), '{"containerId":"..","ifname":"eth0"}');
    mkdirSync(join(queue, 'directory.json'));
    writeFileSync(join(queue, 'x:eth0.json'), '{"containerId":"y","ifname":"eth0"}');
    await start();
    await expect.poll(() => readDeleteQueue(queue)).toEqual({ requests: [], refused: [] });
    expect(calls.sort()).toEqual([
      'del {"containerId":"a","ifname":"eth0"}',
      'del {"containerId":"b","ifname":"eth0"}',
    ]);
    expect(lines.filter((line) => line.includes('removed from the delete queue'))).toHaveLength(3);
  });
  test('a DEL that fails stays, and an ADD waits for it', async () => {
    const queue = deleteQueueOf(path);
    enqueueDelete(queue, { containerId: add.containerId, ifname: add.ifname });
    const slow = new Promise<CniReply>((done) =>
      setTimeout(() => done({ error: { code: 11, msg: 'not now', details: '' } }), 100),
    );
    await start({ handlers: { ...handlers, del: (r) => slow.then((reply) => note('del', r, reply)) } });
    await post('add', add);
    expect(calls.map((call) => call.split(' ')[0])).toEqual(['del', 'add']);
    expect(readDeleteQueue(queue).requests).toHaveLength(1);
  });
});

test('no request, however odd, stops the server', async () => {
  await start();
  const verb = fc.constantFrom('add', 'del', 'check', 'gc', 'status', '', '../..');
  const odd = fc.oneof(
    fc.jsonValue().map((value) => JSON.stringify(value)),
    fc.string(),
    fc
      .record(
        {
          containerId: fc.oneof(fc.constant('c'), fc.string(), fc.integer()),
          ifname: fc.oneof(fc.constant('eth0'), fc.string()),
          netns: fc.oneof(fc.constant(add.netns), fc.string()),
          podNamespace: fc.string(),
          podName: fc.anything(),
          addresses: fc.array(fc.string()),
          validAttachments: fc.anything(),
        },
        { requiredKeys: [] },
      )
      .map((value) => JSON.stringify(value)),
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('POST', 'GET', 'PUT'), verb, odd, async (method, name, body) => {
      const { status, reply } = await ask(method, `/v1/cni/${name}`, body);
      expect(status).toBeGreaterThanOrEqual(200);
      expect(reply.error !== undefined).toBe(status !== 200);
    }),
    { numRuns: 300 },
  );
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
      await new Promise<void>((done) => {
        const socket = connect(path, () => socket.end(bytes));
        socket
          .on('error', () => {})
          .on('close', () => done())
          .resume();
      });
    }),
    { numRuns: 100 },
  );
  expect((await ask('GET', '/v1/cni/status', '')).status).toBe(200);
}, 30_000);
