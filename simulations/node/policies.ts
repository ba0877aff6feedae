/**
 * Policies of a simulated cluster, from small numbers, and what programs must make of them.
 *
 * - The oracle is the project's referee (policy-oracle): it walks the rules of the objects and asks neither machines nor rows.
 */
import type { AgentFacts, KubeObject, PolicyFacts } from '../../cluster/events.ts';
import type { SimulatedKernel } from '../kernel.ts';
import { ModelTables, PacketModel } from '../packet-model.ts';
import { type Cluster, type Flow, judgeAll } from '../policy-oracle/oracle.ts';
import type { SimulatedApi } from './api.ts';
import type { Sandbox } from './runtime.ts';

const CILIUM = 'ciliumnetworkpolicies';
const KUBERNETES = 'networkpolicies';
const NAMESPACE = 'demo';
/** Outside of the cluster. */
const OUTSIDE = ['198.51.100.5', '198.51.7.7'];

const app = (label: number): object => ({ matchLabels: { app: `v${label}` } });
const web = [{ ports: [{ port: '80', protocol: 'TCP' }] }];

/** Specs of policies, by what they say. */
const specs = {
  denyAll: { endpointSelector: {}, ingress: [{}] },
  fromOne: { endpointSelector: app(0), ingress: [{ fromEndpoints: [app(1)] }] },
  fromOneOnPort: { endpointSelector: {}, ingress: [{ fromEndpoints: [app(1)], toPorts: web }] },
  toWorld: { endpointSelector: app(1), egress: [{ toEntities: ['world'] }] },
  toCidr: { endpointSelector: {}, egress: [{ toCIDR: ['198.51.100.0/24'] }] },
  toCidrExcept: {
    endpointSelector: app(2),
    egress: [{ toCIDRSet: [{ cidr: '198.51.0.0/16', except: ['198.51.100.5/32'] }] }],
  },
  denyOne: { endpointSelector: app(1), egress: [{ toEntities: ['all'] }], egressDeny: [{ toEndpoints: [app(0)] }] },
  denyCidr: {
    endpointSelector: {},
    enableDefaultDeny: { egress: false },
    egressDeny: [{ toCIDR: ['198.51.100.5/32'], toPorts: web }],
  },
  cluster: { endpointSelector: app(2), ingress: [{ fromEntities: ['cluster'] }] },
} as const;
export const policyKinds = [...(Object.keys(specs) as (keyof typeof specs)[]), 'kubernetes', 'none'] as const;
export type PolicyKind = (typeof policyKinds)[number];

export interface PolicyAction {
  do: 'policy';
  policy: number;
  as: PolicyKind;
}
export const POLICIES = 3;

export const policyFacts: PolicyFacts = {
  enforcement: 'default',
  audit: false,
  hostFirewall: false,
  allowLocalhost: true,
  entriesMax: 16_384,
  identityChangeGraceMs: 2_000,
};

export function actOnPolicies(api: SimulatedApi, { policy, as }: PolicyAction): void {
  const name = `policy-${policy}`;
  const key = `${NAMESPACE}/${name}`;
  const other = as === 'kubernetes' ? CILIUM : KUBERNETES;
  api.delete(other, key);
  if (as === 'none') api.delete(CILIUM, key);
  else if (as === 'kubernetes') api.upsert(KUBERNETES, kubernetesPolicy(name));
  else api.upsert(CILIUM, { apiVersion: 'cilium.io/v2', ...objectOf('CiliumNetworkPolicy', name), spec: specs[as] });
}

const objectOf = (kind: string, name: string): Pick<KubeObject, 'kind' | 'metadata'> => ({
  kind,
  metadata: { name, namespace: NAMESPACE, uid: name },
});

function kubernetesPolicy(name: string): KubeObject {
  const ingress = [{ from: [{ podSelector: app(2) }], ports: [{ port: 80, protocol: 'TCP' }] }];
  const spec = { podSelector: app(1), policyTypes: ['Ingress'], ingress };
  return { apiVersion: 'networking.k8s.io/v1', ...objectOf('NetworkPolicy', name), spec };
}

export function deletePolicies(api: SimulatedApi): void {
  for (const resource of [CILIUM, KUBERNETES])
    for (const key of [...api.of(resource).keys()]) api.delete(resource, key);
}

/** After all is quiet: from every running pod to every other and to the outside, programs do what the rules say. */
export function checkPolicies(
  api: SimulatedApi,
  kernel: SimulatedKernel,
  sandboxes: readonly Sandbox[],
  facts: Pick<AgentFacts, 'clusterName' | 'policy'>,
): string[] {
  const running = sandboxes.filter(({ state, result }) => state === 'running' && result);
  const flows: Flow[] = [];
  for (const { pod } of running) {
    for (const port of [80, 81]) {
      const to = [...running.filter((other) => other.pod !== pod).map((other) => ({ pod: other.pod }))];
      for (const end of [...to, ...OUTSIDE.map((ip) => ({ ip }))])
        flows.push({ id: flows.length, from: { pod }, to: end, protocol: 'TCP', port });
    }
  }
  const verdicts = judgeAll(clusterOf(api, running, facts), flows);
  const tables = new ModelTables(kernel.rows());
  return flows.flatMap((flow, i) => {
    const meant = verdicts[i]?.verdict === 'allowed';
    const outcome = isLetThrough(tables, running, flow);
    if (outcome === meant) return [];
    return [
      `policy: ${JSON.stringify(flow.from)} → ${JSON.stringify(flow.to)}:${flow.port} is ${outcome ? 'let through' : 'stopped'}, rules say otherwise`,
    ];
  });
}

function isLetThrough(tables: ModelTables, running: readonly Sandbox[], { from, to, port }: Flow): boolean {
  const addressOf = (pod: string): string => ipv4Of(running.find((one) => one.pod === pod));
  const source = running.find((one) => 'pod' in from && one.pod === from.pod);
  const target = 'pod' in to ? addressOf(to.pod) : 'ip' in to ? to.ip : '';
  const packet = { from: ipv4Of(source), to: target, proto: 6, sport: 4000, dport: port, ttl: 64, tcpFlags: 2 };
  const place = { program: 'from_endpoint' as const, link: source?.result?.link ?? '' };
  const { verdict } = new PacketModel(tables).process(place, packet);
  return verdict !== 'drop' && verdict !== 'refuse';
}

function ipv4Of(sandbox: Sandbox | undefined): string {
  const address = sandbox?.result?.ips.find(({ address: one }) => !one.includes(':'))?.address ?? '';
  return address.slice(0, address.indexOf('/'));
}

/** The objects as the referee reads them: pods with the addresses that they were given. */
function clusterOf(
  api: SimulatedApi,
  running: readonly Sandbox[],
  { clusterName, policy }: Pick<AgentFacts, 'clusterName' | 'policy'>,
): Cluster {
  const pods = running.map((sandbox): KubeObject => {
    const pod = api.of('pods').get(sandbox.pod) as KubeObject;
    return { ...pod, status: { podIPs: [{ ip: ipv4Of(sandbox) }] } };
  });
  const others = ['namespaces', 'nodes', CILIUM, KUBERNETES].flatMap((resource) => [...api.of(resource).values()]);
  const enforcement = policy?.enforcement ?? 'default';
  return { objects: [...pods, ...others], clusterName, enforcement, hostFirewall: false };
}
