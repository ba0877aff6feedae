/**
 * Which backends a service gives, over real traffic: near ones first, local ones only, those that end when there are no others, and the
 * same one for as long as affinity lasts; from a pod, a host process and outside the node, both families.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, sleep, until } from './embedded.ts';

const name = `axt-${process.pid}-choice`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
const ASKED = 12;
const AFFINITY_SECONDS = 3;
const GRACE_SECONDS = 5;
const nodePorts = {
  node: 30_601,
  zone: 30_602,
  ending: 30_603,
  sticky: 30_604,
  inside: 30_605,
  unready: 30_606,
  anyway: 30_607,
} as const;
type Own = keyof typeof nodePorts;
const families = ['ipv4', 'ipv6'] as const;
type ByFamily = Record<(typeof families)[number], string>;

const server = (pod: string, node: string, role = 'web'): string =>
  serverPod('demo', pod).replace(`{app: ${pod}}`, `{role: ${role}}`).replace('spec:\n', `spec:\n  nodeName: ${node}\n`);
const service = (own: Own, spec: Record<string, unknown>, role = 'web'): string =>
  `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'demo', name: own },
    spec: {
      type: 'NodePort',
      selector: { role },
      ipFamilyPolicy: 'RequireDualStack',
      ports: [{ name: 'http', port: 80, targetPort: 8080, nodePort: nodePorts[own] }],
      ...spec,
    },
  })}\n---\n`;
/** Nodes are in zones a, b and c, in turn. */
const manifests = [
  namespaceOf('demo'),
  server('web-1', 'node-1'),
  server('web-2', 'node-2'),
  server('web-3', 'node-3'),
  server('ending-1', 'node-2', 'ending').replace(
    'name: server\n',
    `name: server\n    lifecycle: {preStop: {sleep: {seconds: ${GRACE_SECONDS}}}}\n`,
  ),
  commandPod('demo', 'client', ['sleep', 'infinity']).replace('spec:\n', 'spec:\n  nodeName: node-1\n'),
  service('node', { trafficDistribution: 'PreferSameNode' }),
  service('zone', { trafficDistribution: 'PreferSameZone' }),
  service('inside', { internalTrafficPolicy: 'Local' }),
  service('ending', {}, 'ending'),
  service('unready', {}, 'unready'),
  service('anyway', { publishNotReadyAddresses: true }, 'unready'),
  service('sticky', {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: AFFINITY_SECONDS } },
  }),
].join('');
/** One of its containers has ended: it runs, and is never ready. */
const unready = server('unready-1', 'node-2', 'unready')
  .replace('spec:\n', 'spec:\n  restartPolicy: Never\n')
  .replace('containers:\n', "containers:\n  - {name: done, image: built-in, command: ['true']}\n");
let cluster: EmbeddedCluster;
let node: ByFamily;

const byFamily = (addresses: readonly string[]): ByFamily => ({
  ipv4: addresses.find((address) => !address.includes(':')) ?? '',
  ipv6: addresses.find((address) => address.includes(':')) ?? '',
});
async function read<T>(...what: string[]): Promise<T> {
  return JSON.parse((await cluster.kubectl('get', ...what, '-o', 'json')).stdout) as T;
}

beforeAll(async () => {
  const config = join(folder, 'agent.json');
  // Over IPv4 at the address in the network between the nodes only, not at that of cilium_host.
  writeFileSync(config, JSON.stringify({ services: { mode: 'strict', nodePortAddresses: ['172.16.0.0/12', '::/0'] } }));
  cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '3', '--agent-config', config]);
  writeFileSync(join(folder, 'unready.yaml'), unready);
  expect(await cluster.kubectl('apply', '-f', join(folder, 'unready.yaml'))).toMatchObject({ code: 0 });
  type Node = { status: { addresses: { type: string; address: string }[] } };
  const { addresses } = (await read<Node>('node', 'node-1')).status;
  node = byFamily(addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address));
  await until('all services answer', 30_000, async () => {
    const answers = await Promise.all(places.map((place) => ask(place, 'sticky', 2)));
    return answers.every((names) => names.every((one) => one.startsWith('web-'))) || undefined;
  });
}, 180_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

type Place = 'pod' | 'host' | 'outside';
const places: readonly Place[] = ['pod', 'host', 'outside'];
const url = (address: string, port: number): string =>
  `http://${address.includes(':') ? `[${address}]` : address}:${port}/`;

function at(place: Place, command: string[]): ReturnType<typeof run> {
  if (place === 'pod') return cluster.exec('demo/client', command);
  if (place === 'host') return cluster.onNode('node-1', command);
  return run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]);
}

/** Answers to `count` questions over each family: inside the cluster address is asked, from outside the node port. */
async function ask(place: Place, own: Own, count: number): Promise<string[]> {
  const { spec } = await read<{ spec: { clusterIPs: string[] } }>('service', '-n', 'demo', own);
  const inside = byFamily(spec.clusterIPs);
  const questions = families.map((family) => {
    const target = place === 'outside' ? url(node[family], nodePorts[own]) : url(inside[family], 80);
    const bound = place === 'outside' ? `--interface ${OUTSIDE[family]}` : '';
    return `curl -sS -m 2 ${bound} '${target}' 2>/dev/null || echo "curl $?"`;
  });
  const script = `for i in $(seq ${count}); do ${questions.join('; ')}; done`;
  return (await at(place, ['sh', '-c', script])).stdout.trim().split('\n');
}

describe.each(places)('from %s', (place) => {
  it.each(['node', 'zone'] as const)(
    'the pod of the same %s is preferred',
    async (own) => {
      expect(await ask(place, own, ASKED)).toEqual(Array<string>(2 * ASKED).fill('web-1'));
    },
    60_000,
  );

  it('a pod that is not ready serves only where the service says so', async () => {
    await until('it is served', 30_000, async () => {
      const answers = await ask(place, 'anyway', 1);
      return answers.every((answer) => answer === 'unready-1') || undefined;
    });
    expect(await ask(place, 'unready', 1)).toEqual(['curl 7', 'curl 7']);
  }, 60_000);

  it('affinity lasts as long as it should', async () => {
    const first = new Set(await ask(place, 'sticky', ASKED));
    // One backend for each family's client.
    expect(first.size).toBeLessThanOrEqual(2);
    const changed = async (): Promise<true | undefined> => {
      await sleep((AFFINITY_SECONDS + 1) * 1_000);
      const now = await ask(place, 'sticky', 1);
      return now.some((one) => !first.has(one)) || undefined;
    };
    await until('another backend', 60_000, changed);
  }, 90_000);
});

it.each(['pod', 'host'] as const)(
  'internalTrafficPolicy Local: from %s only the pod of the node',
  async (place) => {
    expect(await ask(place, 'inside', ASKED)).toEqual(Array<string>(2 * ASKED).fill('web-1'));
  },
  60_000,
);

it('node ports are at the chosen addresses and on loopback, and nowhere else', async () => {
  const { stdout } = await cluster.onNode('node-1', ['ip', '-j', '-4', 'address', 'show', 'cilium_host']);
  const [{ addr_info: [{ local: gateway = '' } = {}] = [] } = {}] = JSON.parse(stdout) as {
    addr_info: { local: string }[];
  }[];
  expect(gateway).toMatch(/^10\./);
  const answer = async (address: string): Promise<string> =>
    (await at('host', ['curl', '-sS', '-m', '2', url(address, nodePorts.node)])).stdout.trim();
  expect(await Promise.all([node.ipv4, '127.0.0.1', gateway].map(answer))).toEqual(['web-1', 'web-1', '']);
}, 30_000);

it('a pod that ends serves while there is no other, then nobody does', async () => {
  expect((await cluster.kubectl('delete', 'pod', '-n', 'demo', 'ending-1', '--wait=false')).code).toBe(0);
  await until('it is ending', 10_000, async () => {
    type Slices = { items: { endpoints?: { conditions: { terminating?: boolean } }[] }[] };
    const { items } = await read<Slices>('endpointslices', '-n', 'demo', '-l', 'kubernetes.io/service-name=ending');
    const all = items.flatMap(({ endpoints }) => endpoints ?? []);
    return (all.length > 0 && all.every(({ conditions }) => conditions.terminating)) || undefined;
  });
  for (const place of places) expect(await ask(place, 'ending', 1), place).toEqual(['ending-1', 'ending-1']);
  await until('it is gone', 30_000, async () => {
    const answers = await Promise.all(places.map((place) => ask(place, 'ending', 1)));
    return answers.flat().every((answer) => answer === 'curl 7') || undefined;
  });
}, 60_000);

it('when the preferred pod goes, the others serve', async () => {
  expect((await cluster.kubectl('delete', 'pod', '-n', 'demo', 'web-1', '--wait=false')).code).toBe(0);
  for (const place of places)
    await until(`others answer from ${place}`, 20_000, async () => {
      const answers = await ask(place, 'node', ASKED);
      const names = new Set(answers);
      return (names.size === 2 && names.has('web-2') && names.has('web-3')) || undefined;
    });
}, 90_000);
