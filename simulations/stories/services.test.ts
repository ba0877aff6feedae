/**
 * Services over real traffic, both families: from a pod, from a host process and from outside the node, to every kind of frontend.
 *
 * - Clients use connected sockets: a reply from another address than the one asked would not reach them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-svc`;
const families = ['ipv4', 'ipv6'] as const;
type Family = (typeof families)[number];
const clusterIP = { ipv4: '10.96.201.1', ipv6: 'fd00:10:96::d001' };
const externalIP = { ipv4: '192.0.2.200', ipv6: '2001:db8:99::c8' };
/** Of balancers that are not the cluster's: one of a class that the agents serve, one of a class that they do not know. */
const givenIP = {
  announced: { ipv4: '192.0.2.201', ipv6: '2001:db8:99::c9' },
  foreign: { ipv4: '192.0.2.202', ipv6: '2001:db8:99::ca' },
};
/** Served by pods on both nodes, on the client's node alone, on the other alone. */
const ports = { web: 30_201, near: 30_202, far: 30_203 } as const;
const HOST_PORT = 8_088;
const AFFINITY_TRIES = 8;

const placed = (pod: string, node: string, service: string): string =>
  serverPod('demo', pod)
    .replace(`{app: ${pod}}`, `{app: ${pod}, service: ${service}}`)
    .replace('spec:\n', `spec:\n  nodeName: ${node}\n`);

function service(service: string, spec: Record<string, unknown>, selector = service): string {
  return `${JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace: 'demo', name: service },
    spec: {
      selector: { service: selector },
      ipFamilyPolicy: 'RequireDualStack',
      ports: ['TCP', 'UDP'].map((protocol) => ({
        name: protocol.toLowerCase(),
        port: 80,
        targetPort: 8080,
        protocol,
        ...(service in ports && { nodePort: ports[service as keyof typeof ports] }),
      })),
      ...spec,
    },
  })}\n---\n`;
}

const manifests = [
  namespaceOf('demo'),
  placed('web-1', 'node-1', 'web'),
  placed('web-2', 'node-2', 'web'),
  placed('near-1', 'node-1', 'near'),
  placed('far-1', 'node-2', 'far'),
  placed('port-1', 'node-1', 'port').replace(
    'containerPort: 8080, protocol: TCP',
    `containerPort: 8080, protocol: TCP, hostPort: ${HOST_PORT}`,
  ),
  commandPod('demo', 'client', ['sleep', 'infinity']).replace('spec:\n', 'spec:\n  nodeName: node-1\n'),
  service('web', {
    type: 'LoadBalancer',
    clusterIP: clusterIP.ipv4,
    clusterIPs: [clusterIP.ipv4, clusterIP.ipv6],
    externalIPs: [externalIP.ipv4, externalIP.ipv6],
  }),
  service('near', { type: 'LoadBalancer', externalTrafficPolicy: 'Local' }),
  service('far', { type: 'LoadBalancer' }),
  service('closed', { type: 'LoadBalancer', loadBalancerSourceRanges: ['198.18.0.0/15'] }, 'near'),
  service('portless', { type: 'LoadBalancer', allocateLoadBalancerNodePorts: false }, 'near'),
  service('announced', { type: 'LoadBalancer', loadBalancerClass: 'io.cilium/l2-announcer' }, 'near'),
  service('foreign', { type: 'LoadBalancer', loadBalancerClass: 'example.org/lb' }, 'near'),
  service('sticky', { type: 'NodePort', sessionAffinity: 'ClientIP' }, 'web'),
  service('nobody', { type: 'NodePort' }),
].join('');

interface ServiceObject {
  spec: { clusterIPs: string[]; healthCheckNodePort?: number; ports: { nodePort: number }[] };
  status: { loadBalancer?: { ingress?: { ip: string }[] } };
}

let cluster: EmbeddedCluster;
let nodes: Record<Family, string>[];

beforeAll(async () => {
  cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '2']);
  const { stdout } = await cluster.kubectl('get', 'nodes', '-o', 'json');
  const { items } = JSON.parse(stdout) as { items: { status: { addresses: { type: string; address: string }[] } }[] };
  nodes = items.map(({ status }) => {
    const own = status.addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
    return byFamily(own);
  });
  for (const family of families)
    for (const address of [externalIP, givenIP.announced, givenIP.foreign])
      await outside(['ip', 'route', 'add', address[family], 'via', nodes[0]?.[family] ?? '']);
  await until('services are served', 30_000, async () => {
    const answers = await ask(
      'pod',
      families.map((family) => url(clusterIP[family])),
    );
    return answers.every((answer) => answer.startsWith('web-')) || undefined;
  });
}, 180_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 120_000);

const byFamily = (addresses: readonly string[]): Record<Family, string> => ({
  ipv4: addresses.find((address) => !address.includes(':')) ?? '',
  ipv6: addresses.find((address) => address.includes(':')) ?? '',
});
const literal = (address: string): string => (address.includes(':') ? `[${address}]` : address);
const url = (address: string, port = 80, path = '/'): string => `http://${literal(address)}:${port}${path}`;

type Place = 'pod' | 'host' | 'outside';
const places: readonly Place[] = ['pod', 'host', 'outside'];

function outside(command: string[]): ReturnType<typeof run> {
  return run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command]);
}
function at(place: Place, command: string[]): ReturnType<typeof run> {
  if (place === 'pod') return cluster.exec('demo/client', command);
  return place === 'host' ? cluster.onNode('node-1', command) : outside(command);
}

/** One line for each: the answer, or curl's exit code. From outside the client's address is that of nobody in the cluster. */
async function ask(place: Place, urls: readonly string[]): Promise<string[]> {
  const bound = (text: string): string =>
    place === 'outside' ? `--interface ${text.includes('[') ? OUTSIDE.ipv6 : OUTSIDE.ipv4}` : '';
  const lines = urls.map((text) => `curl -sS -m 3 ${bound(text)} '${text}' 2>/dev/null || echo "curl $?"`);
  const { stdout } = await at(place, ['sh', '-c', lines.join('\n')]);
  return stdout.trim().split('\n');
}

/** The same over datagrams; nothing is `silence`. */
async function askDatagrams(place: Place, targets: readonly [address: string, port: number][]): Promise<string[]> {
  const lines = targets.map(([address, port]) => {
    const own = place === 'outside' ? `-s ${address.includes(':') ? OUTSIDE.ipv6 : OUTSIDE.ipv4}` : '';
    return `(echo hello | nc -u ${own} -w 1 ${address} ${port} | head -1) | grep . || echo silence`;
  });
  const { stdout } = await at(place, ['sh', '-c', lines.join('\n')]);
  return stdout.trim().split('\n');
}

async function object(service: string): Promise<ServiceObject> {
  const { stdout } = await cluster.kubectl('get', 'service', '-n', 'demo', service, '-o', 'json');
  return JSON.parse(stdout) as ServiceObject;
}
const ingress = async (service: string): Promise<Record<Family, string>> =>
  byFamily(((await object(service)).status.loadBalancer?.ingress ?? []).map(({ ip }) => ip));

describe.each(places)('from %s', (place) => {
  it.each(families)('every kind of frontend of a service answers, over %s', async (family) => {
    const balanced = (await ingress('web'))[family];
    const frontends: [string, number][] = [
      ...(place === 'outside' ? [] : [[clusterIP[family], 80] as [string, number]]),
      [nodes[0]?.[family] ?? '', ports.web],
      [balanced, 80],
      [externalIP[family], 80],
    ];
    const wanted = frontends.map(() => expect.stringMatching(/^web-[12]$/));
    expect(
      await ask(
        place,
        frontends.map(([address, port]) => url(address, port)),
      ),
    ).toEqual(wanted);
    expect(await askDatagrams(place, frontends)).toEqual(wanted);
  });

  it('the port of a host leads to its pod', async () => {
    const urls = families.map((family) => url(nodes[0]?.[family] ?? '', HOST_PORT));
    expect(await ask(place, urls)).toEqual(['port-1', 'port-1']);
  });

  it('a pod on another node answers through this one', async () => {
    const urls = families.map((family) => url(nodes[0]?.[family] ?? '', ports.far));
    expect(await ask(place, urls)).toEqual(['far-1', 'far-1']);
  });

  it('a service without endpoints refuses', async () => {
    const { clusterIPs, ports: own } = (await object('nobody')).spec;
    const nodePort = own[0]?.nodePort ?? 0;
    const addresses = byFamily(clusterIPs);
    const urls = families.map((family) =>
      place === 'outside' ? url(nodes[0]?.[family] ?? '', nodePort) : url(addresses[family]),
    );
    // Refused at once, not timed out.
    expect(await ask(place, urls)).toEqual(['curl 7', 'curl 7']);
  });

  it('affinity holds a client to one pod', async () => {
    const { clusterIPs, ports: own } = (await object('sticky')).spec;
    const addresses = byFamily(clusterIPs);
    for (const family of families) {
      const target =
        place === 'outside' ? url(nodes[0]?.[family] ?? '', own[0]?.nodePort ?? 0) : url(addresses[family]);
      const answers = await ask(place, Array<string>(AFFINITY_TRIES).fill(target));
      expect(answers[0]).toMatch(/^web-[12]$/);
      expect(new Set(answers)).toHaveLength(1);
    }
  });
});

describe('clients from outside', () => {
  it.each(families)(
    'externalTrafficPolicy Local keeps their address; only nodes with a pod answer; over %s',
    async (family) => {
      const balanced = (await ingress('near'))[family];
      const [first, second] = nodes.map((node) => node[family]);
      expect(await ask('outside', [url(balanced, 80, '/client'), url(first ?? '', ports.near, '/client')])).toEqual([
        OUTSIDE[family],
        OUTSIDE[family],
      ]);
      expect(await ask('outside', [url(second ?? '', ports.near)])).toEqual(['curl 28']);
    },
  );

  it.each(families)('a pod on another node sees this node, which gets the answer; over %s', async (family) => {
    const first = nodes[0]?.[family] ?? '';
    expect(await ask('outside', [url(first, ports.far, '/client')])).toEqual([first]);
  });

  it.each(families)('health check node ports tell where the pods are; over %s', async (family) => {
    const { healthCheckNodePort = 0 } = (await object('near')).spec;
    const [first, second] = await Promise.all(
      nodes.map(async (node) => {
        const target = url(node[family], healthCheckNodePort);
        return (await outside(['curl', '-sS', '-m', '3', '-w', '%{http_code}', target])).stdout;
      }),
    );
    expect(JSON.parse(first?.slice(0, -3) ?? '')).toEqual({
      service: { namespace: 'demo', name: 'near' },
      localEndpoints: 1,
      serviceProxyHealthy: true,
    });
    expect(first?.slice(-3)).toBe('200');
    expect(second?.slice(-3)).toBe('503');
  });

  it('outside the source ranges nobody answers, and inside they do', async () => {
    const { ipv4, ipv6 } = await ingress('closed');
    expect(await ask('outside', [url(ipv4), url(ipv6)])).toEqual(['curl 28', 'curl 28']);
    const spec = { loadBalancerSourceRanges: ['203.0.113.0/24', '2001:db8:113::/64'] };
    await cluster.kubectl('-n', 'demo', 'patch', 'service', 'closed', '--type=merge', '-p', JSON.stringify({ spec }));
    await until('the new ranges', 10_000, async () => {
      const answers = await ask('outside', [url(ipv4), url(ipv6)]);
      return answers.every((answer) => answer === 'near-1') || undefined;
    });
  });

  it('a balanced service without node ports is served at its address, one of another class is not', async () => {
    const ownOf = async (service: string) => (await object(service)).spec.ports.map(({ nodePort }) => nodePort);
    expect(await ownOf('portless')).toEqual([undefined, undefined]);
    const { ipv4, ipv6 } = await ingress('portless');
    expect(await ask('outside', [url(ipv4), url(ipv6)])).toEqual(['near-1', 'near-1']);
    for (const service of ['foreign', 'announced'] as const) {
      const status = { loadBalancer: { ingress: families.map((family) => ({ ip: givenIP[service][family] })) } };
      const patch = ['--subresource=status', '--type=merge', '-p', JSON.stringify({ status })];
      expect(await cluster.kubectl('-n', 'demo', 'patch', 'service', service, ...patch)).toMatchObject({ code: 0 });
    }
    const urlsOf = (service: 'foreign' | 'announced') => families.map((family) => url(givenIP[service][family]));
    await until('the address that another gave', 10_000, async () => {
      const answers = await ask('outside', urlsOf('announced'));
      return answers.every((answer) => answer === 'near-1') || undefined;
    });
    expect(await ask('outside', urlsOf('foreign'))).not.toContain('near-1');
  });

  it('an address that an older service has stays with it; the younger says so, and no more when it asks no longer', async () => {
    const patch = (spec: object) =>
      cluster.kubectl('-n', 'demo', 'patch', 'service', 'thief', '--type=merge', '-p', JSON.stringify({ spec }));
    await cluster.kubectl('-n', 'demo', 'create', 'service', 'clusterip', 'thief', '--tcp=80:8080');
    const externalIPs = [externalIP.ipv4, externalIP.ipv6];
    await patch({ ipFamilyPolicy: 'RequireDualStack', selector: { service: 'near' }, externalIPs });
    const status = async (): Promise<string> => {
      const path = '{.status.conditions[?(@.type=="axoneme.io/FrontendConflict")].status}';
      return (await cluster.kubectl('-n', 'demo', 'get', 'service', 'thief', '-o', `jsonpath=${path}`)).stdout;
    };
    await until('the conflict is told', 10_000, async () => (await status()) === 'True' || undefined);
    const answers = await ask('outside', [url(externalIP.ipv4), url(externalIP.ipv6)]);
    expect(answers).toEqual(answers.map(() => expect.stringMatching(/^web-[12]$/)));
    await patch({ externalIPs: [] });
    await until('it is taken back', 10_000, async () => (await status()) === 'False' || undefined);
  });

  it('a ClusterIP is for the cluster only', async () => {
    await outside(['ip', 'route', 'add', clusterIP.ipv4, 'via', nodes[0]?.ipv4 ?? '']);
    expect(await ask('outside', [url(clusterIP.ipv4)])).toEqual(['curl 28']);
  });
});
