/**
 * What goes into a sysdump: from the agent while it answers, and from the machine in any case.
 *
 * - A part that fails is a line in `errors.txt`, never the end of the dump.
 * - Everything passes through redaction, and is cut at FILE_BYTES_MAX: newest last, so the head is what goes.
 */

import { execFile } from 'node:child_process';
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { redact } from '../../cluster/recording-redact.ts';
import { HubbleClient } from '../../observe/hubble/client.ts';
import { flowJson } from '../../observe/hubble/flow-json.ts';
import type { StatusView } from '../../observe/status.ts';
import { tableNames } from '../../state/tables.ts';
import type { DebugClient } from '../output/debug-client.ts';

export const FILE_BYTES_MAX = 16 << 20;
const COMMAND_TIMEOUT_MS = 20_000;
const run = promisify(execFile);

export interface Place {
  /** Network namespace of the node, a path; empty: this one. */
  netns: string;
  stateDir: string;
  pinRoot: string;
  /** Directories with logs and recordings; what is absent is left out. */
  logs: readonly string[];
}

interface Part {
  file: string;
  read(): Promise<string>;
}

/** Writes the parts below `directory`; calls `progress` before each. Returns what failed. */
export async function collect(
  directory: string,
  client: DebugClient | undefined,
  place: Place,
  progress: (file: string) => void,
): Promise<string[]> {
  const errors: string[] = [];
  const parts = [...(client ? agentParts(client) : []), ...machineParts(place), ...storeParts(place), ...tails(place)];
  for (const { file, read } of parts) {
    progress(file);
    try {
      write(join(directory, file), await read());
    } catch (error) {
      errors.push(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
    }
  }
  if (!client) errors.unshift('the agent did not answer: what only it knows is missing');
  write(join(directory, 'errors.txt'), `${errors.join('\n') || 'none'}\n`);
  return errors;
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const kept = text.length > FILE_BYTES_MAX ? `… cut\n${text.slice(-FILE_BYTES_MAX)}` : text;
  writeFileSync(path, kept, { mode: 0o600 });
}

/** The debug endpoint redacts what it says. */
function agentParts(client: DebugClient): Part[] {
  const asked = (file: string, path: string): Part => ({ file: `agent/${file}`, read: () => client.text(path) });
  return [
    asked('status.json', '/v1/status'),
    asked('machines.json', '/v1/machines'),
    asked('endpoints.json', '/v1/endpoints'),
    asked('identities.json', '/v1/identities'),
    asked('services.json', '/v1/services'),
    asked('policy.json', '/v1/policy'),
    asked('transitions.json', '/v1/transitions'),
    asked('ops.json', '/v1/ops'),
    asked('metrics.txt', '/metrics'),
    { file: 'agent/flows.ndjson', read: () => flows(client) },
    ...tableNames.map((table) => asked(`tables/${table}.json`, `/v1/tables/${table}`)),
  ];
}

async function flows(client: DebugClient): Promise<string> {
  const { hubble } = await client.get<StatusView>('/v1/status');
  if (!hubble) throw new Error('the agent has no flows');
  const lines: string[] = [];
  const server = new HubbleClient(`unix://${hubble.socket}`);
  for await (const response of server.flows({})) lines.push(JSON.stringify(flowJson(response)));
  server.close();
  return lines.map((line) => `${line}\n`).join('');
}

function machineParts({ netns, pinRoot }: Place): Part[] {
  const command = (file: string, program: string, ...args: string[]): Part => ({
    file: `node/${file}`,
    read: async () => {
      const argv = netns ? ['nsenter', `--net=${netns}`, '--', program, ...args] : [program, ...args];
      const { stdout } = await run(argv[0] ?? '', argv.slice(1), {
        maxBuffer: FILE_BYTES_MAX,
        timeout: COMMAND_TIMEOUT_MS,
      });
      return redact(stdout);
    },
  });
  return [
    command('uname.txt', 'uname', '-a'),
    command('ip-link.json', 'ip', '-j', '-d', 'link'),
    command('ip-addr.json', 'ip', '-j', 'addr'),
    command('ip-route.json', 'ip', '-j', 'route', 'show', 'table', 'all'),
    command('ip-route6.json', 'ip', '-6', '-j', 'route', 'show', 'table', 'all'),
    command('ip-rule.json', 'ip', '-j', 'rule'),
    command('ip-neigh.json', 'ip', '-j', 'neigh'),
    command('sockets.txt', 'ss', '-tuanp'),
    command('bpf-net.json', 'bpftool', '-j', 'net'),
    command('bpf-links.json', 'bpftool', '-j', 'link'),
    command('bpf-programs.json', 'bpftool', '-j', 'prog'),
    command('bpf-maps.json', 'bpftool', '-j', 'map'),
    command('kernel-log.txt', 'dmesg', '--time-format', 'iso'),
    command('pins.txt', 'find', pinRoot, '-ls'),
  ];
}

/** Actual rows as the agent last knew them: all there is when it is dead. */
function storeParts({ stateDir }: Place): Part[] {
  const path = join(stateDir, 'state.db');
  if (!existsSync(path)) return [];
  return [
    {
      file: 'state/rows.ndjson',
      read: async () => {
        const database = new Database(path, { readonly: true, fileMustExist: true });
        try {
          const names = database
            .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            .pluck()
            .all();
          const lines = (names as string[]).flatMap((name) =>
            database
              .prepare(`SELECT * FROM "${name.replaceAll('"', '""')}"`)
              .all()
              .map((row) => JSON.stringify({ from: name, ...(row as object) })),
          );
          return lines.map((line) => `${redact(line)}\n`).join('');
        } finally {
          database.close();
        }
      },
    },
  ];
}

function tails({ logs }: Place): Part[] {
  return logs.filter(existsSync).flatMap((folder) =>
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(log|txt|ndjson)$/.test(entry.name))
      .map(({ name }) => ({ file: `logs/${name}`, read: async () => redactLines(tailOf(join(folder, name))) })),
  );
}

function tailOf(path: string): string {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    const bytes = Buffer.alloc(Math.min(size, FILE_BYTES_MAX));
    readSync(file, bytes, 0, bytes.length, size - bytes.length);
    return bytes.toString();
  } finally {
    closeSync(file);
  }
}

/** Lines that are JSON are looked through as JSON: a secret may have any look there. */
function redactLines(text: string): string {
  return text
    .split('\n')
    .map((line) => {
      if (!line.startsWith('{')) return redact(line);
      try {
        return JSON.stringify(redact(JSON.parse(line) as unknown));
      } catch {
        return redact(line);
      }
    })
    .join('\n');
}
