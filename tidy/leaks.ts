/**
 * Fails a test run that leaves anything behind: a namespace, link, bpffs pin, temporary file or process.
 *
 * - Tests name what they make `axt-<pid>-…`, pid being their worker's; so parallel runs do not blame each other.
 * - Processes are known by an environment variable that they inherit from the run.
 */

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';

const marker = 'AXONEME_TEST_RUN';
/** Namespaces and processes end asynchronously: a leak is what is still there after this. */
const graceMs = 3_000;

export default function watchForLeaks(): (() => Promise<void>) | undefined {
  const outer = process.env[marker];
  // Vitest calls this once for the whole run and once for each project: the first one watches.
  if (outer === String(process.pid)) return undefined;
  process.env[marker] = String(process.pid);
  const before = new Set(things());
  return async () => {
    const deadline = Date.now() + graceMs;
    let leaks = leaksSince(before);
    while (leaks.length > 0 && Date.now() < deadline) {
      await sleep(100);
      leaks = leaksSince(before);
    }
    if (outer === undefined) delete process.env[marker];
    else process.env[marker] = outer;
    if (leaks.length === 0) return;
    // Vitest only reports an error thrown here; the exit code makes it a failure of the run.
    process.exitCode = 1;
    throw new Error(`tests left something behind:\n${leaks.map((leak) => `  ${leak}`).join('\n')}`);
  };
}

function leaksSince(before: ReadonlySet<string>): string[] {
  return [...things().filter((thing) => !before.has(thing) && isOurs(thing)), ...processes()];
}

/** Everything on this machine that carries a test's name. */
function things(): string[] {
  const named = (kind: string, folder: string, deep = false) =>
    list(folder, deep)
      .filter((path) => path.includes('axt-'))
      .map((path) => `${kind} ${path}`);
  return [
    ...named('netns', '/run/netns'),
    ...named('link', '/sys/class/net'),
    ...named('bpffs', '/sys/fs/bpf', true),
    ...named('cgroup', '/sys/fs/cgroup/unified'),
    ...named('cgroup', '/sys/fs/cgroup'),
    ...named('file', tmpdir()),
  ];
}

/** Made by a worker of ours, or by one that is gone. */
function isOurs(thing: string): boolean {
  const pid = /axt-(\d+)/.exec(thing)?.[1];
  return (
    pid === undefined || Number(pid) === process.pid || parentOf(pid) === process.pid || !existsSync(`/proc/${pid}`)
  );
}

/** Processes started by this run, its own workers (children of this very process) left out. */
function processes(): string[] {
  const mark = `${marker}=${process.pid}`;
  return list('/proc', false)
    .filter((pid) => /^\d+$/.test(pid) && Number(pid) !== process.pid)
    .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(mark) && !descendsFromWorker(pid))
    .map((pid) => `process ${pid} ${read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ').trim()} (in ${netnsOf(pid)})`);
}

/** A worker and its helpers end with the pool; what a test started and forgot is re-parented when the worker ends. */
function descendsFromWorker(pid: string): boolean {
  for (let at = parentOf(pid); at !== undefined && at > 1; at = parentOf(String(at)))
    if (at === process.pid) return true;
  return false;
}

function parentOf(pid: string): number | undefined {
  // Field 4 of stat; the command in field 2 may hold spaces and parentheses.
  const fields = read(`/proc/${pid}/stat`).split(') ').at(-1)?.split(' ');
  return fields?.[1] === undefined ? undefined : Number(fields[1]);
}

const netnsOf = (pid: string) => quiet(() => readlinkSync(`/proc/${pid}/ns/net`)) ?? 'no namespace';
const read = (path: string) => quiet(() => readFileSync(path, 'utf8')) ?? '';
const list = (path: string, recursive: boolean) =>
  quiet(() => readdirSync(path, { recursive, encoding: 'utf8' })) ?? [];

/** What ends while we look at it is not there. */
function quiet<T>(look: () => T): T | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}
