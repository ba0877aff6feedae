/**
 * What goes into a sysdump: from the agent while it answers, and from the machine in any case.
 *
 * - A part that fails is a line in `errors.txt`, never the end of the dump.
 * - Everything passes through redaction, and is cut at FILE_BYTES_MAX: newest last, so the head is what goes. What would make the whole
 *   larger than TOTAL_BYTES_MAX is left out, and said to be.
 */

import { execFile } from 'node:child_process';
import { closeSync, existsSync, fstatSync, mkdirSync, openSync, readdirSync, readSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import { REDACTED, redact } from '../../cluster/recording-redact.ts';
import { probeFeatures } from '../../datapath/features.ts';
import { HubbleClient } from '../../observe/hubble/client.ts';
import { flowJson } from '../../observe/hubble/flow-json.ts';
import type { StatusView } from '../../observe/status.ts';
import { tableNames } from '../../state/tables.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { version } from '../version.ts';

export const FILE_BYTES_MAX = 16 << 20;
export const TOTAL_BYTES_MAX = 256 << 20;
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
  bytesMax = TOTAL_BYTES_MAX,
): Promise<string[]> {
  const errors: string[] = [];
  const parts = [...(client ? agentParts(client) : []), ...machineParts(place), ...storeParts(place), ...tails(place)];
  let bytes = 0;
  for (const { file, read } of parts) {
    progress(file);
    try {
      if (bytes > bytesMax) throw new Error(`left out: the dump has its ${bytesMax >> 20} MiB`);
      bytes += write(join(directory, file), await read());
    } catch (error) {
      errors.push(`${file}: ${error instanceof Error ? error.message.split('\n')[0] : error}`);
    }
  }
  if (!client) errors.unshift('the agent did not answer: what only it knows is missing');
  write(join(directory, 'errors.txt'), `${errors.join('\n') || 'none'}\n`);
  return errors;
}

/** How much it was. */
function write(path: string, text: string): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const kept = text.length > FILE_BYTES_MAX ? `… cut\n${text.slice(-FILE_BYTES_MAX)}` : text;
  writeFileSync(path, kept, { mode: 0o600 });
  return kept.length;
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
    { file: 'node/versions.json', read: async () => JSON.stringify(versions(), undefined, 2) },
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
              .map((row) => JSON.stringify(redact({ from: name, ...opened(row as Record<string, unknown>) }))),
          );
          return lines.map((line) => `${line}\n`).join('');
        } finally {
          database.close();
        }
      },
    },
  ];
}

/** Columns that hold JSON are JSON again: a secret inside a text inside a text would not be seen. */
const opened = (row: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(row).map(([column, value]) => [
      column,
      typeof value === 'string' && /^[[{]/.test(value) ? (parsed(value) ?? value) : value,
    ]),
  );

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

/** A key whose beginning was cut off. */
const TAIL_OF_KEY = /^(?:(?!-----BEGIN)[\s\S])*?-----END [A-Z ]*PRIVATE KEY-----/;

/** Lines that are JSON are looked through as JSON: a secret may have any look there. What is between them is one text: keys have many lines. */
export function redactLines(text: string): string {
  const parts: string[] = [];
  let plain: string[] = [];
  const flush = (): void => {
    if (plain.length > 0) parts.push(redact(plain.join('\n')));
    plain = [];
  };
  for (const line of text.replace(TAIL_OF_KEY, REDACTED).split('\n')) {
    const json = line.startsWith('{') ? parsed(line) : undefined;
    if (json === undefined) plain.push(line);
    else {
      flush();
      parts.push(JSON.stringify(redact(json)));
    }
  }
  flush();
  return parts.join('\n');
}

function parsed(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

/** Also where no agent answers. */
function versions(): object {
  const { kernel, has, missing } = probeFeatures();
  return { axoneme: version, node: process.version, kernel, features: has, missing };
}
