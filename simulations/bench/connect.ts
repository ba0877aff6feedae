/**
 * Connect, request, close to the last of many services in the socket, against the same to the pod's address.
 *
 *   node simulations/bench/connect.ts [--services 1,1000,10000,30000] [--rounds N] [--seconds S] [--patience S]
 *
 * - All paths and all sizes in one run, a short turn each, in a new order each round; the best median of each path is compared,
 *   because a shared machine only adds to a latency.
 * - `pod address` has no programs and no rules at all: the client is outside the cgroup. `pod address, hooks` is what a connection
 *   that is no service's pays for the programs.
 * - Two endpoints a service, maps filled in batches. Exit code 1 when a target is missed.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { SockPrograms } from '../../bpf/test/sock-programs.ts';
import { inCgroup } from '../../datapath/cgroup2.ts';
import { encode } from '../../datapath/codec.ts';
import { createNetns, deleteNetns, withNetns } from '../../native/index.ts';
import { QuietMachine } from './quiet-machine.ts';

const TARGET = 1.03;
const PORT = 9000;
const VIP_PORT = 80;
const ENDPOINTS = 2;
const IPPROTO_TCP = 6;
const TRIES = 4;
const server = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const client = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };

const { values: flags } = parseArgs({
  options: {
    services: { type: 'string', default: '1,1000,10000,30000' },
    rounds: { type: 'string', default: '6' },
    seconds: { type: 'string', default: '0.3' },
    patience: { type: 'string', default: '20' },
  },
});
const sizes = flags.services.split(',').map(Number);
const rounds = Number(flags.rounds);
const quiet = new QuietMachine(Number(flags.patience) * 1000);
const bbnet = join(import.meta.dirname, 'build/bbnet');
const netns = { client: `/run/netns/axb-${process.pid}-client`, server: `/run/netns/axb-${process.pid}-server` };

interface Path {
  name: string;
  address: string;
  port: number;
  cgroup: string;
  services: number;
}

const loaded: SockPrograms[] = [];
try {
  execFileSync('make', ['--silent', '-C', import.meta.dirname], { stdio: ['ignore', 'ignore', 'inherit'] });
  wire();
  const paths: Path[] = [
    { name: 'pod address', address: `::ffff:${server.ipv4}`, port: PORT, cgroup: '', services: 0 },
  ];
  for (const services of sizes) {
    const programs = new SockPrograms(`axb-${process.pid}-${services}`, netns.client);
    loaded.push(programs);
    const common = { cgroup: programs.cgroup, services };
    const vip = fill(programs, services);
    if (services === Math.max(...sizes))
      paths.push({ name: 'pod address, hooks', address: `::ffff:${server.ipv4}`, port: PORT, ...common });
    paths.push({ name: 'ClusterIP', address: `::ffff:${vip}`, port: VIP_PORT, ...common });
  }
  const p50 = await measure(paths);
  process.exitCode = report(paths, p50) ? 0 : 1;
} finally {
  for (const programs of loaded) programs.close();
  deleteNetns(netns.client);
  deleteNetns(netns.server);
}

function wire(): void {
  for (const path of Object.values(netns)) createNetns(path, { loopbackUp: true });
  const ip = (path: string, command: string) =>
    execFileSync('nsenter', [`--net=${path}`, 'ip', ...command.split(' ')], { stdio: ['ignore', 'ignore', 'pipe'] });
  ip(netns.client, 'link add eth0 type veth peer name far');
  ip(netns.client, `link set far netns ${netns.server.slice('/run/netns/'.length)}`);
  ip(netns.client, `address add ${client.ipv4}/24 dev eth0`);
  ip(netns.server, `address add ${server.ipv4}/24 dev far`);
  ip(netns.client, 'link set eth0 up');
  ip(netns.server, 'link set far up');
  // Port reuse by thousands of short connections would meet the closed ones.
  for (const path of Object.values(netns))
    withNetns(path, () => writeFileSync('/proc/sys/net/ipv4/tcp_max_tw_buckets', '0'));
}

/** Services 1…count with two endpoints each; those of the last are the server. Returns the last one's address. */
function fill({ object, codecs }: SockPrograms, count: number): string {
  const rows: Record<string, [key: unknown, value: unknown][]> = {
    backends: [],
    backend_slots: [],
    backend_sets: [],
    frontends: [],
  };
  const address = (first: string, i: number) => `${first}.${i >> 8}.${i & 255}`;
  for (let i = 1; i <= count; i++) {
    for (let slot = 0; slot < ENDPOINTS; slot++) {
      const id = i * ENDPOINTS + slot;
      const addr = i === count ? server.ipv4 : address(`10.${slot + 1}`, i);
      rows['backends']?.push([id, { addr, port: PORT, proto: IPPROTO_TCP }]);
      rows['backend_slots']?.push([{ set: i, slot }, id]);
    }
    rows['backend_sets']?.push([i, { count: ENDPOINTS, maglevSize: 0, affinityTimeout: 0 }]);
    const key = { addr: address('10.96', i), port: VIP_PORT, proto: IPPROTO_TCP };
    rows['frontends']?.push([key, { id: i, internalSet: i, externalSet: i, flags: 0 }]);
  }
  for (const [name, entries] of Object.entries(rows)) {
    const { key, value } = codecs.map(name);
    const keys = Buffer.concat(entries.map(([row]) => encode<unknown>(key, row)));
    const values = Buffer.concat(entries.map(([, row]) => encode<unknown>(value, row)));
    object.map(name).putBatch(keys, values, entries.length);
  }
  return address('10.96', count);
}

/** Best p50 of each path, in microseconds. */
async function measure(paths: readonly Path[]): Promise<number[]> {
  const best = paths.map(() => Number.POSITIVE_INFINITY);
  const echo = spawn(bbnet, ['server', netns.server, '1', String(PORT)], { stdio: ['pipe', 'pipe', 'inherit'] });
  await once(echo.stdout, 'data');
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < paths.length; i++) {
      const at = (i + round) % paths.length;
      await quiet.wait();
      best[at] = Math.min(best[at] ?? 0, await turn(paths[at] as Path, TRIES));
    }
  }
  echo.stdin.end();
  await once(echo, 'exit');
  return best;
}

/** A SYN that is lost costs a second, which is longer than a turn: then it is done again. */
async function turn(path: Path, tries: number): Promise<number> {
  const { address, port, cgroup, name } = path;
  const argv = [bbnet, 'client', netns.client, '0', address, String(port), 'crr', flags.seconds];
  const [program = '', ...args] = inCgroup(cgroup, argv);
  const run = spawn(program, args, { stdio: ['ignore', 'pipe', tries > 1 ? 'ignore' : 'inherit'] });
  let output = '';
  run.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const [code] = await once(run, 'close');
  const found = /\bp50=(\S+)/.exec(output)?.[1];
  if (code !== 0 && tries > 1) return turn(path, tries - 1);
  if (code !== 0 || found === undefined) throw new Error(`${name}: bbnet ended with ${code}: ${output}`);
  return Number(found);
}

function report(paths: readonly Path[], p50: readonly number[]): boolean {
  const [base = 0] = p50;
  const services = paths.flatMap(({ name }, i) => (name === 'ClusterIP' ? [p50[i] as number] : []));
  console.log(`connect, request, close: best of ${rounds} medians, us, and ratio to the pod address without any rules`);
  let met = true;
  for (const [i, { name, services: count }] of paths.entries()) {
    const us = p50[i] as number;
    const verdict = name === 'ClusterIP' ? `  target ≤ ${TARGET}: ${us / base <= TARGET ? 'met' : 'MISSED'}` : '';
    if (verdict && us / base > TARGET) met = false;
    const label = count > 0 ? `${name}, ${count} services` : name;
    console.log(`  ${label.padEnd(36)} ${us.toFixed(2).padStart(8)} ${(us / base).toFixed(3)}${verdict}`);
  }
  const growth = (services.at(-1) ?? 0) / (services[0] ?? 1);
  if (growth > TARGET) met = false;
  console.log(
    `  from ${sizes[0]} to ${sizes.at(-1)} services: ${growth.toFixed(3)}  target ≤ ${TARGET}: ${growth <= TARGET ? 'met' : 'MISSED'}`,
  );
  if (quiet.disturbed) console.log('Others used the processors meanwhile: these figures are not to be trusted.');
  return met;
}
