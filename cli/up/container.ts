/**
 * One container of a pod through its restarts: a command as a process, anything else played by a server.
 *
 * - A restart waits longer each time (CrashLoopBackOff), unless the container ran long before it ended.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { aborted, pause } from './pause.ts';
import { type PlayedPort, playContainer } from './played-container.ts';
import type { Container, Pod } from './pod.ts';
import { argvOf, environmentOf, type PodFacts } from './pod-env.ts';
import type { ContainerReport, ContainerState } from './pod-status.ts';
import { type RunningProcess, startProcess } from './process-container.ts';

const PAUSE_MS = 1_000;
const PAUSE_MAX_MS = 60_000;
const CALM_AFTER_MS = 60_000;
const MESSAGE_BYTES_MAX = 1_024;
/** Exit code of a container that never ran, as runtimes have it. */
const CANNOT_START = 128;

export interface ContainerOptions {
  container: Container;
  pod: Pod;
  netns: string;
  cgroup: string;
  node: string;
  facts: PodFacts;
  logFile: string;
  /** The report has changed. */
  changed(): void;
  event(type: 'Normal' | 'Warning', reason: string, message: string): void;
}

export class ContainerRunner {
  readonly #options: ContainerOptions;
  readonly #stopped = new AbortController();
  #id = '';
  #state: ContainerState = { kind: 'waiting', reason: 'ContainerCreating', message: '' };
  #lastState: Extract<ContainerState, { kind: 'terminated' }> | undefined;
  #restarts = 0;
  #process: RunningProcess | undefined;
  /** What a played container has left when it is stopped. */
  #graceMs = 0;

  constructor(options: ContainerOptions) {
    this.#options = options;
  }

  get report(): ContainerReport {
    const { name, image = '' } = this.#options.container;
    const lastState = this.#lastState === this.#state ? undefined : this.#lastState;
    return { name, image, id: this.#id, state: this.#state, lastState, restarts: this.#restarts };
  }

  /** Runs until it ended for good (true: with success) or was stopped. `policy` of an init container is never Always. */
  async run(policy: 'Always' | 'OnFailure' | 'Never'): Promise<boolean> {
    let pauseMs = PAUSE_MS;
    for (;;) {
      const startedAt = Date.now();
      const exitCode = await this.#runOnce();
      if (this.#stopped.signal.aborted) return false;
      if (policy === 'Never' || (policy === 'OnFailure' && exitCode === 0)) return exitCode === 0;
      if (Date.now() - startedAt > CALM_AFTER_MS) pauseMs = PAUSE_MS;
      await this.#backOff(pauseMs);
      if (this.#stopped.signal.aborted) return false;
      pauseMs = Math.min(pauseMs * 2, PAUSE_MAX_MS);
    }
  }

  /** Its preStop hook counts against the grace. */
  async stop(graceMs: number): Promise<void> {
    const isFirst = !this.#stopped.signal.aborted;
    const startedAt = Date.now();
    if (isFirst && graceMs > 0 && this.#state.kind === 'running') await this.#preStop(graceMs);
    this.#graceMs = Math.max(0, graceMs - (Date.now() - startedAt));
    this.#stopped.abort();
    await this.#process?.stop(this.#graceMs);
  }

  async #preStop(graceMs: number): Promise<void> {
    const { sleep, exec } = this.#options.container.lifecycle?.preStop ?? {};
    const over = AbortSignal.timeout(graceMs);
    if (sleep) await pause(sleep.seconds * 1_000, over);
    if (!exec?.command?.length) return;
    const { netns, cgroup, logFile, facts, container, event } = this.#options;
    try {
      const env = environmentOf(container, facts);
      const hook = await startProcess({ netns, cgroup, argv: exec.command, env, logFile });
      await Promise.race([hook.ended, aborted(over)]);
      await hook.stop(0);
    } catch (error) {
      event('Warning', 'FailedPreStopHook', `PreStopHook failed: ${error instanceof Error ? error.message : error}`);
    }
  }

  #enter(state: ContainerState): void {
    this.#state = state;
    this.#options.changed();
  }

  /** Resolves with the exit code; a container that cannot start has one of its own. */
  async #runOnce(): Promise<number> {
    const { container, event } = this.#options;
    this.#id = randomBytes(32).toString('hex');
    const startedAt = new Date().toISOString();
    try {
      const env = environmentOf(container, this.#options.facts);
      const argv = argvOf(container, env);
      return argv ? await this.#runProcess(argv, env, startedAt) : await this.#play(startedAt);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      event('Warning', 'Failed', `Error: ${message}`);
      this.#end(CANNOT_START, 'StartError', message, startedAt);
      return CANNOT_START;
    }
  }

  async #runProcess(argv: string[], env: Record<string, string>, startedAt: string): Promise<number> {
    const { netns, cgroup, container, logFile, event } = this.#options;
    const cwd = container.workingDir;
    const process = await startProcess({ netns, cgroup, argv, env, ...(cwd && { cwd }), logFile });
    this.#process = process;
    if (this.#stopped.signal.aborted) await process.stop(0);
    event('Normal', 'Started', `Started container ${container.name}`);
    this.#enter({ kind: 'running', startedAt });
    const { exitCode } = await process.ended;
    await process.stop(0);
    this.#process = undefined;
    if (exitCode === 0) this.#end(0, 'Completed', '', startedAt);
    else this.#end(exitCode, 'Error', tail(logFile), startedAt);
    return exitCode;
  }

  /** Plays until stopped. */
  async #play(startedAt: string): Promise<number> {
    const { netns, container, pod, node, event } = this.#options;
    const { namespace, name } = pod.metadata;
    const ports = (container.ports ?? []).flatMap(playedPort);
    const played = await playContainer(netns, { namespace, name, node, container: container.name }, ports);
    event('Normal', 'Started', `Started container ${container.name}`);
    this.#enter({ kind: 'running', startedAt });
    await aborted(this.#stopped.signal);
    await played.stop(this.#graceMs);
    this.#end(0, 'Completed', '', startedAt);
    return 0;
  }

  #end(exitCode: number, reason: string, message: string, startedAt: string): void {
    const ended = {
      kind: 'terminated' as const,
      exitCode,
      reason,
      message,
      startedAt,
      finishedAt: new Date().toISOString(),
    };
    this.#lastState = ended;
    this.#enter(ended);
  }

  async #backOff(pauseMs: number): Promise<void> {
    const { container, event } = this.#options;
    // A first restart is no crash loop yet.
    if (this.#restarts > 0) {
      event('Warning', 'BackOff', `Back-off restarting container ${container.name}`);
      const message = `back-off ${pauseMs} ms restarting container ${container.name}`;
      this.#enter({ kind: 'waiting', reason: 'CrashLoopBackOff', message });
    }
    this.#restarts++;
    await pause(pauseMs, this.#stopped.signal);
  }
}

function playedPort({ containerPort, protocol = 'TCP' }: { containerPort: number; protocol?: string }): PlayedPort[] {
  return protocol === 'TCP' || protocol === 'UDP' ? [{ containerPort, protocol }] : [];
}

/** The end of the output tells more than an exit code. */
function tail(logFile: string): string {
  try {
    return readFileSync(logFile, 'utf8').slice(-MESSAGE_BYTES_MAX).trim();
  } catch {
    return '';
  }
}
