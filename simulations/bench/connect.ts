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
import { parseArgs } from 'node:util';
import type { Services } from './kube-proxy-rules.ts';
import { QuietMachine } from './quiet-machine.ts';
import { type SocketServices, socketServices } from './service-maps.ts';
import { buildClients, type Connected, type ConnectPath, sideBySide } from './side-by-side.ts';
import { Wires } from './wires.ts';

const TARGET = 1.03;
const PORT = 9000;
const VIP_PORT = 80;
const ENDPOINTS = 2;

const { values: flags } = parseArgs({
  options: {
    services: { type: 'string', default: '1,1000,10000,30000' },
    seconds: { type: 'string', default: '20' },
    patience: { type: 'string', default: '20' },
  },
});
const sizes = flags.services.split(',').map(Number);
const quiet = new QuietMachine(Number(flags.patience) * 1000);

interface Path extends ConnectPath {
  services: number;
}

/** Of the last one both endpoints are the server. */
const servicesOf = (count: number, server: string): Services => ({
  count,
  endpoints: ENDPOINTS,
  port: VIP_PORT,
  targetPort: PORT,
  clusterIP: (i) => `10.96.${(i + 1) >> 8}.${(i + 1) & 255}`,
  endpoint: (i, e) => (i === count - 1 ? server : `10.${e + 1}.${i >> 8}.${i & 255}`),
});

const loaded: SocketServices[] = [];
const wires = new Wires();
try {
  buildClients();
  const { netns, server } = wires.client('client');
  const pod = { netns, address: server, port: PORT };
  const paths: Path[] = [{ ...pod, name: 'pod address', cgroup: '', services: 0 }];
  for (const count of sizes) {
    const services = servicesOf(count, server);
    const own = socketServices(netns, services);
    loaded.push(own);
    const common = { cgroup: own.cgroup, services: count };
    if (count === Math.max(...sizes)) paths.push({ ...pod, ...common, name: 'pod address, hooks' });
    paths.push({ netns, address: services.clusterIP(count - 1), port: VIP_PORT, ...common, name: 'ClusterIP' });
  }
  await quiet.wait();
  const found = await sideBySide(paths, { server: wires.server, port: PORT, seconds: Number(flags.seconds) });
  process.exitCode = report(paths, found) ? 0 : 1;
} finally {
  for (const own of loaded) own.close();
  wires.close();
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
