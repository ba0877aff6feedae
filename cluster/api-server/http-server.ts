/** The HTTP side: authentication, bodies in and out, and everything that is not a resource. */
import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { gzipSync } from 'node:zlib';
import { parse as parseYaml } from 'yaml';
import { discovery, versionInfo } from './discovery.ts';
import { ApiError, badRequest, pathNotFound, tooLarge, unauthorized, unsupportedMediaType } from './errors.ts';
import { type Answer, handleResource } from './handlers.ts';
import type { OpenApi } from './openapi.ts';
import { ProtobufError } from './protobuf.ts';
import { protobufMediaType, readProtobufBody } from './protobuf-bodies.ts';
import { resourcePath } from './request-info.ts';
import type { Store } from './store.ts';

const bodyBytesMax = 3 * 1024 * 1024;
const gzipBytesMin = 128 * 1024;

export interface HttpContext {
  store: Store;
  openApi: OpenApi;
  /** Undefined: everyone may do everything. */
  token: string | undefined;
  now: () => number;
}

export async function handleRequest(
  context: HttpContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const answer = await respond(context, request, response);
    if (answer) send(request, response, answer);
  } catch (error) {
    const status =
      error instanceof ApiError
        ? error.status
        : new ApiError(
            500,
            'InternalError',
            `Internal error occurred: ${error instanceof Error ? error.message : String(error)}`,
          ).status;
    if (response.headersSent) response.destroy();
    else send(request, response, { status: status.code, body: status, contentType: 'application/json', warnings: [] });
  }
}

async function respond(
  context: HttpContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Answer | undefined> {
  const url = new URL(request.url ?? '/', 'http://server');
  const path = url.pathname.replace(/\/+$/, '') || '/';
  const ok = (body: unknown, contentType = 'application/json'): Answer => ({
    status: 200,
    body,
    contentType,
    warnings: [],
  });
  if (['/healthz', '/livez', '/readyz'].includes(path)) return ok('ok', 'text/plain');
  authenticate(context.token, request);
  const accept = request.headers.accept ?? '';
  if (path === '/version') return ok(versionInfo());
  const found = discovery(context.store.registry, path, accept);
  if (found) return ok(found.body, found.contentType);
  if (path.startsWith('/openapi/')) {
    const document = context.openApi(path, accept);
    if (document) return ok(document.body, document.contentType);
  }
  const resource = resourcePath(path);
  if (!resource) throw pathNotFound();
  const method = request.method ?? 'GET';
  const contentType = request.headers['content-type'] ?? '';
  const body = method === 'GET' ? undefined : await readBody(request, contentType);
  return handleResource(
    context.store,
    {
      method,
      path: resource,
      query: url.searchParams,
      accept,
      contentType,
      userAgent: request.headers['user-agent'] ?? '',
      body,
    },
    response,
    context.now,
  );
}

/** Hashes are compared, so that neither length nor prefix of the token shows in the time it takes. */
function authenticate(token: string | undefined, request: IncomingMessage): void {
  if (token === undefined) return;
  const given = /^Bearer (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (!timingSafeEqual(digest(given), digest(token))) throw unauthorized();
}

const readable = [
  'application/json',
  'application/yaml',
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
  'application/apply-patch+yaml',
];

async function readBody(request: IncomingMessage, contentType: string): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > bodyBytesMax) throw tooLarge(bodyBytesMax);
    chunks.push(chunk);
  }
  if (size === 0) return undefined;
  const media = contentType.split(';')[0]?.trim() ?? '';
  const bytes = Buffer.concat(chunks);
  if (media === protobufMediaType) {
    try {
      return readProtobufBody(bytes);
    } catch (error) {
      if (error instanceof ProtobufError) throw unsupportedMediaType(`${media}: ${error.message}`, readable);
      throw error;
    }
  }
  if (media !== '' && !readable.includes(media)) throw unsupportedMediaType(media, readable);
  const text = bytes.toString('utf8');
  try {
    return media.endsWith('yaml') ? parseYaml(text) : JSON.parse(text);
  } catch (error) {
    throw badRequest(
      `the body of the request cannot be read: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function send(
  request: IncomingMessage,
  response: ServerResponse,
  { status, body, contentType, warnings }: Answer,
): void {
  for (const warning of warnings) response.appendHeader('warning', `299 - ${JSON.stringify(warning)}`);
  let payload: Buffer | string = Buffer.isBuffer(body) || typeof body === 'string' ? body : JSON.stringify(body);
  if (payload.length > gzipBytesMin && /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''))) {
    payload = gzipSync(payload, { level: 1 });
    response.setHeader('content-encoding', 'gzip');
  }
  if (status === 401) response.setHeader('www-authenticate', 'Bearer');
  response.writeHead(status, {
    'content-type': contentType,
    'cache-control': 'no-cache, private',
    'content-length': Buffer.byteLength(payload),
  });
  response.end(payload);
}
