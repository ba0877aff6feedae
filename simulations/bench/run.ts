/** `npm run bench [-- NAME…]`: runs the benchmarks one after another, each in a process of its own. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const benchmarks = {
  'program-cost': 'program-cost.ts',
  'service-cost': 'service-cost.ts',
  'pod-to-pod': 'pod-to-pod.ts',
  'pod-latency': 'pod-latency.ts',
  connect: 'connect.ts',
  policy: 'policy.ts',
  'policy-live': 'policy-live.ts',
  services: 'services.ts',
  xdp: 'xdp.ts',
  nodes: 'nodes.ts',
  'many-nodes': 'many-nodes.ts',
  flows: 'flows.ts',
  visibility: 'visibility.ts',
  engine: 'engine.ts',
  replay: 'replay.ts',
  simulate: 'simulate.ts',
} as const;
type Name = keyof typeof benchmarks;

const known = Object.keys(benchmarks) as Name[];
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !(known as string[]).includes(name));
if (unknown.length > 0) {
  console.error(`no benchmark '${unknown.join("', '")}'; there are ${known.join(', ')}`);
  process.exit(2);
}

for (const name of wanted.length > 0 ? (wanted as Name[]) : known) {
  console.log(`== ${name}`);
  const { status } = spawnSync(process.execPath, ['--expose-gc', join(import.meta.dirname, benchmarks[name])], {
    stdio: 'inherit',
  });
  if (status !== 0) process.exitCode = 1;
}
