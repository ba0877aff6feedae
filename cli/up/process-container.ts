/** Runs a container's command in the pod's network namespace, as its own session, with its output in a log file. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, statSync, truncateSync } from 'node:fs';
import { inNetns, OWN_SESSION, signalGroup } from './command.ts';

export interface ProcessOptions {
  netns: string;
  /** Empty: ours. */
  cgroup: string;
  argv: readonly string[];
  env: Readonly<Record<string, string>>;
  cwd?: string;
  logFile: string;
}
export interface Ended {
  /** 128 + signal number for one that was killed, as shells have it. */
  exitCode: number;
  signal: NodeJS.Signals | null;
}
export interface RunningProcess {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  /** SIGTERM to all of it, SIGKILL after the grace. */
  stop(graceMs: number): Promise<void>;
}

const SIGNAL_NUMBERS: Partial<Record<NodeJS.Signals, number>> = {
  SIGKILL: 9,
  SIGTERM: 15,
  SIGINT: 2,
  SIGSEGV: 11,
  SIGABRT: 6,
};

export async function startProcess({
  netns,
  cgroup,
  argv,
  env,
  cwd,
  logFile,
}: ProcessOptions): Promise<RunningProcess> {
  const [program, args] = inNetns(netns, cgroup, argv);
  const log = openSync(logFile, 'a', 0o600);
  let child: ChildProcess;
  try {
    child = spawn(program, args, { ...OWN_SESSION, env, cwd, stdio: ['ignore', log, log] });
  } finally {
    closeSync(log);
  }
  const ended = new Promise<Ended>((done) => {
    child.once('exit', (code, signal) => {
      done({ exitCode: code ?? 128 + (SIGNAL_NUMBERS[signal ?? 'SIGKILL'] ?? 0), signal });
    });
  });
  const pid = await new Promise<number>((done, fail) => {
    child.once('error', fail);
    child.once('spawn', () => done(child.pid ?? 0));
  });
  const watch = setInterval(() => cut(logFile), CUT_EVERY_MS).unref();
  ended.then(() => clearInterval(watch));
  return {
    pid,
    ended,
    async stop(graceMs) {
      if (child.exitCode === null && child.signalCode === null) {
        const force = setTimeout(() => signalGroup(pid, 'SIGKILL'), graceMs);
        if (graceMs > 0) signalGroup(pid, 'SIGTERM');
        await ended;
        clearTimeout(force);
      }
      // Children of the command may have outlived it; the group's number is theirs as long as one of them lives.
      signalGroup(pid, 'SIGKILL');
    },
  };
}

const CUT_EVERY_MS = 30_000;
const LOG_BYTES_MAX = 10 << 20;

/** /run is memory: a log that has grown too large starts over (it is written in append mode, so that leaves no hole). */
function cut(logFile: string): void {
  const size = statSync(logFile, { throwIfNoEntry: false })?.size ?? 0;
  if (size > LOG_BYTES_MAX) truncateSync(logFile, 0);
}
