/**
 * Who looks at a mutant: the laws of simulated lives, and the tests of the parts; each says what it found, as its users would read it.
 *
 * - Those that are about the file that was changed come first; the others follow until one notices.
 * - A judge that takes ten times as long as with nothing wrong has found a loop without end.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';

export interface Judge {
  name: string;
  /** Files of these folders concern it. */
  about: RegExp;
  argv(root: string): readonly string[];
  /** The line of its output that says what is wrong. */
  found(output: string): string | undefined;
}

const simulate: Judge = {
  name: 'simulate',
  about: /^(reconcilers|state|machines|cluster\/watch)/,
  argv: () => ['cli/main.ts', 'simulate', '--seed', '1', '--runs', '60'],
  found: (output) => /breaks a law:\n\s*(.+)/.exec(output)?.[1],
};

const tests = (about: RegExp, ...files: string[]): Judge => ({
  name: files.join(' '),
  about,
  argv: (root) => [join(root, 'node_modules/vitest/vitest.mjs'), 'run', '--bail=1', '--no-color', ...files],
  found: (output) => /^\s*FAIL\s+(.+)$/m.exec(output)?.[1]?.replace(/^\|?(pure|system)\|?\s+/, ''),
});

export const judges: readonly Judge[] = [
  simulate,
  tests(/^(reconcilers|cluster|state)\//, 'reconcilers/', 'cluster/watch', 'cluster/events', 'state/'),
  tests(/^cluster\/recording/, 'cluster/recording'),
  tests(
    /^machines\//,
    'machines/service',
    'machines/remote-node',
    'machines/encryption',
    'machines/kinds',
    'simulations/identity-grace',
  ),
  tests(/^(simulations\/(replay|imported)|cluster\/kubectl)/, 'simulations/replay', 'simulations/imported', 'cluster/'),
  tests(/^(policy|state)\//, 'simulations/prefix-check'),
  tests(/^(simulations\/node|reconcilers)/, 'simulations/node'),
  tests(/^policy\//, 'policy/'),
  tests(
    /^datapath\//,
    'datapath/translation',
    'datapath/map-copies',
    'datapath/loader',
    'datapath/drivers/allowed-ips',
    'simulations/upgrade/maps',
  ),
];

export const judgesOf = (file: string): readonly Judge[] => [
  ...judges.filter(({ about }) => about.test(file)),
  ...judges.filter(({ about }) => !about.test(file)),
];

const AT_LEAST_MS = 60_000;
const PATIENCE = 10;
/** How long each took with nothing wrong. */
const usual = new Map<Judge, number>();
let running: ChildProcess | undefined;

/** Ends who is asked just now, and whoever works for it. */
export function dismiss(): void {
  if (running?.pid !== undefined)
    try {
      process.kill(-running.pid, 'SIGKILL');
    } catch {
      // It has just ended by itself.
    }
}

/** Undefined: it finds nothing wrong. */
export async function ask(judge: Judge, root: string): Promise<string | undefined> {
  const limit = Math.max(AT_LEAST_MS, PATIENCE * (usual.get(judge) ?? AT_LEAST_MS));
  const began = Date.now();
  const { code, output } = await outcomeOf(judge.argv(root), root, limit);
  if (code === 0) {
    usual.set(judge, Math.max(usual.get(judge) ?? 0, Date.now() - began));
    return undefined;
  }
  if (code === undefined) return `${judge.name}: does not end`;
  return `${judge.name}: ${judge.found(output) ?? output.trim().split('\n').at(-1) ?? `exit code ${code}`}`;
}

function outcomeOf(
  argv: readonly string[],
  cwd: string,
  limitMs: number,
): Promise<{ code: number | undefined; output: string }> {
  const env = { ...process.env, CI: 'true', NO_COLOR: '1' };
  const child = spawn(process.execPath, ['--no-warnings', ...argv], { cwd, env, detached: true });
  running = child;
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text));
  return new Promise((resolve, reject) => {
    let isLate = false;
    const late = setTimeout(() => {
      isLate = true;
      dismiss();
    }, limitMs);
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(late);
      running = undefined;
      resolve({ code: isLate ? undefined : (code ?? (signal ? 1 : 0)), output });
    });
  });
}
