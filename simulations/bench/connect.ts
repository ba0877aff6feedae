/**
 * Connect, request, close to the last of many services in the socket, against the same to the pod's address.
 *
 *   node simulations/bench/connect.ts [--services 1,1000,10000,30000] [--seconds S] [--patience S]
 *
 * - All paths and all sizes in one run, side by side: a few connections of each in turn.
 * - `pod address` has no programs and no rules at all: the client is outside the cgroup. `pod address, hooks` is what a connection
 *   that is no service's pays for the programs.
 * - Two endpoints a service, maps filled in batches. Exit code 1 when a target is missed.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { SockPrograms } from '../../bpf/test/sock-programs.ts';
import { encode } from '../../datapath/codec.ts';
import { createNetns, deleteNetns, type RingBuffer, ringBuffer, withNetns } from '../../native/index.ts';
import { QuietMachine } from './quiet-machine.ts';
import { buildClients, type Connected, type ConnectPath, sideBySide } from './side-by-side.ts';

const TARGET = 1.03;
const PORT = 9000;
const VIP_PORT = 80;
const ENDPOINTS = 2;
const IPPROTO_TCP = 6;
const DRAIN_MS = 50;
const server = { ipv4: '192.0.2.2', ipv6: '2001:db8::2' };
const client = { ipv4: '192.0.2.1', ipv6: '2001:db8::1' };

const { values: flags } = parseArgs({
  options: {
    services: { type: 'string', default: '1,1000,10000,30000' },
    seconds: { type: 'string', default: '20' },
    patience: { type: 'string', default: '20' },
  },
});
const sizes = flags.services.split(',').map(Number);
const quiet = new QuietMachine(Number(flags.patience) * 1000);
const netns = { client: `/run/netns/axb-${process.pid}-client`, server: `/run/netns/axb-${process.pid}-server` };

interface Path extends ConnectPath {
  services: number;
}

const loaded: SockPrograms[] = [];
const readers: RingBuffer[] = [];
try {
  buildClients();
  wire();
  const address = server.ipv4;
  const paths: Path[] = [{ name: 'pod address', netns: netns.client, address, port: PORT, cgroup: '', services: 0 }];
  for (const services of sizes) {
    const programs = new SockPrograms(`axb-${process.pid}-${services}`, netns.client);
    loaded.push(programs);
    // As the agent: events that nobody reads are soon no longer written.
    readers.push(ringBuffer(programs.object.map('events'), () => {}));
    const common = { netns: netns.client, cgroup: programs.cgroup, services };
    const vip = fill(programs, services);
    if (services === Math.max(...sizes)) paths.push({ name: 'pod address, hooks', address, port: PORT, ...common });
    paths.push({ name: 'ClusterIP', address: vip, port: VIP_PORT, ...common });
  }
  await quiet.wait();
  const drain = setInterval(() => {
    for (const reader of readers) reader.drain();
  }, DRAIN_MS);
  const found = await sideBySide(paths, { server: netns.server, port: PORT, seconds: Number(flags.seconds) });
  clearInterval(drain);
  process.exitCode = report(paths, found) ? 0 : 1;
} finally {
  for (const reader of readers) reader.close();
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

function report(paths: readonly Path[], found: readonly Connected[]): boolean {
  console.log(
    'connect, request, close: us, and ratio to the pod address without any rules (median of blocks, half of them within)',
  );
  let met = true;
  for (const [i, { name, services: count }] of paths.entries()) {
    const { us, ratio, spread } = found[i] as Connected;
    const isMet = ratio <= TARGET;
    const verdict = name === 'ClusterIP' ? `  target ≤ ${TARGET}: ${isMet ? 'met' : 'MISSED'}` : '';
    if (verdict && !isMet) met = false;
    const label = count > 0 ? `${name}, ${count} services` : name;
    const half = spread.map((one) => one.toFixed(3)).join('–');
    console.log(`  ${label.padEnd(36)} ${us.toFixed(2).padStart(8)} ${ratio.toFixed(3)} (${half})${verdict}`);
  }
  const services = found.filter((_, i) => paths[i]?.name === 'ClusterIP').map(({ ratio }) => ratio);
  const growth = (services.at(-1) ?? 0) / (services[0] ?? 1);
  if (growth > TARGET) met = false;
  console.log(
    `  from ${sizes[0]} to ${sizes.at(-1)} services: ${growth.toFixed(3)}  target ≤ ${TARGET}: ${growth <= TARGET ? 'met' : 'MISSED'}`,
  );
  if (quiet.disturbed)
    console.log(
      'Others used the processors meanwhile: the times are not to be trusted; the ratios are of neighbours in time.',
    );
  return met;
}
