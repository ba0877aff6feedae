/**
 * Nodes, CiliumNodes and CiliumEndpoints without what no machine reads: every node keeps all of the cluster's in memory.
 *
 * - Texts that recur in each endpoint, as names of nodes and namespaces, are kept once.
 */
import type { KubeObject } from './events.ts';
import { named } from './slim.ts';

type Fields = Record<string, unknown>;
const fields = (value: unknown): Fields => (value !== null && typeof value === 'object' ? (value as Fields) : {});

/** Of those of `all` that are there. */
function only(all: Fields, ...names: string[]): Fields {
  return Object.fromEntries(names.filter((name) => all[name] !== undefined).map((name) => [name, all[name]]));
}

/** Beside what the node's own machines read: labels, and annotations that are not kubectl's or kubelet's. */
export function slimNode({ apiVersion, kind, metadata, spec, status }: KubeObject): KubeObject {
  return {
    apiVersion,
    kind,
    metadata: { ...named(metadata), ...(metadata.labels && { labels: metadata.labels }) },
    spec: only(fields(spec), 'podCIDR', 'podCIDRs'),
    status: only(fields(status), 'addresses'),
  };
}

const WIREGUARD_KEY = 'network.cilium.io/wg-pub-key';

export function slimCiliumNode({ apiVersion, kind, metadata, spec }: KubeObject): KubeObject {
  const annotations = only(fields(metadata.annotations), WIREGUARD_KEY) as Record<string, string>;
  const said = fields(spec);
  return {
    apiVersion,
    kind,
    metadata: { ...named(metadata), ...(Object.keys(annotations).length > 0 && { annotations }) },
    spec: {
      ...only(said, 'addresses', 'health', 'encryption', 'bootid'),
      ...(said['ipam'] !== undefined && { ipam: only(fields(said['ipam']), 'podCIDRs') }),
    },
  };
}

export function slimCiliumEndpoint({ apiVersion, kind, metadata, status }: KubeObject): KubeObject {
  const { identity, networking } = fields(status);
  const { namespace } = metadata;
  return {
    apiVersion: once(apiVersion),
    kind: once(kind),
    metadata: { ...named(metadata), ...(namespace !== undefined && { namespace: once(namespace) }) },
    status: {
      ...(identity !== undefined && { identity: only(fields(identity), 'id') }),
      ...(networking !== undefined && { networking: slimNetworking(networking) }),
      ...only(fields(status), 'named-ports'),
    },
  };
}

export function slimCiliumEndpointSlice({ apiVersion, kind, metadata, endpoints, namespace }: KubeObject): KubeObject {
  const slim = (one: unknown): Fields => {
    const all = fields(one);
    return {
      ...only(all, 'name', 'id', 'named-ports'),
      ...(all['networking'] !== undefined && { networking: slimNetworking(all['networking']) }),
    };
  };
  return {
    apiVersion,
    kind,
    metadata: named(metadata),
    ...(namespace !== undefined && { namespace }),
    endpoints: Array.isArray(endpoints) ? endpoints.map(slim) : endpoints,
  };
}

function slimNetworking(networking: unknown): Fields {
  const { addressing, node } = fields(networking);
  return { addressing, ...(typeof node === 'string' && { node: once(node) }) };
}

const texts = new Map<string, string>();
const TEXTS_MAX = 20_000;

/** The first text that was equal. */
function once(text: string): string {
  const first = texts.get(text);
  if (first !== undefined) return first;
  if (texts.size >= TEXTS_MAX) texts.clear();
  texts.set(text, text);
  return text;
}
