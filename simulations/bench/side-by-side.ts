/**
 * Connections over several paths, measured side by side in one process (`connects.c`): a few of each in turn, so that what else the
 * machine does falls on all paths alike.
 *
 * - A path's ratio to the first path is the median of the blocks' ratios; its time is the lowest quartile of the blocks' medians.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

export interface ConnectPath {
  name: string;
  netns: string;
  /** Of the sockets; empty: this process's own. */
  cgroup: string;
  address: string;
  port: number;
}
export interface Connected {
  /** Of the path's connections, in microseconds. */
  us: number;
  /** To the first path. */
  ratio: number;
  /** Half of the blocks have ratios between these. */
  spread: readonly [low: number, high: number];
}

const CLIENT_CPU = 0;
const SERVER_CPU = 1;
/** Both ends poll: on a busy machine they would else be put off for half a second. */
const URGENT = ['-n', '-20'];
const build = join(import.meta.dirname, 'build');

export function buildClients(): void {
  execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** One server for all paths, at `port` of the namespace. */
export async function sideBySide(
  paths: readonly ConnectPath[],
  { server, port, seconds }: { server: string; port: number; seconds: number },
): Promise<Connected[]> {
  const echo = spawn('nice', [...URGENT, join(build, 'bbnet'), 'server', server, String(SERVER_CPU), String(port)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    await once(echo.stdout, 'data');
    return summary(await blocksOf(paths, seconds));
  } finally {
    echo.stdin.end();
    await once(echo, 'exit');
  }
}

async function blocksOf(paths: readonly ConnectPath[], seconds: number): Promise<number[][]> {
  const words = paths.map(({ netns, cgroup, address, port }) => {
    const to = address.includes(':') ? address : `::ffff:${address}`;
    return [netns, cgroup || '-', to, port].join();
  });
  const args = [...URGENT, join(build, 'connects'), String(CLIENT_CPU), String(seconds), ...words];
  const client = spawn('nice', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let output = '';
  client.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = await once(client, 'close');
  if (code !== 0) throw new Error(`connects ended with ${code}`);
  return output
    .trim()
    .split('\n')
    .map((line) => line.split(' ').map(Number));
}

function summary(blocks: readonly number[][]): Connected[] {
  return (blocks[0] ?? []).map((_, path) => {
    const ratios = blocks.map((block) => (block[path] ?? 0) / (block[0] ?? 1));
    const times = blocks.map((block) => block[path] ?? 0);
    return {
      us: quantile(times, 0.25),
      ratio: quantile(ratios, 0.5),
      spread: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    };
  });
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(share * (sorted.length - 1))] ?? Number.NaN;
}
