/** Runs programs of the system; a failure says which command, and what it said. */
import { execFile, type SpawnOptions } from 'node:child_process';
import { inCgroup } from '../../datapath/cgroup2.ts';

export class CommandFailed extends Error {}

export interface Ran {
  stdout: string;
  stderr: string;
}

export function command(program: string, args: readonly string[], input?: string): Promise<Ran> {
  return new Promise((done, fail) => {
    const child = execFile(program, args, { encoding: 'utf8', maxBuffer: 64 << 20 }, (error, stdout, stderr) => {
      if (!error) return done({ stdout, stderr });
      const said = stderr.trim() || stdout.trim() || error.message;
      fail(new CommandFailed(`${[program, ...args].join(' ')}: ${said}`));
    });
    if (input !== undefined) child.stdin?.end(input);
  });
}

/** Lines of `ip` commands, run in one go inside a namespace. */
export async function ipBatch(netns: string, lines: readonly string[]): Promise<void> {
  try {
    await command('ip', ['-netns', netns, '-batch', '-'], `${lines.join('\n')}\n`);
  } catch (error) {
    const at = /Command failed -:(\d+)/.exec(String(error))?.[1];
    const line = at === undefined ? '' : ` (line ${JSON.stringify(lines[Number(at) - 1])})`;
    throw new CommandFailed(`network namespace ${netns}${line}: ${error instanceof Error ? error.message : error}`);
  }
}

/** A command line whose process has the namespace as its own, is in the cgroup if there is one, and does not outlive us. */
export function inNetns(netnsPath: string, cgroup: string, argv: readonly string[]): [program: string, args: string[]] {
  return ['setpriv', ['--pdeathsig', 'KILL', ...inCgroup(cgroup, ['nsenter', `--net=${netnsPath}`, '--', ...argv])]];
}

/** Its own session: signals meant for it reach all its children, and Ctrl-C in our terminal reaches only us. */
export const OWN_SESSION: SpawnOptions = { detached: true };

/** Signals a process group; one that is gone is fine. */
export function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
