/**
 * Pods of two nodes over WireGuard and over IPsec: ours against the same encryption set up by hand, with the node's stack forwarding.
 *
 *   node simulations/bench/encryption.ts [--rounds N] [--seconds S] [--modes ping,udp,stream] [--kinds wireguard,ipsec]
 *
 * - For a kernel that has both, as in the lab: node simulations/lab/run.ts 6.12 --timeout 900 -- node_modules/.bin/node simulations/bench/encryption.ts
 *   An emulated processor is slow in everything alike, so only the ratios say something.
 * - All paths in one run, a short turn each, in a new order each round; the best round of each counts. Exit code 1 when a target is missed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { byHand, type EncryptedPath, type Kind, ours } from './encryption-paths.ts';

const TARGET = 0.95;
const PORT = 9000;
const PINGS = 300;
const { values: flags } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1' },
    modes: { type: 'string', default: 'ping,udp,stream' },
    kinds: { type: 'string', default: 'wireguard,ipsec' },
  },
});
const measures = {
  // Echoed by the far kernel: the encryption's own threads would wait for processes that poll.
  ping: { title: 'pings/s', value: 'ms', of: (ms: number) => 1e3 / ms },
  udp: { title: 'datagrams/s', value: 'rate', of: (rate: number) => rate },
  stream: { title: 'Mbit/s', value: 'gbps', of: (gbps: number) => gbps * 1000 },
} as const;
type Mode = keyof typeof measures;
const modes = flags.modes.split(',').filter((mode): mode is Mode => mode in measures);
const bbnet = join(import.meta.dirname, 'build/bbnet');

execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
let missed = 0;
for (const kind of flags.kinds.split(',') as Kind[]) {
  const paths: EncryptedPath[] = [];
  try {
    for (const setUp of [byHand, ours]) paths.push(setUp(kind));
    missed += report(kind, await measure(paths));
  } finally {
    for (const path of paths) path.close();
  }
}
process.exitCode = missed > 0 ? 1 : 0;

type Best = Record<Mode, Record<string, number>>;

async function measure(paths: readonly EncryptedPath[]): Promise<Best> {
  const best: Best = { ping: {}, udp: {}, stream: {} };
  for (let round = 0; round < Number(flags.rounds); round++) {
    for (const mode of modes) {
      for (const path of round % 2 === 0 ? paths : paths.toReversed()) {
        const value = await turn(path, mode);
        best[mode][path.name] = Math.max(best[mode][path.name] ?? 0, value);
      }
    }
  }
  return best;
}

async function turn(path: EncryptedPath, mode: Mode): Promise<number> {
  const before = path.encrypted();
  const value = mode === 'ping' ? pings(path) : await traffic(path, mode);
  if (path.encrypted() <= before) throw new Error(`${path.name}, ${mode}: nothing was encrypted`);
  return value;
}

function pings({ client, address }: EncryptedPath): number {
  const args = [`--net=${client}`, 'ping', '-q', '-f', '-c', String(PINGS), address];
  const text = execFileSync('nsenter', args, { encoding: 'utf8' });
  const average = /= [\d.]+\/([\d.]+)\//.exec(text)?.[1];
  if (average === undefined || !text.includes(' 0% packet loss')) throw new Error(text);
  return measures.ping.of(Number(average));
}

async function traffic(path: EncryptedPath, mode: Mode): Promise<number> {
  const server = spawn(bbnet, ['server', path.server, '1', String(PORT)], { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(server.stdout, 'data');
    const address = `::ffff:${path.address}`;
    const client = spawn(bbnet, ['client', path.client, '0', address, String(PORT), mode, flags.seconds], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    client.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
    const [code] = await once(client, 'close');
    const { value, of } = measures[mode];
    const found = new RegExp(`\\b${value}=(\\S+)`).exec(output)?.[1];
    if (code !== 0 || found === undefined)
      throw new Error(`${path.name}, ${mode}: bbnet ended with ${code}: ${output}`);
    return of(Number(found));
  } finally {
    server.stdin.end();
    if (server.exitCode === null) await once(server, 'exit');
  }
}

/** How many targets were missed. */
function report(kind: Kind, best: Best): number {
  let count = 0;
  console.log(`${kind}: best of ${flags.rounds} rounds, ratio of ours to what was made by hand, wanted ≥ ${TARGET}`);
  for (const mode of modes) {
    const { ours: own = 0, 'by hand': hand = 0 } = best[mode];
    const ratio = own / hand;
    if (!(ratio >= TARGET)) count++;
    const words = `${own.toFixed(0).padStart(9)} ${hand.toFixed(0).padStart(9)}  ${ratio.toFixed(2)}`;
    console.log(`  ${measures[mode].title.padEnd(12)} ${words} ${ratio >= TARGET ? 'met' : 'MISSED'}`);
  }
  return count;
}
