/** Keeps a process running: starts it again when it ends, with growing pauses, until it is told to stop. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { inNetns, OWN_SESSION, signalGroup } from './command.ts';

export interface SupervisorOptions {
  netns: string;
  /** Empty: ours. */
  cgroup: string;
  argv: readonly string[];
  /** Each line that the process writes, and what the supervisor has to say. */
  log(line: string): void;
}
export interface Supervisor {
  readonly pid: number | undefined;
  stop(): Promise<void>;
}

const PAUSE_MS = 100;
const PAUSE_MAX_MS = 1_000;
/** A process that lived this long has its earlier failures forgiven. */
const CALM_AFTER_MS = 3_000;
const STOP_WITHIN_MS = 5_000;

export function supervise({ netns, cgroup, argv, log }: SupervisorOptions): Supervisor {
  const [program, args] = inNetns(netns, cgroup, argv);
  let child: ChildProcess | undefined;
  let pause: NodeJS.Timeout | undefined;
  let pauseMs = PAUSE_MS;
  let stopping = false;

  function start(): void {
    const startedAt = performance.now();
    const started = spawn(program, args, { ...OWN_SESSION, stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    for (const stream of [started.stdout, started.stderr]) {
      if (stream) createInterface({ input: stream }).on('line', log);
    }
    let ended = false;
    const end = (reason: string) => {
      if (ended) return;
      ended = true;
      child = undefined;
      if (stopping) return;
      if (performance.now() - startedAt > CALM_AFTER_MS) pauseMs = PAUSE_MS;
      log(`ended (${reason}); starting again in ${pauseMs} ms`);
      pause = setTimeout(start, pauseMs);
      pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
    };
    started.on('error', (error) => end(error.message));
    started.on('exit', (code, signal) => end(signal ?? `exit code ${code}`));
  }

  start();
  return {
    get pid() {
      return child?.pid;
    },
    async stop() {
      stopping = true;
      clearTimeout(pause);
      const last = child;
      if (last?.pid === undefined) return;
      const pid = last.pid;
      const gone = new Promise<void>((done) => last.once('exit', () => done()));
      signalGroup(pid, 'SIGTERM');
      const force = setTimeout(() => signalGroup(pid, 'SIGKILL'), STOP_WITHIN_MS);
      await gone;
      clearTimeout(force);
    },
  };
}
