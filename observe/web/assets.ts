/**
 * The files of the page: its own modules without their types, its style, and what of npm packages it uses.
 *
 * - Nothing comes from elsewhere. They are read when the first browser asks, and then kept.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { securityHeaders } from './security.ts';

interface Asset {
  type: string;
  body: Buffer;
  etag: string;
}

export interface Assets {
  files: ReadonlyMap<string, Asset>;
  /** Hashes of the inline scripts of the page. */
  inline: string[];
}

const page = new URL('./page/', import.meta.url).pathname;
const strip = new URL('./strip.ts', import.meta.url).pathname;
const SCRIPT = 'text/javascript; charset=utf-8';

/** What the page's modules import by name, and the package's file that is meant. */
const libraries: Readonly<Record<string, string>> = {
  'lit-html': 'lit-html/lit-html.js',
  'lit-html/directives/repeat.js': 'lit-html/directives/repeat.js',
  'lit-html/directives/live.js': 'lit-html/directives/live.js',
  '@dagrejs/dagre': '@dagrejs/dagre/dist/dagre.esm.js',
};
/** Files that those import in turn. */
const alongside = ['lit-html/directive.js', 'lit-html/directive-helpers.js'];
const FONT = '@fontsource-variable/inter/files/inter-latin-wght-normal.woff2';

const run = promisify(execFile);
const require = createRequire(import.meta.url);
let assets: Promise<Assets> | undefined;

export function pageAssets(): Promise<Assets> {
  assets ??= load();
  return assets;
}

async function load(): Promise<Assets> {
  const files = new Map<string, Asset>();
  const add = (path: string, type: string, body: Buffer | string): void => {
    const bytes = Buffer.from(body);
    files.set(path, { type, body: bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url')}"` });
  };
  const { stdout } = await run(process.execPath, ['--no-warnings', strip, page], { maxBuffer: 1 << 24 });
  for (const [name, code] of Object.entries(JSON.parse(stdout) as Record<string, string>))
    add(`/page/${name}`, SCRIPT, code);
  const imports = Object.entries(libraries).map(([name, file]) => [name, `/library/${file}`]);
  const importMap = JSON.stringify({ imports: Object.fromEntries(imports) });
  const html = (await readFile(join(page, 'index.html'), 'utf8')).replace('"importmap">{}', `"importmap">${importMap}`);
  add('/', 'text/html; charset=utf-8', html);
  for (const style of ['style.css', 'views.css'])
    add(`/page/${style}`, 'text/css; charset=utf-8', await readFile(join(page, style)));
  add('/page/icon.svg', 'image/svg+xml', await readFile(join(page, 'icon.svg')));
  for (const file of [...Object.values(libraries), ...alongside])
    add(`/library/${file}`, SCRIPT, withoutMap(await readFile(fileOf(file), 'utf8')));
  add('/library/inter.woff2', 'font/woff2', await readFile(fileOf(FONT)));
  return { files, inline: [`sha256-${createHash('sha256').update(importMap).digest('base64')}`] };
}

/** Packages export only some of their files by name; those beside them are found from there. */
function fileOf(path: string): string {
  const [scope = '', name = ''] = path.split('/');
  const known = scope.startsWith('@') ? `${scope}/${name}` : scope;
  const root = require.resolve.paths(known)?.find((folder) => existsSync(join(folder, known)));
  if (root === undefined) throw new Error(`npm package ${known} is not installed; run deploy/bootstrap.sh`);
  return join(root, path);
}

const withoutMap = (code: string): string => code.replace(/\n\/\/# sourceMappingURL=.*\s*$/, '\n');

/** False: the path is none of the page's. */
export async function serveAsset(request: IncomingMessage, response: ServerResponse): Promise<boolean> {
  const { pathname } = new URL(request.url ?? '/', 'http://page');
  if (pathname !== '/' && !/^\/(page|library)\//.test(pathname)) return false;
  const { files, inline } = await pageAssets();
  const asset = files.get(pathname);
  if (!asset) return false;
  const headers = { ...securityHeaders(inline), etag: asset.etag, 'cache-control': 'no-cache' };
  if (request.headers['if-none-match'] === asset.etag) response.writeHead(304, headers).end();
  else {
    response.writeHead(200, { ...headers, 'content-type': asset.type, 'content-length': asset.body.length });
    response.end(request.method === 'HEAD' ? undefined : asset.body);
  }
  return true;
}
