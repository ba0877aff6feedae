/**
 * Breaks the engine on purpose, one way at a time, and sees whether the property tests notice; 100 % is the bar.
 *
 *   node simulations/mutants/run.ts [--only TEXT]
 *
 * - Each mutant is a copy of the committed tree with one change; what is installed is shared.
 * - Judges are asked in turn until one notices: the laws of simulated lives, then the tests of the part, then every plan's prefixes.
 */
import { type ExecFileException, execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Mutant, mutants } from './list.ts';

const root = join(import.meta.dirname, '../..');
const node = process.execPath;
const vitest = join(root, 'node_modules/vitest/vitest.mjs');
const TIMEOUT_MS = 240_000;

interface Judge {
  name: string;
  argv: readonly string[];
}

const judges: readonly Judge[] = [
  { name: 'simulate, 60 lives', argv: ['cli/main.ts', 'simulate', '--seed', '1', '--runs', '60'] },
  ...[
    ['reconcilers/', 'cluster/watch'],
    ['machines/service-events', 'machines/remote-node', 'machines/kinds'],
    ['simulations/prefix-check'],
    ['simulations/node', 'simulations/replay.test'],
    ['policy/'],
  ].map((files) => ({ name: files.join(', '), argv: [vitest, 'run', '--bail=1', ...files] })),
];

const { values: flags } = parseArgs({ options: { only: { type: 'string', default: '' } } });
const chosen = mutants.filter(({ name }) => name.includes(flags.only));
const tree = mkdtempSync(join(tmpdir(), 'axoneme-mutants-'));
const survivors: string[] = [];
try {
  execFileSync('sh', ['-c', `git -C '${root}' archive HEAD | tar x -C '${tree}'`]);
  for (const shared of ['node_modules', 'native/build', 'bpf/build'])
    symlinkSync(join(root, shared), join(tree, shared));
  const innocent = await firstToNotice();
  if (innocent) throw new Error(`${innocent} fails without a mutant: mend that first`);
  for (const [i, mutant] of chosen.entries()) {
    const began = Date.now();
    const by = await noticed(mutant);
    if (!by) survivors.push(mutant.name);
    const seconds = Math.round((Date.now() - began) / 1000);
    process.stdout.write(
      `${String(i + 1).padStart(2)}/${chosen.length}  ${by ? `caught by ${by}` : 'SURVIVED'}  ${mutant.name}  (${seconds} s)\n`,
    );
  }
} finally {
  rmSync(tree, { recursive: true, force: true });
}
const caught = chosen.length - survivors.length;
process.stdout.write(
  `mutation score ${Math.round((100 * caught) / chosen.length)} %: ${caught} of ${chosen.length} caught\n`,
);
process.exitCode = survivors.length > 0 ? 1 : 0;

async function noticed({ file, find, replace }: Mutant): Promise<string | undefined> {
  const path = join(tree, file);
  const text = readFileSync(path, 'utf8');
  if (text.split(find).length !== 2) throw new Error(`${file} has not once: ${find}`);
  writeFileSync(
    path,
    text.replace(find, () => replace),
  );
  try {
    return await firstToNotice();
  } finally {
    writeFileSync(path, text);
  }
}

async function firstToNotice(): Promise<string | undefined> {
  for (const { name, argv } of judges) if (!(await passes(argv))) return name;
  return undefined;
}

/** A judge that hangs has noticed too. */
function passes(argv: readonly string[]): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { cwd: tree, timeout: TIMEOUT_MS, maxBuffer: 64 << 20, env: { ...process.env, CI: 'true' } };
    execFile(node, ['--no-warnings', ...argv], options, (error: ExecFileException | null) => resolve(error === null));
  });
}
