/**
 * The agent's side of CNI: HTTP on a root-only unix socket, answered by handlers.
 *
 * - A request is validated before a handler sees it; whatever comes, the server answers with a `CniReply` and lives on.
 * - A stale socket is replaced; one that somebody listens on is an error.
 * - DELs that were queued while no agent listened are replayed before an ADD for the same attachment is handled.
 */
import { chmodSync, lstatSync, mkdirSync, renameSync, rmSync, statfsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { deleteQueueOf } from './cni-delete-queue.ts';
import { startReplay } from './cni-replay.ts';
import { type CniHandlers, type CniReply, cniCodes, cniError } from './cni-types.ts';
import { CniInvalid, parseAdd, parseAttachment, parseCheck, parseGc, shown } from './cni-validate.ts';

export interface CniServerOptions {
  path: string;
  handlers: CniHandlers;
  /** Defaults to `deleteQueue` beside the socket. */
  deleteQueue?: string;
  /** How long a handler may take before the runtime is told to try again. */
  handlerTimeoutMs?: number;
  log?(line: string): void;
}
export interface CniServer {
  readonly path: string;
  close(): Promise<void>;
}

const HANDLER_TIMEOUT_MS = 55_000;
const RECEIVE_TIMEOUT_MS = 5_000;
const BODY_BYTES_MAX = 4 << 20;
/** `sun_path` of linux/un.h, less the final NUL and the suffix of the unfinished socket. */
const PATH_BYTES_MAX = 107 - '.new'.length;
/** linux/magic.h. */
const NSFS_MAGIC = 0x6e736673;

export async function startCniServer(options: CniServerOptions): Promise<CniServer> {
  const { path, handlers, log = () => {} } = options;
  await claimPath(path);
  const replay = startReplay(options.deleteQueue ?? deleteQueueOf(path), handlers, log);
  const timeoutMs = options.handlerTimeoutMs ?? HANDLER_TIMEOUT_MS;
  const server = createServer((request, response) => {
    answer(request, handlers, replay.settled, timeoutMs).then(
      (reply) => send(response, reply),
      (error: unknown) => {
        log(`cni: ${request.method} ${request.url}: ${error instanceof Error ? error.stack : String(error)}`);
        send(response, {
          status: 500,
          reply: cniError(cniCodes.tryAgainLater, 'the agent failed on this request', String(error)),
        });
      },
    );
  });
  server.requestTimeout = RECEIVE_TIMEOUT_MS;
  server.headersTimeout = RECEIVE_TIMEOUT_MS;
  server.on('clientError', (_error, socket) => socket.destroy());
  await listen(server, path);
  replay.begin();
  return {
    path,
    async close() {
      replay.stop();
      server.closeAllConnections();
      await new Promise<void>((done) => server.close(() => done()));
      rmSync(path, { force: true });
    },
  };
}

/** Bound under another name and renamed: the path is never without a listener that was there before, nor open to others. */
async function listen(server: ReturnType<typeof createServer>, path: string): Promise<void> {
  const unfinished = `${path}.new`;
  rmSync(unfinished, { force: true });
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen(unfinished, done);
      process.umask(umask);
    });
  } finally {
    process.umask(umask);
  }
  chmodSync(unfinished, 0o600);
  renameSync(unfinished, path);
}

async function claimPath(path: string): Promise<void> {
  if (Buffer.byteLength(path) > PATH_BYTES_MAX) {
    throw new Error(`CNI socket ${path}: ${Buffer.byteLength(path)} bytes, expected at most ${PATH_BYTES_MAX}`);
  }
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const stat = lstatSync(path, { throwIfNoEntry: false });
  if (!stat) return;
  if (!stat.isSocket()) throw new Error(`CNI socket ${path}: exists and is not a socket`);
  const listening = await new Promise<boolean>((done) => {
    const probe = connect(path, () => done(true)).on('error', () => done(false));
    probe.on('connect', () => probe.destroy());
  });
  if (listening) throw new Error(`CNI socket ${path}: another agent listens on it`);
}

interface Answer {
  status: number;
  reply: unknown;
}

async function answer(
  request: IncomingMessage,
  handlers: CniHandlers,
  replayed: Replayed,
  timeoutMs: number,
): Promise<Answer> {
  const route = `${request.method} ${request.url}`;
  if (route === 'GET /v1/cni/status') return { status: 200, reply: { result: handlers.status() } };
  const handler = routes[route];
  if (!handler) {
    const known = ['GET /v1/cni/status', ...Object.keys(routes)].join(', ');
    return {
      status: 404,
      reply: cniError(cniCodes.decode, `unknown request ${shown(route)}`, `expected one of ${known}`),
    };
  }
  const body = await receive(request);
  if (body === undefined) {
    return {
      status: 413,
      reply: cniError(cniCodes.decode, 'request is too large', `expected at most ${BODY_BYTES_MAX} bytes`),
    };
  }
  try {
    const reply = await within(timeoutMs, handler(parseJson(body), handlers, replayed));
    return { status: reply.error ? 422 : 200, reply };
  } catch (error) {
    if (!(error instanceof CniInvalid)) throw error;
    return { status: 400, reply: cniError(cniCodes.decode, `invalid request: ${error.message}`, error.error.field) };
  }
}

/** Settles when no queued DEL of this attachment is under way. */
type Replayed = (containerId: string, ifname: string) => Promise<void>;
type Route = (body: unknown, handlers: CniHandlers, replayed: Replayed) => Promise<CniReply>;

const routes: Readonly<Record<string, Route>> = {
  'POST /v1/cni/add': async (body, handlers, replayed) => {
    const request = parseAdd(body);
    requireNetns(request.netns);
    await replayed(request.containerId, request.ifname);
    return handlers.add(request);
  },
  'POST /v1/cni/del': async (body, handlers) => handlers.del(parseAttachment(body)),
  'POST /v1/cni/check': async (body, handlers) => handlers.check(parseCheck(body)),
  'POST /v1/cni/gc': async (body, handlers) => handlers.gc(parseGc(body)),
};

function requireNetns(path: string): void {
  try {
    if (statfsSync(path).type === NSFS_MAGIC) return;
  } catch {
    // Falls through: what cannot be looked at is not a namespace that we could use either.
  }
  throw new CniInvalid({ field: 'netns', value: shown(path), expected: 'the path of an existing network namespace' });
}

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch (error) {
    throw new CniInvalid({
      field: 'body',
      value: shown(body),
      expected: `JSON (${error instanceof Error ? error.message : ''})`,
    });
  }
}

/** undefined: larger than allowed. */
async function receive(request: IncomingMessage): Promise<string | undefined> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function within(timeoutMs: number, reply: Promise<CniReply>): Promise<CniReply> {
  return new Promise((done, fail) => {
    const late = cniError(cniCodes.tryAgainLater, `the agent did not finish within ${timeoutMs} ms`);
    const timer = setTimeout(() => done(late), timeoutMs);
    reply.then(done, fail).finally(() => clearTimeout(timer));
  });
}

function send(response: ServerResponse, { status, reply }: Answer): void {
  if (response.headersSent || response.destroyed) return;
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' });
  response.end(JSON.stringify(reply));
}
