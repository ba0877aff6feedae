/** A kind of machine as a drawing: its states, the ways between them, the present state lit and the ways taken marked. */
import dagre from '@dagrejs/dagre';
import { nothing, type SVGTemplateResult, svg } from 'lit-html';
import type { KindGraph } from '../../kind-graph.ts';
import type { Box } from './box.ts';

export interface DiagramEdge {
  from: string;
  to: string;
  /** What leads there, one line for each way. */
  lines: string[];
  points: { x: number; y: number }[];
  label: { x: number; y: number };
}

export interface Diagram {
  states: (Box & { id: string; isFinal: boolean })[];
  edges: DiagramEdge[];
  box: Box;
  /** What is heard in a state without leaving it, by state; '' for any. */
  stays: Map<string, string[]>;
  initial: string;
}

/** Not a state of the machine: where ways that hold in every state begin. */
export const ANYWHERE = '*';
const LINES_MAX = 3;
const CHAR_PX = 6.3;
const LABEL_CHAR_PX = 5.6;
const LINE_PX = 13;

interface Point {
  x: number;
  y: number;
}

export function layOut({ states, edges, initial }: KindGraph): Diagram {
  const stays = new Map<string, string[]>();
  const ways = new Map<string, { from: string; to: string; lines: string[] }>();
  for (const { from, to, event, guard } of edges) {
    const line = guard ? `${event} [${guard}]` : event;
    if (to === '' || to === from) {
      stays.set(from, [...(stays.get(from) ?? []), line]);
      continue;
    }
    const key = `${from || ANYWHERE}→${to}`;
    const way = ways.get(key) ?? { from: from || ANYWHERE, to, lines: [] };
    if (!way.lines.includes(line)) way.lines.push(line);
    ways.set(key, way);
  }
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: 'TB', nodesep: 26, edgesep: 12, ranksep: 13, marginx: 4, marginy: 4 });
  graph.setDefaultEdgeLabel(() => ({}));
  const all = [...ways.values()].some(({ from }) => from === ANYWHERE)
    ? [...states.map(({ id }) => id), ANYWHERE]
    : states.map(({ id }) => id);
  for (const id of all) graph.setNode(id, { width: Math.max(78, nameOf(id).length * CHAR_PX * 1.15 + 30), height: 32 });
  for (const { from, to, lines } of ways.values()) {
    const shown = shownLines(lines);
    graph.setEdge(from, to, {
      width: Math.max(...shown.map((line) => line.length)) * LABEL_CHAR_PX + 8,
      height: shown.length * LINE_PX,
      labelpos: 'c',
    });
  }
  dagre.layout(graph);
  const finals = new Set(states.filter(({ isFinal }) => isFinal).map(({ id }) => id));
  const { width = 1, height = 1 } = graph.graph() as { width?: number; height?: number };
  return {
    stays,
    initial,
    box: { x: 0, y: 0, width, height },
    states: all.map((id) => {
      const { x, y, width: w, height: h } = graph.node(id) as Point & { width: number; height: number };
      return { id, isFinal: finals.has(id), x: x - w / 2, y: y - h / 2, width: w, height: h };
    }),
    edges: [...ways.values()].map(({ from, to, lines }) => {
      const { points, x, y } = graph.edge(from, to) as { points: Point[] } & Point;
      return { from, to, lines: shownLines(lines), points, label: { x, y } };
    }),
  };
}

export const nameOf = (id: string): string => (id === ANYWHERE ? 'any state' : id);

const shownLines = (lines: string[]): string[] =>
  lines.length > LINES_MAX ? [...lines.slice(0, LINES_MAX - 1), `and ${lines.length - LINES_MAX + 1} more`] : lines;

/** `taken`: ways that the machine went, as `from→to`. */
export function drawDiagram(diagram: Diagram, current: string, taken: ReadonlySet<string>): SVGTemplateResult {
  const visited = new Set([...taken].flatMap((way) => way.split('→')));
  const tone = (from: string, to: string): string => (taken.has(`${from}→${to}`) ? 'taken' : '');
  return svg`
    ${diagram.edges.map(
      ({ from, to, points }) => svg`<path class="way ${tone(from, to)}" d=${curve(points)}
        marker-end=${taken.has(`${from}→${to}`) ? 'url(#tip-taken)' : 'url(#tip)'}></path>`,
    )}
    ${diagram.edges.map(
      ({
        from,
        to,
        lines,
        label,
      }) => svg`<g class="way-label ${tone(from, to)}" transform="translate(${label.x} ${label.y - ((lines.length - 1) * LINE_PX) / 2})">
        ${lines.map((line, i) => svg`<text y=${i * LINE_PX + 4} text-anchor="middle">${line}</text>`)}</g>`,
    )}
    ${diagram.states.map((state) => {
      const { id, x, y, width, height } = state;
      const look = id === current ? 'current' : visited.has(id) ? 'visited' : '';
      return svg`<g class="state ${look} ${id === ANYWHERE ? 'anywhere' : ''}" transform="translate(${x} ${y})" aria-label=${id === current ? `${nameOf(id)}, the present state` : nameOf(id)} role="img">
        ${id === current ? svg`<rect class="halo" x="-4" y="-4" width=${width + 8} height=${height + 8} rx="20"></rect>` : nothing}
        <rect width=${width} height=${height} rx="16"></rect>
        ${state.isFinal ? svg`<rect class="inner" x="3" y="3" width=${width - 6} height=${height - 6} rx="13"></rect>` : nothing}
        ${id === diagram.initial ? svg`<circle class="born" cx="13" cy=${height / 2} r="3"></circle>` : nothing}
        <text x=${width / 2} y=${height / 2 + 4.5} text-anchor="middle">${nameOf(id)}</text>
      </g>`;
    })}`;
}

/** Through the points, rounded at each. */
function curve(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (!first) return '';
  let path = `M${first.x} ${first.y}`;
  rest.forEach((point, i) => {
    const next = rest[i + 1];
    path += next
      ? ` Q${point.x} ${point.y} ${(point.x + next.x) / 2} ${(point.y + next.y) / 2}`
      : ` L${point.x} ${point.y}`;
  });
  return path;
}
