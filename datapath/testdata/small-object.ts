/** Compiles variants of small.bpf.c, each once for as long as its source and the headers stay as they are. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { arch } from 'node:os';
import { join } from 'node:path';

const source = join(import.meta.dirname, 'small.bpf.c');
const headers = join(import.meta.dirname, '../../bpf/lib');
const cache = join(import.meta.dirname, '../../node_modules/.cache/small-objects');
const multiarch = arch() === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
const flags = ['-g', '-O2', '-target', 'bpf', '-mcpu=v3', `-I/usr/include/${multiarch}`];

/** Of definitions like `VARIANT=1` or `LAYOUT`; the path of the object. */
export function smallObject(...definitions: string[]): string {
  const defined = definitions.map((text) => `-D${text}`);
  const hash = createHash('sha256').update(readFileSync(source)).update([...flags, ...defined].join('\0'));
  for (const name of readdirSync(headers).sort()) hash.update(readFileSync(join(headers, name)));
  const path = join(cache, `${hash.digest('hex').slice(0, 16)}.o`);
  if (existsSync(path)) return path;
  mkdirSync(cache, { recursive: true });
  // Several test workers may do this at once: each makes its own, the last rename stays.
  const made = `${path}.${process.pid}`;
  execFileSync('clang-19', [...flags, ...defined, '-c', source, '-o', made]);
  renameSync(made, path);
  return path;
}
