/**
 * SCTP with real packets, both families, between nodes by routes and by tunnel: services from pods and from outside, masquerading, and
 * policy by port.
 *
 * - Ends are raw sockets that verify checksums, so that it needs no SCTP of the kernel. Sockets of host processes, which the socket
 *   programs translate, do.
 */
import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { fabricNetns, netnsPath, OUTSIDE } from '../../cli/up/names.ts';
import type { Flow } from '../../observe/hubble/types.ts';
import type { FlowLine } from '../../observe/web/flow-routes.ts';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, run, until } from './embedded.ts';

const folder = mkdtempSync(join(tmpdir(), `axt-${process.pid}-sctp-`));
const ENDS = join(folder, 'sctp-ends');
const TARGET_PORT = 7_777;
const PORT = 3_868;
const NODE_PORT = 30_501;
const DENIED_PORT = 7_778;
const OUTSIDE_PORT = 9_899;
/** Of each question another, so that each is a connection of its own. */
let ownPort = 20_000;

execFileSync('cc', ['-O2', '-Wall', '-Werror', '-o', ENDS, new URL('sctp-ends.c', import.meta.url).pathname]);

const on = (node: string, pod: string): string => pod.replace('spec:\n', `spec:\n  nodeName: ${node}\n`);
const server = (pod: string, port: number): string => commandPod('demo', pod, [ENDS, 'serve', String(port), pod]);
const backend = (pod: string): string => server(pod, TARGET_PORT).replace(`{app: ${pod}}`, '{role: association}');
const manifests = [
  namespaceOf('demo'),
  on('node-1', backend('near')),
  on('node-2', backend('far')),
  on('node-2', server('guarded', TARGET_PORT)),
  on('node-2', server('guarded-too', DENIED_PORT).replace('{app: guarded-too}', '{app: guarded}')),
  on('node-1', commandPod('demo', 'client', ['sleep', 'infinity'])),
  on('node-1', commandPod('demo', 'stranger', ['sleep', 'infinity'])),
  `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: association}
spec:
  type: NodePort
  selector: {role: association}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: diameter, protocol: SCTP, port: ${PORT}, targetPort: ${TARGET_PORT}, nodePort: ${NODE_PORT}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: demo, name: guarded}
spec:
  endpointSelector: {matchLabels: {app: guarded}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "${TARGET_PORT}", protocol: SCTP}]}]
---
`,
].join('');

afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe.each(['native', 'vxlan'])('routing %s', (routing) => {
  const name = `axt-${process.pid}-sctp-${routing}`;
  let cluster: EmbeddedCluster;

  beforeAll(async () => {
    cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '2', '--routing', routing]);
  }, 120_000);
  afterAll(async () => {
    await cluster?.down();
    expect(await leftovers(name)).toEqual([]);
  }, 60_000);

  const question = (local: string, address: string, port: number): string[] => {
    ownPort++;
    return [ENDS, 'ask', local, address, String(port), String(ownPort)];
  };
  /** Who answered the pod; '' when nobody did. */
  const ask = async (pod: string, address: string, port: number): Promise<string> =>
    (await cluster.exec(`demo/${pod}`, question('-', address, port))).stdout.trim();
  const askFromOutside = async (address: string, port: number): Promise<string> => {
    const local = address.includes(':') ? OUTSIDE.ipv6 : OUTSIDE.ipv4;
    const command = question(local, address, port);
    return (await run('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...command])).stdout.trim();
  };
  async function bothAnswer(question: () => Promise<string>): Promise<void> {
    const answered = new Set<string>();
    await until('both backends have answered', 30_000, async () => {
      answered.add(await question());
      return (answered.has('near') && answered.has('far')) || undefined;
    });
  }
  async function read<T>(...what: string[]): Promise<T> {
    return JSON.parse((await cluster.kubectl('get', '-n', 'demo', ...what, '-o', 'json')).stdout) as T;
  }
  const podIPs = async (pod: string): Promise<string[]> =>
    (await read<{ status: { podIPs: { ip: string }[] } }>('pod', pod)).status.podIPs.map(({ ip }) => ip);
  const nodeIPs = async (node: string): Promise<string[]> => {
    type Node = { status: { addresses: { type: string; address: string }[] } };
    const { addresses } = (await read<Node>('node', node)).status;
    return addresses.filter(({ type }) => type === 'InternalIP').map(({ address }) => address);
  };

  describe('a service', () => {
    it('is reached by a pod under its cluster addresses, whichever node the backend is on', async () => {
      const { spec } = await read<{ spec: { clusterIPs: string[] } }>('service', 'association');
      expect(spec.clusterIPs).toHaveLength(2);
      for (const address of spec.clusterIPs) await bothAnswer(() => ask('client', address, PORT));
    }, 60_000);

    it('is reached by a pod and from outside at the node port of each node', async () => {
      for (const node of ['node-1', 'node-2'])
        for (const address of await nodeIPs(node)) {
          await bothAnswer(() => ask('client', address, NODE_PORT));
          await bothAnswer(() => askFromOutside(address, NODE_PORT));
        }
    }, 120_000);

    it('gives a backend itself, too', async () => {
      const { spec } = await read<{ spec: { clusterIPs: string[] } }>('service', 'association');
      for (const address of spec.clusterIPs) await bothAnswer(() => ask('near', address, PORT));
    }, 60_000);
  });

  it('is masqueraded on the way out, and answers find the pod', async () => {
    for (const address of [OUTSIDE.ipv4, OUTSIDE.ipv6]) {
      const words = [ENDS, 'serve', String(OUTSIDE_PORT), 'world', address];
      const world = spawn('nsenter', [`--net=${netnsPath(fabricNetns(name))}`, ...words], { stdio: 'ignore' });
      try {
        await until(`${address} answers`, 20_000, async () =>
          (await ask('client', address, OUTSIDE_PORT)) === 'world' ? true : undefined,
        );
      } finally {
        world.kill();
      }
    }
  }, 60_000);

  describe('policy', () => {
    it('lets those in who may, on the port that they may', async () => {
      for (const address of await podIPs('guarded')) {
        expect(await ask('client', address, TARGET_PORT), address).toBe('guarded');
        expect(await ask('stranger', address, TARGET_PORT), address).toBe('');
      }
      for (const address of await podIPs('guarded-too'))
        expect(await ask('client', address, DENIED_PORT), address).toBe('');
    }, 60_000);

    it('is told of by both nodes: what was said to whom, who let it in, and what was not let in', async () => {
      const told = async (node: string, filters: string): Promise<(Partial<Flow> | undefined)[]> => {
        const lines = await cluster.debug<FlowLine[]>(`/v1/flows?q=${encodeURIComponent(filters)}`, node);
        return lines.map(({ flow }) => flow);
      };
      const chunk = (chunk_type: string) => ({ SCTP: { chunk_type } });
      for (const family of ['ipv4', 'ipv6']) {
        const question = `protocol sctp from-pod demo/client to-pod demo/guarded ${family}`;
        const answer = `protocol sctp from-pod demo/guarded to-pod demo/client ${family}`;
        for (const node of ['node-1', 'node-2']) {
          const [asked] = await told(node, `${question} type trace`);
          const direction = node === 'node-1' ? 'EGRESS' : 'INGRESS';
          const node_name = `${name}/${node}`;
          const forwarded = { node_name, verdict: 'FORWARDED', traffic_direction: direction };
          expect(asked).toMatchObject({ ...forwarded, is_reply: { value: false }, l4: chunk('INIT') });
          const [answered] = await told(node, `${answer} type trace`);
          expect(answered).toMatchObject({ ...forwarded, is_reply: { value: true }, l4: chunk('INIT_ACK') });
        }
        const [letIn] = await told('node-2', `${question} type policy-verdict verdict forwarded`);
        expect(letIn).toMatchObject({ traffic_direction: 'INGRESS', ingress_allowed_by: [{ name: 'guarded' }] });
        const [refused] = await told('node-2', `protocol sctp from-pod demo/stranger ${family} type drop`);
        expect(refused).toMatchObject({
          verdict: 'DROPPED',
          drop_reason_desc: 'POLICY_DENIED',
          traffic_direction: 'INGRESS',
          source: { namespace: 'demo', labels: expect.arrayContaining(['k8s:app=stranger']) },
          destination: { pod_name: 'guarded' },
          l4: chunk('INIT'),
        });
      }
    });

    it('takes back what it gave', async () => {
      const toUdp = [{ op: 'replace', path: '/spec/ingress/0/toPorts/0/ports/0/protocol', value: 'UDP' }];
      const patch = ['patch', '-n', 'demo', 'cnp', 'guarded', '--type', 'json', '-p', JSON.stringify(toUdp)];
      expect((await cluster.kubectl(...patch)).stderr).toBe('');
      for (const address of await podIPs('guarded'))
        await until(`${address} denies SCTP`, 20_000, async () =>
          (await ask('client', address, TARGET_PORT)) === '' ? true : undefined,
        );
    }, 60_000);
  });
});
