/** Egress to named ports: each peer's own number, of pods on this node and on another, both families. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { commandPod, EmbeddedCluster, leftovers, namespaceOf, serverPod, until } from './embedded.ts';

const name = `axt-${process.pid}-named`;
const PORTS = { near: 8080, far: 8081 } as const;
const OTHER = 9090;
const placed = (pod: keyof typeof PORTS, node: string): string =>
  serverPod('demo', pod, PORTS[pod])
    .replace(`{app: ${pod}}`, '{role: api}')
    .replace('spec:\n', `spec:\n  nodeName: ${node}\n`)
    .replace(`{containerPort: ${PORTS[pod]}, protocol: TCP}`, `{name: api, containerPort: ${PORTS[pod]}}`)
    .replace(/\{containerPort: \d+, protocol: UDP\}/, `{name: other, containerPort: ${OTHER}}`);
const manifests = [
  namespaceOf('demo'),
  placed('near', 'node-1'),
  placed('far', 'node-2'),
  commandPod('demo', 'client', ['sleep', 'infinity']).replace('spec:\n', 'spec:\n  nodeName: node-1\n'),
  `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: demo, name: to-api}
spec:
  podSelector: {matchLabels: {app: client}}
  policyTypes: [Egress]
  egress:
  - to: [{podSelector: {matchLabels: {role: api}}}]
    ports: [{port: api}]
---
`,
].join('');
let cluster: EmbeddedCluster;

beforeAll(async () => {
  cluster = await EmbeddedCluster.up(name, manifests, ['--nodes', '2']);
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 60_000);

async function answers(pod: string, port: number): Promise<string[]> {
  type Pod = { status: { podIPs: { ip: string }[] } };
  const { stdout } = await cluster.kubectl('get', 'pod', '-n', 'demo', pod, '-o', 'json');
  return Promise.all(
    (JSON.parse(stdout) as Pod).status.podIPs.map(async ({ ip }) => {
      const url = `http://${ip.includes(':') ? `[${ip}]` : ip}:${port}/`;
      return (await cluster.exec('demo/client', ['curl', '-sS', '-m', '1', url])).stdout.trim();
    }),
  );
}

it.each(['near', 'far'] as const)(
  'the port of that name of %s is open, and no other',
  async (pod) => {
    const other = pod === 'near' ? PORTS.far : PORTS.near;
    await until(`${pod} answers`, 20_000, async () =>
      (await answers(pod, PORTS[pod])).every((answer) => answer === pod) ? true : undefined,
    );
    expect(await answers(pod, OTHER)).toEqual(['', '']);
    expect(await answers(pod, other)).toEqual(['', '']);
  },
  60_000,
);
