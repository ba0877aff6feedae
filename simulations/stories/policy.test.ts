/** Policy with real packets while everything moves: labels, policies, the agent. What is allowed is not hurt, what is denied does not pass. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CONNECTIONS_OF_PORT, Connections, inPod } from './connections.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, sleep, Traffic, until } from './embedded.ts';

const CONNECTIONS = 50_000;
const FIRST = 9000;
const ports = [8080, ...Array.from({ length: CONNECTIONS / CONNECTIONS_OF_PORT }, (_, i) => FIRST + i)];
const name = `axt-${process.pid}-policy`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
let cluster: EmbeddedCluster;
let urls: string[];

const policy = (policyName: string, spec: object): object => ({
  apiVersion: 'cilium.io/v2',
  kind: 'CiliumNetworkPolicy',
  metadata: { namespace: 'shop', name: policyName },
  spec,
});
const fromFrontend = (...extra: object[]): object =>
  policy('frontend-to-backend', {
    endpointSelector: { matchLabels: { app: 'backend' } },
    ingress: [
      {
        fromEndpoints: [{ matchLabels: { app: 'frontend' } }],
        toPorts: [{ ports: ports.map((port) => ({ port: String(port), protocol: 'TCP' })) }],
      },
      ...extra,
    ],
  });

async function kubectl(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cluster.kubectl(...args);
  expect(code, stderr).toBe(0);
  return stdout;
}
async function apply(object: object): Promise<void> {
  const file = join(cluster.dir, 'policy.json');
  writeFileSync(file, JSON.stringify(object));
  await kubectl('apply', '-f', file);
}
const identityOf = async (pod: string): Promise<number> =>
  Number(await kubectl('get', 'ciliumendpoint', '-n', 'shop', pod, '-o', 'jsonpath={.status.identity.id}'));
const isDenied = async (pod: string): Promise<true | undefined> => {
  const { code } = await cluster.exec(`shop/${pod}`, ['curl', '-sS', '-m', '1', urls[0] ?? '']);
  return code === 0 ? undefined : true;
};

beforeAll(async () => {
  const client = (pod: string): string => commandPod('shop', pod, ['sleep', 'infinity']);
  const pods = [serverPod('shop', 'backend'), client('frontend'), client('stranger')];
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ policy: { identityChangeGraceMs: 200 } }));
  cluster = await EmbeddedCluster.up(name, namespaceOf('shop') + pods.join(''), ['--agent-config', config]);
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  urls = (items.find(({ metadata }) => metadata?.name === 'backend')?.status?.podIPs ?? []).map(
    ({ ip = '' }) => `http://${ip.includes(':') ? `[${ip}]` : ip}:8080/`,
  );
  expect(urls).toHaveLength(2);
  await apply(fromFrontend());
  await until('policy in force', 10_000, () => isDenied('stranger'));
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

/** Runs `work` under traffic of the frontend, which is allowed, and of the stranger, which is not. */
async function under(work: () => Promise<void>, askedMin: number): Promise<void> {
  const allowed = new Traffic(cluster, 'shop/frontend', urls);
  const denied = new Traffic(cluster, 'shop/stranger', urls);
  await until('first requests', 10_000, () => allowed.tally.asked > 20 || undefined);
  await work();
  const [good, bad] = await Promise.all([allowed.stop(), denied.stop()]);
  expect(good.failures).toEqual([]);
  expect(good.asked).toBeGreaterThan(askedMin);
  expect(bad.asked).toBe(0);
}

it('labels of a pod, of its peer and of their namespace change: other identities, no request lost', async () => {
  const before = await identityOf('frontend');
  await under(async () => {
    for (const version of ['v2', 'v3', 'v4']) {
      await kubectl('label', 'pod', '-n', 'shop', 'frontend', `version=${version}`, '--overwrite');
      await kubectl('label', 'pod', '-n', 'shop', 'backend', `version=${version}`, '--overwrite');
      await sleep(300);
      await kubectl('label', 'namespace', 'shop', `stage=${version}`, '--overwrite');
      await sleep(300);
    }
    await until('another identity', 10_000, async () => ((await identityOf('frontend')) !== before ? true : undefined));
  }, 100);
}, 60_000);

/** Packets that policy dropped so far. An agent that has just told of many connections may be late with its answer. */
async function denied(): Promise<number> {
  const path = '/v1/bpf/metrics';
  const counts = await until('metrics', 60_000, () =>
    cluster.debug<{ text: string; packets: number }[]>(path).catch(() => undefined),
  );
  return counts.filter(({ text }) => /^policy denied/i.test(text)).reduce((sum, { packets }) => sum + packets, 0);
}

it(`policies come and go over ${CONNECTIONS} connections that are used: no packet of them is lost`, async () => {
  const addresses = urls.map((url) => new URL(url).hostname.replace(/[[\]]/g, ''));
  const server = await Connections.serve(inPod(cluster, 'shop/backend'), FIRST, CONNECTIONS);
  const count = CONNECTIONS / addresses.length;
  const clients = await Promise.all(
    addresses.map((address, i) => {
      const port = FIRST + (i * count) / CONNECTIONS_OF_PORT;
      return Connections.hold(inPod(cluster, 'shop/frontend'), { address, port, count });
    }),
  );
  const before = await denied();
  for (let round = 0; round < 20; round++) {
    const extra = { fromCIDR: [`198.51.100.${round}/32`] };
    await apply(fromFrontend(...(round % 2 ? [extra] : [])));
    await apply(
      policy('denial', { endpointSelector: {}, enableDefaultDeny: { ingress: false }, ingressDeny: [extra] }),
    );
    if (round % 3 === 0) await kubectl('delete', 'ciliumnetworkpolicy', '-n', 'shop', 'denial');
  }
  const held = (await Promise.all(clients.map((client) => client.stop()))).flat();
  expect((await denied()) - before).toBe(0);
  expect(held.reduce((sum, { connections }) => sum + connections, 0)).toBe(CONNECTIONS);
  for (const { broken, rounds } of held) {
    expect(broken).toBe(0);
    expect(rounds).toBeGreaterThan(0);
  }
  expect((await server.stop()).reduce((sum, { connections }) => sum + connections, 0)).toBe(CONNECTIONS);
}, 240_000);

it('the agent is killed: policy stays in force all the time', async () => {
  await under(async () => {
    for (let round = 0; round < 5; round++) {
      for (const pid of cluster.agentPids()) process.kill(pid, 'SIGKILL');
      await sleep(200 + round * 300);
      await until('agent restarted', 20_000, () => cluster.agentPids().length > 0 || undefined);
      await sleep(600);
    }
  }, 200);
  await until('the debug socket', 20_000, () =>
    cluster.debug('/v1/status').then(
      () => true as const,
      () => undefined,
    ),
  );
}, 90_000);

it('a policy that no longer allows ends a connection that runs', async () => {
  const traffic = new Traffic(cluster, 'shop/frontend', urls);
  await until('first requests', 10_000, () => traffic.tally.asked > 20 || undefined);
  await apply(policy('frontend-to-backend', { endpointSelector: { matchLabels: { app: 'backend' } }, ingress: [{}] }));
  await until('denied', 10_000, () => isDenied('frontend'));
  const { asked } = traffic.tally;
  await until('a request fails', 15_000, () => traffic.tally.failed > 0 || undefined);
  expect((await traffic.stop()).asked - asked).toBeLessThan(5);
}, 60_000);
