/**
 * Where the cards of the map stand: layers from client to server inside each namespace, and namespaces in layers among each other; pure.
 *
 * - The same cards and lines always give the same places; its time is linear but for sorting, so 500 workloads take milliseconds.
 */
import type { Box } from './box.ts';

export interface Size {
  id: string;
  width: number;
  height: number;
}
export type Link = readonly [from: string, to: string];

export interface MapLayout {
  cards: Map<string, Box>;
  groups: Map<string, Box>;
  box: Box;
}

export const CARD = { width: 164, height: 46 };
const INNER = { across: 72, down: 18 };
const OUTER = { across: 110, down: 44 };
const GROUP = { side: 18, top: 38, bottom: 18 };
const SWEEPS = 6;
/** A column up to this height stays one, and a band up to this width. */
const COLUMN_PX = 560;
const BAND_PX = 1_000;
/** Of the whole, as of a screen. */
const ASPECT = 1.7;

interface Gap {
  across: number;
  down: number;
}

export function layOutMap(cards: readonly { id: string; group: string }[], links: readonly Link[]): MapLayout {
  const groupOf = new Map(cards.map(({ id, group }) => [id, group]));
  const members = Map.groupBy(cards, ({ group }) => group);
  const inside = new Map<string, Link[]>();
  const between: Link[] = [];
  for (const [from, to] of links) {
    const [a, b] = [groupOf.get(from), groupOf.get(to)];
    if (a === undefined || b === undefined || from === to) continue;
    if (a === b) inside.set(a, [...(inside.get(a) ?? []), [from, to]]);
    else between.push([a, b]);
  }
  const inner = new Map(
    [...members].map(([group, all]) => [
      group,
      layered(
        all.map(({ id }) => ({ id, ...CARD })),
        inside.get(group) ?? [],
        INNER,
      ),
    ]),
  );
  const sizes = [...inner].map(([id, { box }]) => ({
    id,
    width: box.width + 2 * GROUP.side,
    height: box.height + GROUP.top + GROUP.bottom,
  }));
  const outer = layered(sizes, between, OUTER);
  const places = new Map<string, Box>();
  for (const [group, { places: own }] of inner) {
    const at = outer.places.get(group);
    if (at)
      for (const [id, box] of own)
        places.set(id, { ...box, x: box.x + at.x + GROUP.side, y: box.y + at.y + GROUP.top });
  }
  return { cards: places, groups: outer.places, box: outer.box };
}

interface Placed {
  places: Map<string, Box>;
  box: Box;
}

/** Columns from left to right along the links; what has none stands in a grid below. */
export function layered(items: readonly Size[], links: readonly Link[], gap: Gap): Placed {
  const sorted = [...items].sort((a, b) => (a.id < b.id ? -1 : 1));
  const { ranks, neighbours } = rank(sorted, links);
  const linked = sorted.filter(({ id }) => (neighbours.get(id)?.size ?? 0) > 0);
  const loose = sorted.filter(({ id }) => (neighbours.get(id)?.size ?? 0) === 0);
  const area = sorted.reduce((sum, { width, height }) => sum + (width + gap.across) * (height + gap.down), 0);
  const heightMax = Math.max(Math.sqrt(area) * 0.85, COLUMN_PX);
  const columns = ordered(linked, ranks, neighbours).flatMap((column) => split(column, heightMax, gap.down));
  const { places, width: widthOfColumns, height: tallest } = banded(columns, Math.sqrt(area * ASPECT), gap);
  const grid = gridded(
    loose,
    Math.max(widthOfColumns, Math.sqrt(area) * 1.2),
    tallest > 0 ? tallest + gap.down * 1.5 : 0,
    gap,
  );
  for (const [id, box] of grid.places) places.set(id, box);
  return {
    places,
    box: { x: 0, y: 0, width: Math.max(widthOfColumns, grid.width), height: Math.max(tallest, grid.bottom) },
  };
}

/** Longest path from a beginning; ways that lead back are not counted. */
function rank(
  items: readonly Size[],
  links: readonly Link[],
): { ranks: Map<string, number>; neighbours: Map<string, Set<string>> } {
  const known = new Set(items.map(({ id }) => id));
  const next = new Map<string, Set<string>>();
  const neighbours = new Map<string, Set<string>>();
  const indegree = new Map<string, number>();
  for (const [from, to] of links) {
    if (from === to || !known.has(from) || !known.has(to)) continue;
    for (const [map, a, b] of [
      [next, from, to],
      [neighbours, from, to],
      [neighbours, to, from],
    ] as const)
      map.set(a, (map.get(a) ?? new Set()).add(b));
  }
  for (const [, targets] of next) for (const to of targets) indegree.set(to, (indegree.get(to) ?? 0) + 1);
  const ranks = new Map<string, number>();
  const done = new Set<string>();
  const onPath = new Set<string>();
  const order: string[] = [];
  const back = new Set<string>();
  /** Without recursion: chains may be long. */
  const visit = (root: string): void => {
    const stack: { id: string; rest: string[] }[] = [{ id: root, rest: [...(next.get(root) ?? [])].sort() }];
    onPath.add(root);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const to = top.rest.pop();
      if (to === undefined) {
        stack.pop();
        onPath.delete(top.id);
        done.add(top.id);
        order.push(top.id);
      } else if (onPath.has(to)) back.add(`${top.id}→${to}`);
      else if (!done.has(to)) {
        onPath.add(to);
        stack.push({ id: to, rest: [...(next.get(to) ?? [])].sort() });
      }
    }
  };
  const roots = [...items].sort(
    (a, b) => (indegree.get(a.id) ?? 0) - (indegree.get(b.id) ?? 0) || (a.id < b.id ? -1 : 1),
  );
  for (const { id } of roots) if (!done.has(id)) visit(id);
  for (const id of order.reverse()) {
    const own = ranks.get(id) ?? 0;
    ranks.set(id, own);
    for (const to of next.get(id) ?? [])
      if (!back.has(`${id}→${to}`)) ranks.set(to, Math.max(ranks.get(to) ?? 0, own + 1));
  }
  return { ranks, neighbours };
}

/** Columns by rank; inside a column by where the neighbours stand. */
function ordered(
  items: readonly Size[],
  ranks: ReadonlyMap<string, number>,
  neighbours: ReadonlyMap<string, Set<string>>,
): Size[][] {
  const columns: Size[][] = [];
  for (const item of items) {
    const at = ranks.get(item.id) ?? 0;
    columns[at] = [...(columns[at] ?? []), item];
  }
  const full = columns.filter((column) => column !== undefined);
  const place = new Map<string, number>();
  const note = (column: readonly Size[]): void =>
    column.forEach(({ id }, i) => place.set(id, (i + 0.5) / column.length));
  full.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    for (const column of sweep % 2 === 0 ? full : [...full].reverse()) {
      const middle = new Map(
        column.map(({ id }) => {
          const all = [...(neighbours.get(id) ?? [])].map((other) => place.get(other) ?? 0.5);
          return [id, all.reduce((sum, one) => sum + one, 0) / Math.max(1, all.length)];
        }),
      );
      column.sort((a, b) => (middle.get(a.id) ?? 0) - (middle.get(b.id) ?? 0) || (a.id < b.id ? -1 : 1));
      note(column);
    }
  }
  return full;
}

/** Columns side by side, and in another band below when they would be too wide: a long chain folds instead of shrinking. */
function banded(
  columns: readonly Size[][],
  widthMax: number,
  gap: Gap,
): { places: Map<string, Box>; width: number; height: number } {
  const places = new Map<string, Box>();
  const widths = columns.map((column) => Math.max(...column.map((item) => item.width)));
  const heights = columns.map((column) => column.reduce((sum, { height }) => sum + height + gap.down, -gap.down));
  let [top, width] = [0, 0];
  for (let first = 0; first < columns.length; ) {
    let [last, across] = [first, 0];
    do across += (widths[last++] ?? 0) + gap.across;
    while (last < columns.length && across + (widths[last] ?? 0) <= Math.max(widthMax, BAND_PX));
    const tallest = Math.max(...heights.slice(first, last));
    let x = 0;
    for (let at = first; at < last; at++) {
      let y = top + (tallest - (heights[at] ?? 0)) / 2;
      for (const item of columns[at] ?? []) {
        places.set(item.id, { x: x + ((widths[at] ?? 0) - item.width) / 2, y, width: item.width, height: item.height });
        y += item.height + gap.down;
      }
      x += (widths[at] ?? 0) + gap.across;
    }
    width = Math.max(width, x - gap.across);
    top += tallest + gap.down * 1.5;
    first = last;
  }
  return { places, width, height: Math.max(0, top - gap.down * 1.5) };
}

/** A column that would be too high stands in several. */
function split(column: readonly Size[], heightMax: number, gap: number): Size[][] {
  const parts: Size[][] = [[]];
  let height = 0;
  const total = column.reduce((sum, item) => sum + item.height + gap, 0);
  const each = total / Math.ceil(total / heightMax);
  for (const item of column) {
    if (height + item.height > each + 1 && height > 0) {
      parts.push([]);
      height = 0;
    }
    parts.at(-1)?.push(item);
    height += item.height + gap;
  }
  return parts;
}

function gridded(
  items: readonly Size[],
  widthMax: number,
  top: number,
  gap: Gap,
): { places: Map<string, Box>; width: number; bottom: number } {
  const places = new Map<string, Box>();
  const across = Math.min(gap.across, 28);
  let [x, y, height, width] = [0, top, 0, 0];
  for (const item of items) {
    if (x > 0 && x + item.width > widthMax) {
      x = 0;
      y += height + gap.down;
      height = 0;
    }
    places.set(item.id, { x, y, width: item.width, height: item.height });
    x += item.width + across;
    width = Math.max(width, x - across);
    height = Math.max(height, item.height);
  }
  return { places, width, bottom: items.length > 0 ? y + height : 0 };
}
