/**
 * A copy of the committed tree to break things in; what is installed and built is shared with the original.
 *
 * - The original is only read. The copy goes when the process ends; one that was killed leaves it to the next to take away.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const PREFIX = 'axoneme-mutants-';
const SHARED = ['node_modules', 'native/build', 'bpf/build'];

export interface Change {
  file: string;
  find: string;
  replace: string;
}

export class Tree {
  readonly root: string;

  constructor(original: string) {
    sweep();
    this.root = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    execFileSync('sh', ['-c', `git -C '${original}' archive HEAD | tar x -C '${this.root}'`]);
    for (const shared of SHARED)
      if (existsSync(join(original, shared))) symlinkSync(join(original, shared), join(this.root, shared));
  }

  /** Does the work with the change made, and takes it back. */
  async changed<T>({ file, find, replace }: Change, work: () => Promise<T>): Promise<T> {
    const path = join(this.root, file);
    const text = readFileSync(path, 'utf8');
    if (text.split(find).length !== 2) throw new Error(`${file} has not once: ${find}`);
    const broken = text.replace(find, () => replace);
    writeFileSync(path, broken);
    try {
      return await work();
    } finally {
      writeFileSync(path, text);
    }
  }

  remove(): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}

/** Copies whose process is no more. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid && !existsSync(`/proc/${pid}`)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}
