/** What goes wrong on a node besides the agent: rows changed behind its back, an API server out of reach, or one that makes no identities. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openPinnedLink, openPinnedMap } from '../../native/index.ts';
import { ApiBetween } from './api-between.ts';
import {
  commandPod,
  EmbeddedCluster,
  leftovers,
  namespaceOf,
  run,
  serverPod,
  sleep,
  Traffic,
  until,
} from './embedded.ts';

/** One resync interval of the agent's default, and the repair. */
const REPAIR_WITHIN_MS = 40_000;
const OUTAGE_MS = 10_000;
/** Key of 198.51.100.1/32 in `ipcache`. */
const STRANGER = Buffer.from('8000000000000000000000000000ffffc6336401', 'hex');
const name = `axt-${process.pid}-faults`;
const folder = mkdtempSync(join(tmpdir(), `${name}-`));
let cluster: EmbeddedCluster;
let netns: string;
let pins: string;

beforeAll(async () => {
  const pods = [
    serverPod('demo', 'web'),
    serverPod('demo', 'doomed'),
    commandPod('demo', 'client', ['sleep', 'infinity']),
  ];
  const config = join(folder, 'agent.json');
  writeFileSync(config, JSON.stringify({ policy: { identityChangeGraceMs: 200 } }));
  cluster = await EmbeddedCluster.up(name, namespaceOf('demo') + pods.join(''), ['--agent-config', config]);
  const [node] = cluster.ready.nodes;
  if (!node) throw new Error('no node');
  netns = node.netns.split('/').at(-1) ?? '';
  pins = `/sys/fs/bpf/axoneme/${name}/${node.name}`;
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  rmSync(folder, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

const addressesOf = async (pod: string): Promise<string[]> => {
  const { status } = await cluster.core.readNamespacedPod({ namespace: 'demo', name: pod });
  return (status?.podIPs ?? []).map(({ ip = '' }) => ip);
};
const answers = async (address: string): Promise<boolean> => {
  const host = address.includes(':') ? `[${address}]` : address;
  return (await cluster.exec('demo/client', ['curl', '-sS', '-m', '2', `http://${host}:8080/`])).code === 0;
};

interface Explained {
  row: { state: string; actual?: unknown };
  op?: { reason: string; action: string; doneAt?: number };
}
const explained = (table: string, key: string): Promise<Explained> =>
  cluster.debug<Explained>(`/v1/explain/${table}/${encodeURIComponent(key)}`);
const repaired = (table: string, key: string): Promise<true> =>
  until(`${table} ${key} repaired`, REPAIR_WITHIN_MS, async () => {
    const { row, op } = await explained(table, key);
    return row.state === 'in-sync' && op?.reason === 'drift' && op.doneAt !== undefined ? true : undefined;
  });

interface LinkFact {
  ifname: string;
}

describe('rows changed behind the agent’s back', () => {
  it('a route, a map entry and a program are put back within a resync, an entry of nobody is taken out, and it is said', async () => {
    const [ipv4 = '', ipv6 = ''] = await addressesOf('web');
    expect([await answers(ipv4), await answers(ipv6)]).toEqual([true, true]);
    const routes = await run('ip', ['-n', netns, '-j', 'route', 'get', ipv4]);
    const link = (JSON.parse(routes.stdout) as { dev: string }[])[0]?.dev ?? '';

    await run('ip', ['-n', netns, 'route', 'del', `${ipv4}/32`]);
    const endpoints = openPinnedMap(`${pins}/maps/endpoints`);
    const key = Buffer.alloc(16);
    key.fill(0xff, 10, 12);
    Buffer.from(ipv4.split('.').map(Number)).copy(key, 12);
    expect(endpoints.delete(key)).toBe(true);
    endpoints.close();
    const ingress = openPinnedLink(`${pins}/links/${link}-ingress`);
    ingress.detach();
    ingress.close();
    expect(await answers(ipv4)).toBe(false);
    const ipcache = openPinnedMap(`${pins}/maps/ipcache`);
    const [, sample] = ipcache.entries()[0] ?? [];
    if (!sample) throw new Error('ipcache is empty');
    ipcache.put(STRANGER, sample);

    await Promise.all([
      repaired('routes', `${ipv4}/32`),
      repaired('bpf.endpoints', ipv4),
      repaired('attachments', `${link}/ingress`),
    ]);
    await until('198.51.100.1/32 taken out', REPAIR_WITHIN_MS, () => ipcache.get(STRANGER) === undefined || undefined);
    ipcache.close();
    expect([await answers(ipv4), await answers(ipv6)]).toEqual([true, true]);
    const { op } = await explained('bpf.endpoints', ipv4);
    expect(op).toMatchObject({ action: 'put', reason: 'drift' });
    expect(cluster.output).toContain(`repaired drift: put bpf.endpoints ${ipv4}`);
  }, 90_000);
});

describe('the API server is out of reach', () => {
  it('nothing changes on the node; pods still go; on return it catches up without a restart', async () => {
    const [before] = cluster.agentPids();
    const [ipv4 = ''] = await addressesOf('web');
    const traffic = new Traffic(cluster, 'demo/client', [`http://${ipv4}:8080/`]);
    await until('first requests', 10_000, () => traffic.tally.asked > 10 || undefined);
    const links = async (): Promise<LinkFact[]> =>
      JSON.parse((await run('ip', ['-n', netns, '-j', 'link'])).stdout) as LinkFact[];
    const count = (await links()).length;
    const gateway = (
      JSON.parse((await run('ip', ['-n', netns, '-j', 'route', 'show', 'default'])).stdout) as { gateway: string }[]
    )[0]?.gateway;

    await run('ip', ['-n', netns, 'route', 'add', 'unreachable', `${gateway}/32`]);
    const labelled = await cluster.kubectl('label', 'pod', '-n', 'demo', 'web', 'outage=yes');
    expect(labelled.code).toBe(0);
    await sleep(OUTAGE_MS / 2);
    expect((await links()).length).toBe(count);
    // The kubelet can still take a pod down: CNI DEL needs no API server.
    await cluster.kubectl('delete', 'pod', '-n', 'demo', 'doomed', '--wait=false');
    await until('doomed unwired', 20_000, async () => ((await links()).length < count ? true : undefined));
    await sleep(OUTAGE_MS / 2);
    const identityBefore = (await explained('bpf.ipcache', `${ipv4}/32`)).row.actual;
    await run('ip', ['-n', netns, 'route', 'del', 'unreachable', `${gateway}/32`]);

    await until('the label change is caught up with', 60_000, async () => {
      const { actual } = (await explained('bpf.ipcache', `${ipv4}/32`)).row;
      return JSON.stringify(actual) !== JSON.stringify(identityBefore) || undefined;
    });
    const tally = await traffic.stop();
    expect(tally.failures).toEqual([]);
    expect(cluster.agentPids()).toEqual([before]);
  }, 150_000);
});

interface Endpoint {
  pod: string;
  state: string;
  reason: string;
  identity: number;
  ingress: string;
}
const endpointOf = async (pod: string): Promise<Endpoint | undefined> =>
  (await cluster.debug<Endpoint[]>('/v1/endpoints')).find((one) => one.pod === `demo/${pod}`);
const CLUSTER_IDENTITIES = { first: 256, count: 65_280 };

async function apply(manifest: string): Promise<void> {
  const file = join(cluster.dir, 'more.yaml');
  writeFileSync(file, manifest);
  const { code, stderr } = await cluster.kubectl('apply', '-f', file);
  expect(code, stderr).toBe(0);
}
const whenReady = (pod: string): Promise<Endpoint> =>
  until(`${pod} ready`, 60_000, async () => {
    const now = await endpointOf(pod);
    return now?.state === 'ready' ? now : undefined;
  });

describe('the API server makes no identities', () => {
  let between: ApiBetween;
  const isClaim = (method: string, { pathname }: URL): boolean =>
    method === 'POST' && pathname.endsWith('/ciliumidentities');
  beforeAll(async () => {
    await apply(`apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: demo, name: closed}
spec: {podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: client}}}]}]}
`);
    between = await ApiBetween.of(cluster);
  }, 60_000);
  afterAll(() => between?.close(), 60_000);

  it('it is slow: a pod waits and says for what, nothing of it is wired; then it has its policy from the first packet', async () => {
    let release = (): void => undefined;
    const held = new Promise<undefined>((done) => {
      release = () => done(undefined);
    });
    between.judge = (method, url) => (isClaim(method, url) ? held : undefined);
    const rows = async () => (await cluster.debug<{ rows: unknown[] }>('/v1/tables/bpf.endpoints')).rows.length;
    const before = await rows();
    await apply(serverPod('demo', 'late'));
    const waiting = await until('late waits', 30_000, () => endpointOf('late'));
    expect(waiting).toMatchObject({ state: 'created', identity: 0 });
    expect(waiting.reason).toMatch(/^labels .*k8s:app=late.* have no identity yet$/);
    await sleep(500);
    expect((await endpointOf('late'))?.state).toBe('created');
    expect(await rows()).toBe(before);
    release();
    expect(await whenReady('late')).toMatchObject({ ingress: 'Enabled', reason: '' });
  }, 120_000);

  it('none is left: a new pod waits, one whose labels change keeps what it has; both go on when there is one again', async () => {
    const status = { kind: 'Status', apiVersion: 'v1', status: 'Failure', reason: 'AlreadyExists', code: 409 };
    const { first, count } = CLUSTER_IDENTITIES;
    const all = Array.from({ length: count }, (_, i) => ({ metadata: { name: String(first + i) } }));
    between.judge = (method, url) => {
      if (isClaim(method, url)) return { status: 409, body: { ...status, message: 'already exists' } };
      const isList = url.pathname.endsWith('/ciliumidentities') && !url.searchParams.has('watch');
      return isList ? { status: 200, body: { metadata: {}, items: all } } : undefined;
    };
    const before = await endpointOf('web');
    const [ipv4 = ''] = await addressesOf('web');
    const traffic = new Traffic(cluster, 'demo/client', [`http://${ipv4}:8080/`]);
    await until('first requests', 10_000, () => traffic.tally.asked > 10 || undefined);
    await apply(serverPod('demo', 'toomany'));
    await cluster.kubectl('label', 'pod', '-n', 'demo', 'web', 'one=more', '--overwrite');
    const said = /all 65280 numbers of identities are taken by CiliumIdentity objects of this cluster/;
    const saying = (pod: string): Promise<Endpoint> =>
      until(`${pod} says it`, 30_000, async () => {
        const now = await endpointOf(pod);
        return now && said.test(now.reason) ? now : undefined;
      });
    expect((await saying('toomany')).state).toBe('created');
    expect(await saying('web')).toMatchObject({ state: 'ready', identity: before?.identity });
    between.judge = () => undefined;
    await whenReady('toomany');
    await until('another identity of web', 60_000, async () => {
      const now = await endpointOf('web');
      return now && now.identity !== before?.identity && now.reason === '' ? now : undefined;
    });
    expect((await traffic.stop()).failures).toEqual([]);
  }, 150_000);
});
