/**
 * What of the service map is drawn: groups by namespace, closed ones as one card, edges between the same two ends as one line; pure.
 */
import type { MapEdge, MapNode, ServiceMapView } from '../service-map.ts';

export interface Choice {
  /** Namespaces that are shown as one card. */
  closed: ReadonlySet<string>;
  search: string;
  isDeniedOnly: boolean;
}

export interface Card {
  id: string;
  group: string;
  title: string;
  subtitle: string;
  kind: MapNode['kind'] | 'namespace';
  /** What is behind the card: itself, or all workloads of a closed namespace. */
  members: MapNode[];
  isMatch: boolean;
  hasDenied: boolean;
}

export interface Line {
  id: string;
  from: string;
  to: string;
  verdict: MapEdge['verdict'];
  edges: MapEdge[];
  flows: number;
  last: number;
  /** `TCP 8080`, `3 ports`. */
  label: string;
}

export interface Drawn {
  cards: Card[];
  lines: Line[];
  groups: { id: string; title: string; cards: number; isClosable: boolean }[];
}

/** Past this many workloads namespaces begin closed. */
export const OPEN_MAX = 60;
/** Groups that are no namespaces. */
export const OUTSIDE = ' outside';
export const NODES = ' nodes';

const groupOf = ({ kind, namespace }: MapNode): string =>
  kind === 'workload' ? namespace : kind === 'world' ? OUTSIDE : NODES;

export function drawn({ nodes, edges }: ServiceMapView, { closed, search, isDeniedOnly }: Choice): Drawn {
  const wanted = search.trim().toLowerCase();
  const kept = isDeniedOnly ? edges.filter(({ verdict }) => verdict !== 'forwarded') : edges;
  const used = new Set(kept.flatMap(({ from, to }) => [from, to]));
  const denied = new Set(edges.filter(({ verdict }) => verdict === 'denied').flatMap(({ from, to }) => [from, to]));
  const cards = new Map<string, Card>();
  const cardOf = new Map<string, string>();
  for (const node of [...nodes].sort((a, b) => (a.id < b.id ? -1 : 1))) {
    if (isDeniedOnly && !used.has(node.id)) continue;
    const group = groupOf(node);
    const isMatch = wanted === '' || `${node.id} ${node.pods.join(' ')}`.toLowerCase().includes(wanted);
    const isClosed = closed.has(group);
    const id = isClosed ? `ns:${group}` : node.id;
    cardOf.set(node.id, id);
    const known = cards.get(id);
    if (known) {
      known.members.push(node);
      known.isMatch ||= isMatch;
      known.hasDenied ||= denied.has(node.id);
    } else
      cards.set(id, {
        id,
        group,
        title: isClosed ? group : node.name,
        subtitle: '',
        kind: isClosed ? 'namespace' : node.kind,
        members: [node],
        isMatch,
        hasDenied: denied.has(node.id),
      });
  }
  for (const card of cards.values()) card.subtitle = subtitleOf(card);
  return { cards: [...cards.values()], lines: linesOf(kept, cardOf), groups: groupsOf([...cards.values()]) };
}

function subtitleOf({ kind, members }: Card): string {
  const [first] = members;
  const number = (of: number, what: string): string => `${of} ${what}${of === 1 ? '' : 's'}`;
  switch (kind) {
    case 'namespace':
      return number(members.length, 'workload');
    case 'workload':
      return first && first.pods.length > 0 ? number(first.pods.length, 'pod') : 'on another node';
    case 'world':
      return 'outside the cluster';
    case 'node':
      return first?.name === 'host' ? 'this node' : 'other nodes';
    case 'other':
      return 'reserved';
  }
}

function linesOf(edges: readonly MapEdge[], cardOf: ReadonlyMap<string, string>): Line[] {
  const lines = new Map<string, Line>();
  for (const edge of edges) {
    const [from, to] = [cardOf.get(edge.from), cardOf.get(edge.to)];
    if (from === undefined || to === undefined) continue;
    // What goes on inside a closed namespace is seen when it is opened.
    if (from === to && from.startsWith('ns:')) continue;
    const id = `${from}|${to}|${edge.verdict}`;
    const line = lines.get(id) ?? { id, from, to, verdict: edge.verdict, edges: [], flows: 0, last: 0, label: '' };
    line.edges.push(edge);
    line.flows += edge.flows;
    line.last = Math.max(line.last, edge.last);
    lines.set(id, line);
  }
  for (const line of lines.values()) line.label = labelOf(line.edges);
  return [...lines.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
}

export const portText = ({ protocol, port }: Pick<MapEdge, 'protocol' | 'port'>): string =>
  port > 0 ? `${protocol} ${port}` : protocol;

function labelOf(edges: readonly MapEdge[]): string {
  const ports = [...new Set(edges.map(portText))].sort();
  return ports.length <= 2 ? ports.join(', ') : `${ports.length} ports`;
}

function groupsOf(cards: readonly Card[]): Drawn['groups'] {
  const groups = new Map<string, number>();
  for (const { group } of cards) groups.set(group, (groups.get(group) ?? 0) + 1);
  return [...groups]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, number]) => ({
      id,
      title: id === OUTSIDE ? 'outside' : id === NODES ? 'nodes' : id,
      cards: number,
      isClosable: id !== OUTSIDE && id !== NODES,
    }));
}
