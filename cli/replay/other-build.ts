/** Another build of axoneme, asked by its own command line what it makes of a recording. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { OpAt } from '../../simulations/replay/diff.ts';
import type { Source, Until } from '../../simulations/replay/source.ts';

export interface OtherBuild {
  ops(): AsyncGenerator<{ text: string; at: OpAt }>;
  rows(tables: readonly string[]): Promise<Map<string, Map<string, unknown>>>;
}

const OP_LINE = /^#(\d+) (\S+) (put|delete) (\S+) (.*)$/;

export function otherBuild(path: string, { paths, node, lenient }: Source, until: Until | undefined): OtherBuild {
  if (until && 'time' in until) throw new Error('with another build --until takes the number of an event, not a time');
  const command = join(path, 'cli', 'axoneme');
  const common = [
    ...paths,
    ...(node === undefined ? [] : ['--node', node]),
    ...(lenient ? ['--lenient'] : []),
    ...(until === undefined ? [] : ['--until', String(until.seq)]),
  ];
  return {
    async *ops() {
      for await (const line of linesOf(command, ['replay', ...common, '--ops'])) {
        const [, seq = '', , action = '', table = '', rest = ''] = OP_LINE.exec(line) ?? [];
        if (seq === '') continue;
        const event = { run: 0, seq: Number(seq), at: 0, type: '', source: '', subject: '', file: path, line: 0 };
        yield { text: `${action} ${table} ${rest}`, at: { event, op: { action, table, key: rest } } };
      }
    },
    async rows(tables) {
      const found = new Map<string, Map<string, unknown>>();
      for (const table of tables) {
        const rows = new Map<string, unknown>();
        for await (const line of linesOf(command, ['replay', ...common, '--table', table])) {
          const { key, value } = JSON.parse(line) as { key: string; value: unknown };
          rows.set(key, value);
        }
        found.set(table, rows);
      }
      return found;
    },
  };
}

/** Exit code 1 says that it plans otherwise than the build that recorded, which is an answer too. */
async function* linesOf(command: string, args: readonly string[]): AsyncGenerator<string> {
  const child: ChildProcessByStdio<null, Readable, Readable> = spawn(command, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2_000);
  });
  const ended = new Promise<number | null>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  try {
    yield* createInterface({ input: child.stdout });
    const code = await ended;
    if (code !== 0 && code !== 1) throw new Error(`${command} ${args.join(' ')} ended with ${code}: ${complaint}`);
  } finally {
    child.kill();
  }
}
