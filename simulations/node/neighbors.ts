/**
 * Other nodes of a simulated cluster and their pods, from small numbers, and what this node must have for them.
 *
 * - The oracle asks no machine: it reads the objects, and says of two nodes that claim one thing which is the older.
 */
import type { AgentFacts, ClusterEvent, KubeObject } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import type { IpcacheRow } from '../../state/tables.ts';
import {
  ciliumEndpoint,
  ciliumNode,
  kubeNode,
  type NetworkOptions,
  networkFacts,
  podCidrsOf,
  type Told,
  wireguardKeyOf,
} from '../cluster-nodes.ts';
import type { SimulatedKernel } from '../kernel.ts';
import type { SimulatedApi } from './api.ts';

export const neighborKinds = ['none', 'there', 'there', 'elsewhere', 'rekeyed', 'overlapping', 'ours', 'node'] as const;
export type NeighborKind = (typeof neighborKinds)[number];

export type NeighborAction =
  | { do: 'neighbor'; node: number; as: NeighborKind }
  | { do: 'farPod'; pod: number; node: number; as: 'none' | 'there' | 'changed' }
  | { do: 'rekey' }
  | { do: 'probe'; node: number; up: boolean };

export const NEIGHBORS = 3;
export const FAR_PODS = 4;
const OWN_CIDR = '10.0.1.0/27';
const FAR_NAMESPACE = 'far';
const numberOf = (node: number): number => 12 + node;
const elsewhereOf = (node: number): string => `192.0.2.${112 + node}`;

const networks: readonly NetworkOptions[] = [
  { routing: { autoDirectNodeRoutes: true }, health: { enabled: true } },
  { routing: { mode: 'vxlan' }, health: { enabled: true } },
  { routing: { mode: 'geneve' }, encryption: { type: 'wireguard', strict: true } },
  { encryption: { type: 'ipsec', strict: true, rotationGraceMs: 20_000 } },
];

/** The kind of network that a seed chooses, as facts of the agent. */
export function networkOf(seed: number): Pick<AgentFacts, 'routing' | 'encryption' | 'health'> {
  const { routing, encryption, health } = networkFacts(networks[seed % networks.length]);
  return { ...(routing && { routing }), ...(encryption && { encryption }), ...(health && { health }) };
}

/** What the edge says of keys that were replaced so many times. */
export function keyEvents({ encryption }: AgentFacts, rotations: number): ClusterEvent[] {
  if (encryption?.type === 'wireguard')
    return [{ type: 'wireguard.keyed', publicKey: wireguardKeyOf(1_000 + rotations) }];
  if (encryption?.type !== 'ipsec') return [];
  return [{ type: 'ipsec.keyed', keys: [{ id: (rotations % 15) + 1, fingerprint: `f${rotations}` }] }];
}

export function actOnNeighbors(
  api: SimulatedApi,
  action: Extract<NeighborAction, { do: 'neighbor' | 'farPod' }>,
): void {
  if (action.do === 'farPod') actOnPod(api, action);
  else actOnNode(api, action);
}

function actOnNode(api: SimulatedApi, action: Extract<NeighborAction, { do: 'neighbor' }>): void {
  const number = numberOf(action.node);
  const name = ciliumNode(number).metadata.name;
  const told = toldAs(action.as, action.node);
  if (told && action.as !== 'node') api.upsert('ciliumnodes', ciliumNode(number, told));
  else api.delete('ciliumnodes', name);
  if (told && action.as === 'node') api.upsert('nodes', kubeNode(number, told));
  else api.delete('nodes', name);
}

function toldAs(as: NeighborKind, node: number): Told | undefined {
  if (as === 'none') return undefined;
  const number = numberOf(node);
  const usual: Told = {
    wireguardKey: wireguardKeyOf(number + (as === 'rekeyed' ? 100 : 0)),
    keyId: as === 'rekeyed' ? 2 : 1,
    created: `2026-01-0${node + 1}T00:00:00Z`,
  };
  const [, own6] = podCidrsOf(number);
  switch (as) {
    case 'elsewhere':
      return { ...usual, addresses: [elsewhereOf(node)] };
    case 'overlapping':
      return { ...usual, podCIDRs: [podCidrsOf(numberOf(0))[0], own6] };
    case 'ours':
      return { ...usual, podCIDRs: [OWN_CIDR, own6] };
    default:
      return usual;
  }
}

function actOnPod(api: SimulatedApi, { pod, node, as }: Extract<NeighborAction, { do: 'farPod' }>): void {
  const name = `far-${pod}`;
  if (as === 'none') {
    api.delete('ciliumendpoints', `${FAR_NAMESPACE}/${name}`);
    return;
  }
  const object = ciliumEndpoint(numberOf(node), 5 + (pod >> 1), as === 'changed' ? 401 : 400, {
    name,
    created: `2026-01-01T00:00:0${pod}Z`,
  });
  api.upsert('ciliumendpoints', { ...object, metadata: { ...object.metadata, namespace: FAR_NAMESPACE } });
}

export const isFar = (key: string): boolean => key.startsWith(`${FAR_NAMESPACE}/`);

export function deleteNeighbors(api: SimulatedApi, ownName: string): void {
  for (const key of [...api.of('ciliumendpoints').keys()]) if (isFar(key)) api.delete('ciliumendpoints', key);
  for (const resource of ['ciliumnodes', 'nodes'])
    for (const key of [...api.of(resource).keys()]) if (key !== ownName) api.delete(resource, key);
}

/** Answers of a node's probes. */
export function probed(node: number, up: boolean): ClusterEvent {
  const { name } = ciliumNode(numberOf(node)).metadata;
  const results = ['ICMP', 'TCP'].map((protocol) => ({
    probe: `${name}/node/${protocol}/192.0.2.${numberOf(node)}`,
    ...(!up && { error: 'no answer' }),
  }));
  return { type: 'health.probed', node: name, results };
}

/** Nothing goes in clear: looked at right before an op is applied. */
export function checkClear({ encryption }: AgentFacts, { table, action, key, value }: Op): string | undefined {
  if (!encryption?.strict || table !== 'bpf.ipcache' || action !== 'put') return undefined;
  const isOfPods = /^(10\.0\.1[2-9]\.|fd00:[c-f]::)/.test(key);
  return isOfPods && (value as IpcacheRow).encryptKey === 0
    ? `clear: ${key} of another node's pods is put without a key`
    : undefined;
}

interface Neighbor {
  name: string;
  created: string;
  addresses: string[];
  cidrs: string[];
}

function neighborsOf(api: SimulatedApi, ownName: string): Neighbor[] {
  const names = new Set([...api.of('ciliumnodes').keys(), ...api.of('nodes').keys()]);
  names.delete(ownName);
  return [...names].map((name) => {
    const object = (api.of('ciliumnodes').get(name) ?? api.of('nodes').get(name)) as KubeObject;
    const spec = object.spec as { addresses?: { ip: string }[]; ipam?: { podCIDRs: string[] }; podCIDRs?: string[] };
    const { addresses = [] } = (object.status ?? {}) as { addresses?: { address: string }[] };
    return {
      name,
      created: object.metadata.creationTimestamp ?? '',
      addresses: [...(spec.addresses ?? []).map(({ ip }) => ip), ...addresses.map(({ address }) => address)],
      cidrs: spec.ipam?.podCIDRs ?? spec.podCIDRs ?? [],
    };
  });
}

/** After all is quiet: each pod of another node is known with its identity, behind its node, and no other is. */
export function checkNeighbors(api: SimulatedApi, kernel: SimulatedKernel, facts: AgentFacts): string[] {
  const neighbors = neighborsOf(api, facts.nodeName);
  const wanted = new Map<string, string>();
  for (const object of youngestLast(api)) {
    const { identity, networking } = object.status as {
      identity: { id: number };
      networking: { node: string; addressing: { ipv4: string; ipv6: string }[] };
    };
    const node = neighbors.find(({ addresses }) => addresses.includes(networking.node));
    if (!node) continue;
    const isTunnel = facts.routing?.mode !== 'native' || facts.encryption?.type === 'ipsec';
    for (const { ipv4, ipv6 } of networking.addressing)
      for (const address of [ipv4, ipv6])
        if (!isOfOlder(address, node, neighbors))
          wanted.set(
            `${address}/${address.includes(':') ? 128 : 32}`,
            `${identity.id} ${isTunnel ? node.addresses[0] : ''}`,
          );
  }
  const there = new Map(
    [...kernel.dump('bpf.ipcache')]
      .map(([key, value]) => [key, value as IpcacheRow] as const)
      .filter(([, { identity }]) => identity === 400 || identity === 401)
      .map(([key, { identity, tunnelEndpoint }]) => [key, `${identity} ${tunnelEndpoint}`]),
  );
  const all = new Set([...wanted.keys(), ...there.keys()]);
  return [...all]
    .filter((key) => wanted.get(key) !== there.get(key))
    .map((key) => `neighbors: ${key} is ${there.get(key) ?? 'not there'}, wanted ${wanted.get(key) ?? 'nothing'}`);
}

/** So that of two with one address the younger overwrites the older. */
function youngestLast(api: SimulatedApi): KubeObject[] {
  const far = [...api.of('ciliumendpoints')].filter(([key]) => isFar(key)).map(([, object]) => object);
  const createdOf = ({ metadata }: KubeObject): string => metadata.creationTimestamp ?? '';
  return far.sort((a, b) => (createdOf(a) < createdOf(b) ? -1 : 1));
}

/** It lies in a range of the node that an older one has too. Ranges here are equal or apart. */
function isOfOlder(address: string, node: Neighbor, neighbors: readonly Neighbor[]): boolean {
  const isOlder = (other: Neighbor): boolean =>
    other.created < node.created || (other.created === node.created && other.name < node.name);
  return node.cidrs.some(
    (cidr) =>
      address.startsWith(cidr.slice(0, cidr.lastIndexOf(cidr.includes(':') ? '::' : '.') + 1)) &&
      neighbors.some((other) => other.name !== node.name && other.cidrs.includes(cidr) && isOlder(other)),
  );
}
