/** This node and the others as people know them, gathered from their machines. */
import { keysOf, type NodeContext } from '../machines/node.ts';
import { keyIdOf } from '../machines/node-announcement.ts';
import { podsIn, type RemoteNodeContext, remoteNodeKey, viewIn } from '../machines/remote-node-context.ts';
import { addressesOf, encryptionOf, routingOf } from '../machines/underlay.ts';
import type { Inspector } from '../reconcilers/inspect.ts';

export interface ClusterNodeView {
  name: string;
  own: boolean;
  /** Of its machine. */
  state: string;
  /** What is missing, wrong, or failed last; empty when all is well. */
  reasons: readonly string[];
  addresses: readonly string[];
  podCidrs: readonly string[];
  health: readonly string[];
  /** Pods that this node knows of there: addresses. */
  podAddresses: number;
  /** '' without a tunnel, and of this node. */
  tunnelEndpoint: string;
  encryption: { type: 'none' | 'wireguard' | 'ipsec'; keyId: number; publicKey: string; state: string };
  machine: string;
}

const KEYLESS = { type: 'none', keyId: 0, publicKey: '', state: '' } as const;

/** This one first, then by name. */
export function clusterNodesOf(inspector: Inspector): ClusterNodeView[] {
  const others = (inspector.contexts('remote-node') as RemoteNodeContext[])
    .map((context) => otherNode(inspector, context))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return [...(inspector.contexts('node') as NodeContext[]).map((context) => ownNode(inspector, context)), ...others];
}

function ownNode(inspector: Inspector, context: NodeContext): ClusterNodeView {
  const { agent, object, pool, lost, backoff } = context;
  const machine = 'node/local';
  const state = inspector.machine(machine)?.state ?? '';
  const { type } = encryptionOf(agent);
  const keys = keysOf(context);
  const conflicts = Object.entries(lost).map(([cidr, by]) => `${cidr} is in use by node ${by}`);
  return {
    name: agent.nodeName,
    own: true,
    state,
    reasons: [...conflicts, ...(state === 'failing' ? [backoff.reason] : [])],
    addresses: addressesOf(object).map(({ ip }) => ip),
    podCidrs: [pool?.cidr4 ?? '', pool?.cidr6 ?? ''].filter(Boolean),
    health: [],
    podAddresses: 0,
    tunnelEndpoint: '',
    encryption: { type, keyId: keyIdOf(keys), publicKey: keys.wireguard, state: stateOf(inspector, `${type}/local`) },
    machine,
  };
}

function otherNode(inspector: Inspector, context: RemoteNodeContext): ClusterNodeView {
  const { name, agent, route, problems, backoff } = context;
  const machine = remoteNodeKey(name);
  const state = inspector.machine(machine)?.state ?? '';
  const view = viewIn(context);
  const type = agent ? encryptionOf(agent).type : 'none';
  const isTunnel = agent !== undefined && routingOf(agent).mode !== 'native';
  return {
    name,
    own: false,
    state,
    reasons: [...problems, ...(state === 'failing' ? [backoff.reason] : []), ...silence(context, state)],
    addresses: view?.addresses ?? [],
    podCidrs: view?.podCidrs ?? [],
    health: view?.health ?? [],
    podAddresses: podsIn(context).addresses().length,
    tunnelEndpoint: isTunnel ? (route?.tunnelEndpoint ?? '') : '',
    encryption:
      type === 'none'
        ? KEYLESS
        : {
            type,
            keyId: route?.encryptKey ?? 0,
            publicKey: view?.wireguardKey ?? '',
            state: stateOf(inspector, `${type}-peer/${name}`),
          },
    machine,
  };
}

const stateOf = (inspector: Inspector, machine: string): string => inspector.machine(machine)?.state ?? '';

/** Why it does not answer. */
function silence({ probes }: RemoteNodeContext, state: string): string[] {
  if (state !== 'unreachable') return [];
  return Object.entries(probes)
    .filter(([, error]) => error !== '')
    .map(([probe, error]) => `${probe.split('/').slice(1).join(' ')}: ${error}`)
    .sort();
}
