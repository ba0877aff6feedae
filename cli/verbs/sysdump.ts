/** `axoneme sysdump`: one archive with all that helps to understand a node, secrets taken out; also of a dead agent. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { noPositionals } from '../output/arguments.ts';
import { DebugClient } from '../output/debug-client.ts';
import { DEFAULT_SOCKET, nodeOf, targetFlags, targetUsage } from '../output/debug-target.ts';
import { print, printJson, wantsJson } from '../output/print.ts';
import { collect, type Place } from '../sysdump/collect.ts';
import { netnsPath, stateDirOf } from '../up/names.ts';
import { findCluster, runningClusters } from '../up/registry.ts';
import { parseArguments, UsageError } from '../usage.ts';

export const summary = 'one archive of a node for those who must understand it';
export const usage = `axoneme sysdump [--output-filename NAME] [--state-dir DIR] [--pin-root DIR] [--record DIR]

  --output-filename NAME  NAME.tar.gz (axoneme-sysdump-TIME)
  --state-dir DIR         of an agent that is not of an embedded cluster (/var/lib/axoneme)
  --pin-root DIR          of the same (/sys/fs/bpf/axoneme)
  --record DIR            recordings of which the last is taken along
${targetUsage}`;

/** An agent that says nothing for so long is taken for dead. */
const PATIENCE_MS = 3_000;

const flagSpec = {
  ...targetFlags,
  'output-filename': 'NAME',
  'state-dir': 'DIR',
  'pin-root': 'DIR',
  record: 'DIR',
} as const;
type Flags = { [F in keyof typeof flagSpec]?: string };

export async function run(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(args, flagSpec);
  noPositionals(positionals);
  const isJson = wantsJson(flags.output);
  const name = flags['output-filename'] ?? `axoneme-sysdump-${new Date().toISOString().replaceAll(/[:.]/g, '-')}`;
  const archive = archiveOf(name);
  const { place, socket } = await target(flags);
  // Beside its place first: nobody finds half an archive there.
  const unfinished = join(dirname(archive), `.${basename(archive)}.part`);
  const work = mkdtempSync(join(tmpdir(), 'axoneme-sysdump-'));
  try {
    const root = join(work, basename(archive, '.tar.gz'));
    const client = (await answers(socket)) ? new DebugClient(socket) : undefined;
    const errors = await collect(root, client, place, (file) => {
      if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${file}`);
    });
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K');
    execFileSync('tar', ['--create', '--gzip', '--file', unfinished, '--directory', work, basename(root)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    renameSync(unfinished, archive);
    const { size } = statSync(archive);
    if (isJson) printJson({ archive, bytes: size, errors });
    else
      print(
        `${archive} (${Math.ceil(size / 1024)} KiB)${errors.length > 0 ? `; not in it:\n  ${errors.join('\n  ')}` : ''}\n`,
      );
    return 0;
  } finally {
    rmSync(work, { recursive: true, force: true });
    rmSync(unfinished, { force: true });
  }
}

/** Collecting takes a while: a place where nothing can be written is said before. */
function archiveOf(name: string): string {
  const archive = resolve(name.endsWith('.tar.gz') ? name : `${name}.tar.gz`);
  const wrong = (why: string) => new UsageError(`flag --output-filename is ${JSON.stringify(name)}: ${why}`);
  if (name === '' || name.endsWith('/')) throw wrong('a file has a name');
  if (!statSync(dirname(archive), { throwIfNoEntry: false })?.isDirectory())
    throw wrong(`there is no directory ${dirname(archive)}`);
  return archive;
}

async function target(flags: Flags): Promise<{ place: Place; socket: string }> {
  const isEmbedded =
    flags.name !== undefined || (flags['state-dir'] === undefined && (await runningClusters()).length > 0);
  if (isEmbedded) {
    const cluster = await findCluster(flags.name);
    const { name } = cluster;
    const node = nodeOf(cluster, flags.node);
    const state = join(stateDirOf(name), 'nodes', node.name);
    const place = {
      netns: netnsPath(node.netns),
      stateDir: state,
      pinRoot: `/sys/fs/bpf/axoneme/${name}/${node.name}`,
      logs: [state, join(stateDirOf(name), 'logs'), ...(flags.record ? [flags.record] : [])],
    };
    return { place, socket: node.debugSocket };
  }
  const stateDir = flags['state-dir'] ?? dirname(DEFAULT_SOCKET);
  const place = {
    netns: '',
    stateDir,
    pinRoot: flags['pin-root'] ?? '/sys/fs/bpf/axoneme',
    logs: [stateDir, ...(flags.record ? [flags.record] : [])],
  };
  return { place, socket: flags.socket ?? join(stateDir, 'debug.sock') };
}

async function answers(socket: string): Promise<boolean> {
  if (!existsSync(socket)) return false;
  return new DebugClient(socket, PATIENCE_MS).text('/v1/kinds').then(
    () => true,
    () => false,
  );
}
