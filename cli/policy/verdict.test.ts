/** `policy verdict` as a command: a directory of manifests, flows in a file, both engines; and what it says of bad input. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';

const AXONEME = new URL('../axoneme', import.meta.url).pathname;
const dir = mkdtempSync(join(tmpdir(), `axt-${process.pid}-verdict-`));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const pod = (namespace: string, name: string, node: string, ipv4: string, ipv6: string): string => `
apiVersion: v1
kind: Pod
metadata: {namespace: ${namespace}, name: ${name}, labels: {app: ${name}}}
spec: {nodeName: ${node}, containers: [{name: c, ports: [{name: web, containerPort: 8080}]}]}
status: {podIP: ${ipv4}, podIPs: [{ip: ${ipv4}}, {ip: "${ipv6}"}]}
---`;
const cluster = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: v1
kind: Node
metadata: {name: n1}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: stranger}
---${pod('shop', 'frontend', 'n1', '10.0.1.2', 'fd00:1::2')}${pod('shop', 'backend', 'n2', '10.0.2.2', 'fd00:2::2')}${pod('default', 'other', 'n1', '10.0.1.3', 'fd00:1::3')}
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: backend}
spec:
  endpointSelector: {matchLabels: {app: backend}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts: [{ports: [{port: web, protocol: TCP}]}]
  - fromEntities: [world]
    toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET}]}}]
  - fromCIDRSet: [{cidr: 203.0.113.0/24, except: [203.0.113.9/32]}]
    icmps: [{fields: [{type: 8}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: out}
spec: {podSelector: {matchLabels: {app: frontend}}, policyTypes: [Egress], egress: [{to: [{podSelector: {}}]}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: no-other}
spec:
  endpointSelector: {}
  enableDefaultDeny: {ingress: false}
  ingressDeny: [{fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": default}}]}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: shop, name: broken}
spec: {endpointSelector: {}, ingress: [{fromEndpoints: [{}], fromEntities: [all]}]}
`;
writeFileSync(join(dir, 'all.yaml'), cluster);

const tcp = (id: string, from: unknown, to: unknown, port: number) => ({ id, from, to, protocol: 'TCP', port });
const backend = { pod: 'shop/backend' };
const flows = [
  tcp('front', { pod: 'shop/frontend' }, backend, 8080),
  tcp('front by address', { ip: 'fd00:1::2' }, { ip: 'fd00:2::2' }, 8080),
  tcp('wrong port', { pod: 'shop/frontend' }, backend, 9090),
  tcp('deny', { pod: 'default/other' }, backend, 8080),
  tcp('http', { ip: '198.51.100.1' }, backend, 80),
  { id: 'ping', from: { ip: '203.0.113.8' }, to: { ip: '10.0.2.2' }, protocol: 'ICMP', port: 8 },
  { id: 'ping not', from: { ip: '203.0.113.9' }, to: { ip: '10.0.2.2' }, protocol: 'ICMP', port: 8 },
  tcp('own node', { entity: 'host' }, backend, 22),
  tcp('other node', { ip: '192.168.0.1' }, backend, 22),
  tcp('out', { pod: 'shop/frontend' }, { entity: 'world' }, 443),
  tcp('nobody cares', { pod: 'default/other' }, { entity: 'world' }, 443),
];
const names = {
  backend: 'CiliumNetworkPolicy/shop/backend',
  out: 'NetworkPolicy/shop/out',
  noOther: 'CiliumClusterwideNetworkPolicy//no-other',
};
const expected = [
  ['front', 'allowed', 'allowed', 'allowed', [names.backend, names.out]],
  ['front by address', 'allowed', 'allowed', 'allowed', [names.backend, names.out]],
  ['wrong port', 'denied', 'denied', 'allowed', []],
  ['deny', 'denied', 'denied', 'not-enforced', [names.noOther]],
  ['http', 'redirected-denied', 'denied', 'not-enforced', [names.backend]],
  ['ping', 'allowed', 'allowed', 'not-enforced', [names.backend]],
  ['ping not', 'denied', 'denied', 'not-enforced', []],
  ['own node', 'allowed', 'allowed', 'not-enforced', []],
  ['other node', 'denied', 'denied', 'not-enforced', []],
  ['out', 'denied', 'not-enforced', 'denied', []],
  ['nobody cares', 'allowed', 'not-enforced', 'not-enforced', []],
].map(([id, verdict, ingress, egress, matchedBy]) => ({ id, verdict, ingress, egress, matchedBy }));

interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}
function verdict(given: unknown, ...more: string[]): Promise<Ran> {
  const file = join(dir, `flows-${Math.abs(more.join().length)}.json`);
  writeFileSync(file, typeof given === 'string' ? given : JSON.stringify(given));
  const args = ['policy', 'verdict', '--manifests', join(dir, 'all.yaml'), '--flows', file, ...more];
  return new Promise((done) =>
    execFile(AXONEME, args, (error, stdout, stderr) =>
      done({ code: error ? Number(error.code ?? 1) : 0, stdout, stderr }),
    ),
  );
}

describe('policy verdict', () => {
  test.each(['model', 'bpf'])('engine %s', async (engine) => {
    const { code, stdout, stderr } = await verdict(flows, '--json', '--engine', engine);
    expect(JSON.parse(stdout)).toEqual(expected);
    expect(stderr).toContain('ConfigMap left out');
    expect(stderr).toMatch(/CiliumNetworkPolicy\/shop\/broken.*is not valid/);
    expect(code).toBe(0);
  });

  test('a table for people', async () => {
    const { stdout } = await verdict(flows.slice(0, 1));
    expect(stdout).toMatch(
      /^ID +FROM +TO +PORT +EGRESS +INGRESS +VERDICT +POLICIES\nfront +shop\/frontend +shop\/backend +8080\/TCP/,
    );
  });

  test.each([
    ['no JSON', '{', 'expected a JSON array of flows'],
    ['no array', { id: 1 }, 'expected a JSON array of flows'],
    ['an end of no kind', [tcp('x', {}, backend, 1)], 'flow 0: from is {}, expected exactly one of pod, ip and entity'],
    ['a port too far', [tcp('x', backend, backend, 65_536)], 'flow 0: port is 65536, expected a port from 0 to 65535'],
    ['a protocol of no kind', [{ ...tcp('x', backend, backend, 1), protocol: 'CARRIER' }], 'expected one of TCP, UDP'],
  ])('%s is refused with what was expected', async (_, given, message) => {
    const { code, stdout, stderr } = await verdict(given, '--json');
    expect([code, stdout]).toEqual([1, '']);
    expect(stderr).toContain(message);
  });

  test('a pod that is not there: its flow is denied, the others are answered, and the exit code tells', async () => {
    const { code, stdout, stderr } = await verdict([tcp('x', { pod: 'shop/ghost' }, backend, 1), flows[0]], '--json');
    const [first, second] = JSON.parse(stdout) as { verdict: string }[];
    expect([code, first?.verdict, second?.verdict]).toEqual([1, 'denied', 'allowed']);
    expect(stderr).toContain('flow x: no pod shop/ghost');
  });
});
