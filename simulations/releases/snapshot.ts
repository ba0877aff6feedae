/**
 * `npm run release:snapshot [-- COMMIT]`: stores a release under `simulations/releases/`, as this tree is, or as a commit was.
 *
 * - A commit is built in a worktree of its own, which goes again; its version is that of its package.json, with how many commits led to it.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, releasedObjects } from './describe.ts';
import { releaseFolder } from './release.ts';

const root = join(import.meta.dirname, '../..');
const git = (...args: string[]): string => execFileSync('git', args, { cwd: root, encoding: 'utf8' }).trim();
const versionIn = (tree: string): string =>
  (JSON.parse(readFileSync(join(tree, 'package.json'), 'utf8')) as { version: string }).version;

async function store(tree: string, commit: string, version: string): Promise<void> {
  execFileSync('make', ['-C', join(tree, 'bpf')], { stdio: ['ignore', 'ignore', 'inherit'] });
  const objects = Object.fromEntries(
    releasedObjects.flatMap((name) => {
      const path = join(tree, `bpf/build/${name}.o`);
      return existsSync(path) ? [[name, path]] : [];
    }),
  );
  const folder = releaseFolder(version);
  mkdirSync(folder, { recursive: true });
  for (const [name, path] of Object.entries(objects)) {
    const bare = join(tmpdir(), `axoneme-release-${process.pid}.o`);
    // Without DWARF, which nobody loads; BTF stays.
    execFileSync('bpftool', ['gen', 'object', bare, path]);
    writeFileSync(join(folder, `${name}.o.gz`), gzipSync(readFileSync(bare), { level: 9 }));
    rmSync(bare);
  }
  const release = { version, commit, ...(await describe(tree, objects)) };
  writeFileSync(join(folder, 'release.json'), `${JSON.stringify(release)}\n`);
  console.log(`release ${version} of ${commit}: ${release.maps.length} maps, ${Object.keys(objects).join(', ')}`);
}

async function ofCommit(name: string): Promise<void> {
  const commit = git('rev-parse', '--short=7', name);
  const tree = mkdtempSync(join(tmpdir(), 'axoneme-release-'));
  git('worktree', 'add', '--detach', '--force', tree, commit);
  try {
    symlinkSync(join(root, 'node_modules'), join(tree, 'node_modules'));
    await store(tree, commit, `${versionIn(tree)}-${git('rev-list', '--count', commit)}.${commit}`);
  } finally {
    git('worktree', 'remove', '--force', tree);
  }
}

const [commit] = process.argv.slice(2);
if (commit) await ofCommit(commit);
else await store(root, git('rev-parse', '--short=7', 'HEAD'), versionIn(root));
