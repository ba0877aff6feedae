/** Lines of the map between its cards, and where their labels fit; pure. */
import type { Box } from './box.ts';

interface Point {
  x: number;
  y: number;
}

export interface Curve {
  path: string;
  /** A point of it, from 0 to 1. */
  at(t: number): Point;
}

const TIP = 5;

/** How far a line may bow out, up or down, to go around cards in its way. */
const BOWS = [0, -50, 50, -80, 80, -120, 120, -170, 170];
const SAMPLES = Array.from({ length: 19 }, (_, i) => (i + 1) / 20);

/** From the right of one card to the left of another; `side` sets lines between the same cards apart. Behind `others` as little as can be. */
export function lineBetween(from: Box, to: Box, side: number, others: readonly Box[] = []): Curve {
  let best = bowed(from, to, side, 0);
  let covered = coverOf(best, others);
  for (const bow of BOWS) {
    if (covered === 0) break;
    const line = bowed(from, to, side, bow);
    const cover = coverOf(line, others);
    if (cover < covered) [best, covered] = [line, cover];
  }
  return best;
}

const coverOf = ({ at }: Curve, boxes: readonly Box[]): number =>
  boxes.length === 0 ? 0 : SAMPLES.filter((t) => boxes.some((box) => isInside(at(t), box))).length;

const isInside = ({ x, y }: Point, box: Box): boolean =>
  x > box.x && x < box.x + box.width && y > box.y && y < box.y + box.height;

function bowed(from: Box, to: Box, side: number, bow: number): Curve {
  const [y1, y2] = [from.y + from.height / 2 + side, to.y + to.height / 2 + side];
  if (from === to) {
    const [x, y] = [from.x + from.width, from.y + 12];
    return curve({ x, y }, { x: x + 34, y: y - 8 }, { x: x + 34, y: y + 30 }, { x: x + TIP, y: y + 22 });
  }
  const isForward = to.x >= from.x + from.width - 1;
  const isBackward = to.x + to.width <= from.x + 1;
  if (isForward || isBackward) {
    const [x1, x2] = isForward ? [from.x + from.width, to.x - TIP] : [from.x, to.x + to.width + TIP];
    const bend = Math.max(30, Math.abs(x2 - x1) * 0.45) * (isForward ? 1 : -1);
    return curve({ x: x1, y: y1 }, { x: x1 + bend, y: y1 + bow }, { x: x2 - bend, y: y2 + bow }, { x: x2, y: y2 });
  }
  // One above the other: around the right.
  const [x1, x2] = [from.x + from.width, to.x + to.width + TIP];
  const out = Math.max(x1, x2) + 36 + Math.abs(side);
  return curve({ x: x1, y: y1 }, { x: out, y: y1 }, { x: out, y: y2 }, { x: x2, y: y2 });
}

const curve = (p: Point, q: Point, r: Point, s: Point): Curve => ({
  path: `M${p.x} ${p.y} C${q.x} ${q.y} ${r.x} ${r.y} ${s.x} ${s.y}`,
  at(t) {
    const [a, b, c, d] = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t ** 2, t ** 3];
    return { x: a * p.x + b * q.x + c * r.x + d * s.x, y: a * p.y + b * q.y + c * r.y + d * s.y };
  },
});

export interface Labelled {
  id: string;
  label: string;
  curve: Curve;
}

/** Nearer to the end first: lines that begin together are apart there. */
const PLACES = [0.64, 0.5, 0.78, 0.36, 0.88, 0.24];
const LABEL = { perCharacter: 6.4, height: 15, above: 6 };

/** Middle of each label that finds room beside `taken` and those before it; the rest have none. */
export function labelPlaces(lines: readonly Labelled[], taken: readonly Box[]): Map<string, Point> {
  const places = new Map<string, Point>();
  const full = [...taken];
  for (const {
    id,
    label,
    curve: { at },
  } of lines) {
    const width = label.length * LABEL.perCharacter;
    for (const t of PLACES) {
      const { x, y } = at(t);
      const box = { x: x - width / 2, y: y - LABEL.above - LABEL.height + 3, width, height: LABEL.height };
      if (full.some((other) => overlap(box, other))) continue;
      full.push(box);
      places.set(id, { x, y: y - LABEL.above });
      break;
    }
  }
  return places;
}

const overlap = (a: Box, b: Box): boolean =>
  a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
