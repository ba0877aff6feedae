/**
 * Services in a live agent when there is too much of everything: a slice of 5,000 endpoints, a map of backends that is full, and
 * changes faster than anybody makes them, under real traffic.
 *
 * - Services have `internalTrafficPolicy: Local`, and one endpoint of each is a pod of this node: the others' addresses are nobody's.
 * - `CHANGE_SECONDS=60 npx vitest run simulations/stories/services-faults` for the minute that the tests have no time for.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { KubeObject } from '../../cluster/events.ts';
import {
  AXONEME,
  commandPod,
  EmbeddedCluster,
  leftovers,
  namespaceOf,
  run,
  serverPod,
  Traffic,
  until,
} from './embedded.ts';
import { RawApi } from './raw-api.ts';

const name = `axt-${process.pid}-faults`;
const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];
const MANY = 5_000;
/** Room for the many, those of the cluster itself and a few. */
const ROOM = MANY + 40;
const CHANGE_SECONDS = Number(process.env.CHANGE_SECONDS ?? 5);
const CHANGES_PER_SECOND = 1_000;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));

let cluster: EmbeddedCluster;
let api: RawApi;
/** Of the pod that serves. */
let pod: Record<Family, string>;

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ maps: { backends: ROOM } }));
  const client = commandPod('demo', 'client', ['sleep', 'infinity']);
  cluster = await EmbeddedCluster.up(name, [namespaceOf('demo'), serverPod('demo', 'web'), client].join(''), [
    '--agent-config',
    config,
  ]);
  api = new RawApi(cluster);
  pod = await until('the pod has addresses', 20_000, async () => {
    const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', 'web', '-o', 'json');
    const { podIPs = [] } = (JSON.parse(stdout) as { status: { podIPs?: { ip: string }[] } }).status;
    const of = (isSix: boolean) => podIPs.find(({ ip }) => ip.includes(':') === isSix)?.ip;
    const [ipv4, ipv6] = [of(false), of(true)];
    return ipv4 && ipv6 ? { ipv4, ipv6 } : undefined;
  });
}, 120_000);
afterAll(async () => {
  api?.close();
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

const numbers: Record<string, number> = { steady: 1, big: 2, late: 3, busy: 4 };
const clusterIPs = (service: string): string[] => [`10.96.77.${numbers[service]}`, `fd00:10:96::77${numbers[service]}`];
const urlsOf = (service: string): string[] =>
  clusterIPs(service).map((ip) => `http://${ip.includes(':') ? `[${ip}]` : ip}/`);

function service(own: string): KubeObject {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'demo', name: own },
    spec: {
      ...{ clusterIP: clusterIPs(own)[0], clusterIPs: clusterIPs(own), ipFamilyPolicy: 'RequireDualStack' },
      ...{ internalTrafficPolicy: 'Local', ports: [{ port: 80, targetPort: 8080, protocol: 'TCP' }] },
    },
  };
}

/** The pod, and others' addresses `first`… of another node. */
function slice(own: string, family: Family, others: number, first = 0): KubeObject {
  const range = numbers[own] ?? 0;
  const address = (n: number): string =>
    family === 'ipv4' ? `10.${100 + range}.${n >> 8}.${n & 255}` : `fd00:77:${range}::${(n + 1).toString(16)}`;
  const away = Array.from({ length: others }, (_, n) => ({ addresses: [address(first + n)], nodeName: 'elsewhere' }));
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'demo', name: `${own}-${family}`, labels: { 'kubernetes.io/service-name': own } },
    addressType: family === 'ipv4' ? 'IPv4' : 'IPv6',
    ports: [{ port: 8080, protocol: 'TCP' }],
    endpoints: [{ addresses: [pod[family]], nodeName: 'node-1' }, ...away].map((one) => ({
      ...one,
      conditions: { ready: true },
    })),
  };
}

interface Shown {
  state: string;
  reason: string;
  backends: { backend: string }[];
  frontends: { row: string }[];
}
async function shown(own: string): Promise<Shown | undefined> {
  const { stdout } = await run(AXONEME, ['service', 'get', `demo/${own}`, '--name', name, '-o', 'json']);
  return (JSON.parse(stdout || '[]') as Shown[])[0];
}

/** The share of the map that is taken, as the agent's metrics say. */
async function fill(): Promise<number> {
  const { stdout } = await run('curl', ['-sS', '--unix-socket', cluster.ready.debugSocket, 'http://agent/metrics']);
  return Number(/^cilium_bpf_map_pressure\{map_name="[^"]*backends"[^}]*\} (\S+)$/m.exec(stdout)?.[1]);
}

async function answers(own: string): Promise<string[]> {
  const asked = urlsOf(own).map((url) => `curl -sS -m 3 '${url}' 2>/dev/null || echo silence`);
  return (await cluster.exec('demo/client', ['sh', '-c', asked.join('\n')])).stdout.trim().split('\n');
}
const balancing = (own: string): Promise<true> =>
  until(`demo/${own} is balancing`, 60_000, async () => {
    const view = await shown(own);
    return (view?.state === 'balancing' && view.frontends.every(({ row }) => row === 'in-sync')) || undefined;
  });

it('a slice with 5,000 endpoints is served, all of them in the kernel', async () => {
  await api.create(service('steady'));
  for (const family of families) await api.create(slice('steady', family, 1));
  await api.create(service('big'));
  await api.create(slice('big', 'ipv4', MANY - 1));
  await api.create(slice('big', 'ipv6', 0));
  await balancing('steady');
  await balancing('big');
  expect(await answers('big')).toEqual(['web', 'web']);
  expect((await shown('big'))?.backends).toHaveLength(MANY + 1);
  expect(await fill()).toBeGreaterThan(MANY / ROOM);
}, 90_000);

it('when the map of backends is full, that is told; what is served stays so; and with room again all is well', async () => {
  await api.create(service('late'));
  await api.create(slice('late', 'ipv4', 200));
  await api.create(slice('late', 'ipv6', 0));
  const failing = await until('demo/late says what is wrong', 60_000, async () => {
    const view = await shown('late');
    return view?.state === 'failing' ? view : undefined;
  });
  expect(failing.reason).toMatch(/map backends is full: its capacity is \d+ entries/);
  expect(await fill()).toBeGreaterThan(0.99);
  expect([await answers('steady'), await answers('big')]).toEqual([
    ['web', 'web'],
    ['web', 'web'],
  ]);
  await api.replace(slice('big', 'ipv4', 10));
  await balancing('late');
  await until(
    'demo/late answers',
    20_000,
    async () => (await answers('late')).every((one) => one === 'web') || undefined,
  );
  expect(await fill()).toBeLessThan(0.2);
}, 150_000);

it(
  `${CHANGES_PER_SECOND} changes a second for ${CHANGE_SECONDS} s harm nobody, and the last one is what stays`,
  async () => {
    await api.create(service('busy'));
    for (const family of families) await api.create(slice('busy', family, 10));
    await balancing('busy');
    const traffic = new Traffic(cluster, 'demo/client', [...urlsOf('busy'), ...urlsOf('steady')]);
    try {
      await until('traffic', 20_000, () => traffic.tally.asked > 20 || undefined);
      const began = Date.now();
      let change = 0;
      const worker = async (own: number): Promise<void> => {
        while (Date.now() - began < CHANGE_SECONDS * 1_000) {
          const ahead = change - ((Date.now() - began) * CHANGES_PER_SECOND) / 1_000;
          if (ahead > 0) await new Promise((resolve) => setTimeout(resolve, ahead));
          await api.replace(slice('busy', families[own % 2] ?? 'ipv4', 10, ++change % 50));
        }
      };
      await Promise.all(Array.from({ length: 8 }, (_, own) => worker(own)));
      const rate = (change * 1_000) / (Date.now() - began);
      const before = traffic.tally.asked;
      for (const family of families) await api.replace(slice('busy', family, 3, 7));
      const wanted = families.flatMap((family) =>
        (slice('busy', family, 3, 7).endpoints as { addresses: string[] }[]).map(({ addresses }) => addresses[0]),
      );
      await until('the last change is in force', 60_000, async () => {
        const view = await shown('busy');
        const there = view?.backends.map(({ backend }) =>
          backend.slice(0, backend.lastIndexOf(':')).replace(/^\[|\]$/g, ''),
        );
        return (view?.state === 'balancing' && sorted(there) === sorted(wanted)) || undefined;
      });
      const inKernel = await until('the kernel has that', 60_000, async () => {
        const { stdout } = await run(AXONEME, ['bpf', 'lb', 'list', '--name', name, '-o', 'json']);
        const busy = (JSON.parse(stdout) as { frontend: string }[]).filter(({ frontend }) =>
          frontend.includes('.77.4:'),
        );
        return busy.length === 1 ? busy : undefined;
      });
      expect(JSON.stringify(inKernel)).toContain(pod.ipv4);
      await until('traffic goes on', 20_000, () => traffic.tally.asked > before + 20 || undefined);
      console.log(`${change} changes, ${Math.round(rate)} a second; ${traffic.tally.asked} requests meanwhile`);
    } finally {
      const { failures } = await traffic.stop();
      expect(failures).toEqual([]);
    }
  },
  60_000 + 2_000 * CHANGE_SECONDS + 60_000,
);

const sorted = (texts: readonly (string | undefined)[] = []): string => [...texts].sort().join(' ');
