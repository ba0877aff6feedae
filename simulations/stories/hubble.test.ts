/** Flows of real traffic, as a client of the Hubble API sees them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { parseFilters } from '../../cli/observe/filters.ts';
import { HubbleClient } from '../../observe/hubble/client.ts';
import type { Flow } from '../../observe/hubble/types.ts';
import { commandPod, EmbeddedCluster, namespaceOf, run, serverPod, until } from './embedded.ts';
import { filters } from './flow-filters.ts';

const name = `axt-${process.pid}-hubble`;
const AXONEME = new URL('../../cli/axoneme', import.meta.url).pathname;
let cluster: EmbeddedCluster;

const CLUSTER_IPS = { IPv4: '10.96.203.1', IPv6: 'fd00:10:96::db01' } as const;
const service = `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: web}
spec:
  selector: {app: server}
  ipFamilyPolicy: RequireDualStack
  clusterIP: ${CLUSTER_IPS.IPv4}
  clusterIPs: ["${CLUSTER_IPS.IPv4}", "${CLUSTER_IPS.IPv6}"]
  ports: [{name: http, port: 80, targetPort: 8080}]
---
`;
const policies = `apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: guarded-tcp}
spec:
  endpointSelector: {matchLabels: {app: guarded}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}]}]
---
`;

interface SeenFlow {
  Type: string;
  sock_xlate_point?: string;
  socket_cookie?: string;
  ingress_allowed_by?: { name: string; namespace: string }[];
  destination_service?: { name: string; namespace: string };
  verdict: string;
  traffic_direction: string;
  is_reply?: boolean;
  trace_observation_point?: string;
  drop_reason_desc?: string;
  node_name: string;
  source: { pod_name?: string; namespace?: string; identity: number; labels: string[] };
  destination: { pod_name?: string; labels: string[] };
  IP: { source: string; source_xlated?: string; ipVersion: string };
  l4: Record<string, object>;
}

async function observe(...flags: string[]): Promise<SeenFlow[]> {
  const { code, stdout, stderr } = await run(AXONEME, ['observe', '--name', name, '--all', '-o', 'json', ...flags]);
  expect(code, stderr).toBe(0);
  return stdout
    .split('\n')
    .filter(Boolean)
    .map((line) => (JSON.parse(line) as { flow: SeenFlow }).flow);
}

/** The events are read every 50 ms. */
const seen = (...flags: string[]): Promise<SeenFlow[]> =>
  until(`flows ${flags.join(' ')}`, 5_000, async () => {
    const flows = await observe(...flags);
    return flows.length > 0 ? flows : undefined;
  });

const curl = (...args: string[]) =>
  run(AXONEME, ['exec', '--name', name, 'demo/client', '--', 'curl', '-sS', '-m', '3', ...args]);

beforeAll(async () => {
  const pods = [
    commandPod('demo', 'client', ['sleep', 'infinity']),
    serverPod('demo', 'server'),
    serverPod('demo', 'guarded'),
  ];
  cluster = await EmbeddedCluster.up(name, [namespaceOf('demo'), ...pods, service, policies].join(''));
}, 60_000);
afterAll(() => cluster?.down(), 30_000);

it('shows a connection from pod to pod with names, identity and direction, over IPv4 and IPv6', async () => {
  const pod = await cluster.core.readNamespacedPod({ namespace: 'demo', name: 'server' });
  for (const { ip = '' } of pod.status?.podIPs ?? []) {
    const isIpv6 = ip.includes(':');
    expect((await curl(`http://${isIpv6 ? `[${ip}]` : ip}:8080/`)).code).toBe(0);
    const flows = await seen('--to-pod', 'demo/server', '--from-pod', 'demo/client', isIpv6 ? '--ipv6' : '--ipv4');
    expect(flows[0]).toMatchObject({
      verdict: 'FORWARDED',
      is_reply: false,
      trace_observation_point: 'TO_ENDPOINT',
      node_name: `${name}/node-1`,
      source: { pod_name: 'client', namespace: 'demo' },
      destination: { pod_name: 'server' },
      IP: { ipVersion: isIpv6 ? 'IPv6' : 'IPv4' },
      l4: { TCP: { destination_port: 8080, flags: { SYN: true } } },
    });
    expect(flows[0]?.source.labels).toContain('k8s:io.kubernetes.pod.namespace=demo');
    const [reply] = await seen('--from-pod', 'demo/server', '--to-pod', 'demo/client', isIpv6 ? '--ipv6' : '--ipv4');
    expect(reply).toMatchObject({ is_reply: true, verdict: 'FORWARDED' });
  }
}, 30_000);

it('shows the world outside, and the address that a masqueraded connection came from', async () => {
  await curl('http://203.0.113.10/');
  const flows = await seen('--from-pod', 'demo/client', '--to-identity', 'world-ipv4');
  const masqueraded = flows.find(({ IP }) => IP.source_xlated);
  expect(masqueraded).toMatchObject({
    traffic_direction: 'EGRESS',
    destination: { labels: ['reserved:world-ipv4'] },
    trace_observation_point: 'TO_NETWORK',
  });
  expect(masqueraded?.IP.source).toMatch(/^10\.0\.1\./);
  expect(masqueraded?.IP.source_xlated).toMatch(/^172\.28\./);
}, 30_000);

const addressesOf = async (pod: string): Promise<string[]> => {
  const { status } = await cluster.core.readNamespacedPod({ namespace: 'demo', name: pod });
  return (status?.podIPs ?? []).map(({ ip = '' }) => ip);
};
const literal = (ip: string): string => (ip.includes(':') ? `[${ip}]` : ip);
const familyFlag = (ip: string): string => (ip.includes(':') ? '--ipv6' : '--ipv4');

it('shows a service, as the socket was translated, and the connection to its backend', async () => {
  for (const ip of Object.values(CLUSTER_IPS)) {
    expect((await curl(`http://${literal(ip)}/`)).stdout.trim()).toBe('server');
    const flows = await seen('--from-pod', 'demo/client', '--type', 'trace-sock', familyFlag(ip));
    expect(flows).toContainEqual(
      expect.objectContaining({
        Type: 'SOCK',
        verdict: 'TRACED',
        sock_xlate_point: 'SOCK_XLATE_POINT_PRE_DIRECTION_FWD',
        destination_service: { name: 'web', namespace: 'demo' },
      }),
    );
    const translated = flows.find(({ verdict }) => verdict === 'TRANSLATED');
    expect(translated).toMatchObject({
      sock_xlate_point: 'SOCK_XLATE_POINT_POST_DIRECTION_FWD',
      destination: { pod_name: 'server' },
      l4: { TCP: { destination_port: 8080 } },
    });
    expect(Number(translated?.socket_cookie)).toBeGreaterThan(0);
  }
}, 30_000);

it('shows UDP, ICMP and the host', async () => {
  for (const ip of await addressesOf('server')) {
    const ask = `echo hello | nc -u -w 1 ${ip} 8080 | head -1`;
    expect((await cluster.exec('demo/client', ['sh', '-c', ask])).stdout.trim()).toBe('server');
    const to = ['--from-pod', 'demo/client', '--to-pod', 'demo/server', familyFlag(ip)];
    expect((await seen(...to, '--protocol', 'udp'))[0]).toMatchObject({ l4: { UDP: { destination_port: 8080 } } });
    expect((await cluster.exec('demo/client', ['ping', '-c', '1', '-W', '2', ip])).code).toBe(0);
    const [ping] = await seen(...to, '--protocol', ip.includes(':') ? 'icmpv6' : 'icmpv4');
    expect(ping).toMatchObject({ l4: ip.includes(':') ? { ICMPv6: { type: 128 } } : { ICMPv4: { type: 8 } } });
    expect((await cluster.onNode('node-1', ['curl', '-sS', '-m', '3', `http://${literal(ip)}:8080/`])).code).toBe(0);
    const [host] = await seen(
      '--from-identity',
      'host',
      '--to-pod',
      'demo/server',
      '--protocol',
      'tcp',
      familyFlag(ip),
    );
    expect(host).toMatchObject({ verdict: 'FORWARDED', source: { identity: 1, labels: ['reserved:host'] } });
  }
}, 30_000);

it('names the policy that allows, and denies what none allows', async () => {
  for (const ip of await addressesOf('guarded')) {
    expect((await curl(`http://${literal(ip)}:8080/`)).stdout.trim()).toBe('guarded');
    const to = ['--from-pod', 'demo/client', '--to-pod', 'demo/guarded', familyFlag(ip)];
    const allowed = await seen(...to, '--type', 'policy-verdict', '--verdict', 'FORWARDED');
    expect(allowed[0]).toMatchObject({
      traffic_direction: 'INGRESS',
      ingress_allowed_by: [{ name: 'guarded-tcp', namespace: 'demo' }],
    });
    await cluster.exec('demo/client', ['sh', '-c', `echo hello | nc -u -w 1 ${ip} 8080`]);
    const [denied] = await seen(...to, '--verdict', 'DROPPED', '--protocol', 'udp');
    expect(denied).toMatchObject({
      verdict: 'DROPPED',
      drop_reason_desc: 'POLICY_DENIED',
      traffic_direction: 'INGRESS',
    });
  }
}, 30_000);

it('shows what is dropped, and why', async () => {
  const [drop] = await seen('--verdict', 'DROPPED', '--protocol', 'icmpv6');
  expect(drop).toMatchObject({ verdict: 'DROPPED', drop_reason_desc: expect.stringMatching(/ICMPV6|SOURCE/) });
  // From an address of the link alone, which nobody knows; the pod is known.
  const ofLink = await until('a pod that asks for routers', 20_000, async () =>
    (await observe('--verdict', 'DROPPED', '--from-pod', 'demo/')).find(({ IP }) => IP.source.startsWith('fe80:')),
  );
  expect(ofLink).toMatchObject({ traffic_direction: 'EGRESS', source: { pod_name: expect.stringMatching(/./) } });
  expect(ofLink.source.identity).toBeGreaterThanOrEqual(256);
}, 30_000);

it('finds by each filter of `observe` what there is, and by its opposite the rest', async () => {
  const { stdout } = await run(AXONEME, ['status', '--name', name, '-o', 'json']);
  const client = new HubbleClient(`unix://${(JSON.parse(stdout) as { hubble: { socket: string } }).hubble.socket}`);
  const [server] = await addressesOf('server');
  const [from] = await addressesOf('client');
  const until = { seconds: Math.floor(Date.now() / 1000), nanos: 0 };
  const by = async (args: string[]): Promise<Flow[]> => {
    const { whitelist, blacklist, rest } = parseFilters(args);
    expect(rest).toEqual([]);
    const found: Flow[] = [];
    for await (const { flow } of client.flows({ whitelist, blacklist, until })) if (flow) found.push(whole(flow));
    return found;
  };
  try {
    const all = await by([]);
    const [one] = await by(['--to-pod', 'demo/server', '--protocol', 'tcp']);
    const identity = String(one?.source.identity);
    for (const [words, is] of filters({
      cluster: name,
      server,
      from,
      identity,
      uuid: one?.uuid ?? '',
      link: one?.interface?.name ?? '',
    })) {
      const args = words.split(' ');
      const found = await by(args);
      expect(found.length, words).toBeGreaterThan(0);
      expect(
        found.filter((flow) => !is(flow)),
        words,
      ).toEqual([]);
      expect(found.length, words).toBe(all.filter(is).length);
      expect((await by(['--not', ...args])).length, `not ${words}`).toBe(all.length - found.length);
    }
    // Of what there is none before layer 7 is read.
    for (const words of ['--http-status 200', '--http-method GET', '--http-path /', '--fqdn *.example', '--trace-id x'])
      expect(await by(words.split(' ')), words).toEqual([]);
  } finally {
    client.close();
  }
}, 30_000);

it('goes into a sysdump, which a dead agent cannot prevent', async () => {
  const directory = mkdtempSync(join(tmpdir(), `axt-${process.pid}-sysdump-`));
  const dump = async (file: string): Promise<string> => {
    const { code, stderr } = await run(AXONEME, [
      'sysdump',
      '--name',
      name,
      '--output-filename',
      join(directory, file),
    ]);
    expect(code, stderr).toBe(0);
    return (await run('tar', ['tzf', join(directory, `${file}.tar.gz`)])).stdout;
  };
  try {
    const nowhere = join(directory, 'nowhere', 'file');
    const refused = await run(AXONEME, ['sysdump', '--name', name, '--output-filename', nowhere]);
    expect(refused.code).not.toBe(0);
    expect(refused.stderr).toContain(`there is no directory ${join(directory, 'nowhere')}`);
    const alive = await dump('alive');
    for (const part of [
      'agent/flows.ndjson',
      'agent/tables/bpf.ipcache.json',
      'node/ip-route.json',
      'state/rows.ndjson',
      'logs/agent.log',
    ])
      expect(alive).toContain(`alive/${part}`);
    const { stdout: pids } = await run('pgrep', ['-f', `agent --config /run/axoneme/${name}/`]);
    for (const pid of pids.trim().split('\n')) process.kill(Number(pid), 'SIGSTOP');
    const silent = await dump('silent');
    for (const pid of pids.trim().split('\n')) process.kill(Number(pid), 'SIGCONT');
    for (const part of ['state/rows.ndjson', 'logs/agent.log']) expect(silent).toContain(`silent/${part}`);
    expect(silent).not.toContain('silent/agent/');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}, 60_000);

/** What is empty is not on the wire. */
function whole(flow: Partial<Flow>): Flow {
  const nobody = { ID: 0, identity: 0, cluster_name: '', namespace: '', labels: [], pod_name: '' };
  const [source, destination] = [flow.source, flow.destination].map((end) => ({ ...nobody, ...end }));
  return { ...flow, source, destination } as Flow;
}
