/** Compiles variants of small.bpf.c, each once per process. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { arch, tmpdir } from 'node:os';
import { join } from 'node:path';

const source = join(import.meta.dirname, 'small.bpf.c');
const multiarch = arch() === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
const objects = new Map<string, string>();
let folder: string | undefined;

/** Of definitions like `VARIANT=1` or `LAYOUT`; the path of the object. */
export function smallObject(...definitions: string[]): string {
  const key = definitions.join(',');
  const known = objects.get(key);
  if (known) return known;
  if (!folder) {
    const made = mkdtempSync(join(tmpdir(), 'axt-'));
    folder = made;
    process.on('exit', () => rmSync(made, { recursive: true, force: true }));
  }
  const path = join(folder, `small-${objects.size}.o`);
  const flags = ['-g', '-O2', '-target', 'bpf', '-mcpu=v3', `-I/usr/include/${multiarch}`];
  execFileSync('clang-19', [...flags, ...definitions.map((text) => `-D${text}`), '-c', source, '-o', path]);
  objects.set(key, path);
  return path;
}
