/** The map's lines with their words; words come after all lines, so that none is struck through. */
import { nothing, type SVGTemplateResult, svg } from 'lit-html';
import type { MapLayout } from './map-layout.ts';
import { type Curve, labelPlaces, lineBetween } from './map-lines.ts';
import type { Line } from './map-model.ts';
import { plainName } from './map-panel.ts';

export interface LineLooks {
  /** Cards and lines that are pointed at or chosen; '' is none. */
  lit: readonly string[];
  /** What is beside the point, unless it is lit. */
  isDim(line: Line): boolean;
  choose(id: string): void;
}

/** Past this many lines only those of what is chosen bear a label. */
const LABELS_MAX = 40;
/** Lines times cards: with more of both, a line goes straight, whatever stands in its way. */
const AROUND_MAX = 10_000;
/** Of a namespace, at its top. */
const TITLE_PX = 34;
const IDLE_MS = 60_000;
/** Denied, allowed and audited lines between the same cards lie side by side. */
const SIDE = { denied: 7, audit: -7, forwarded: 0 } as const;
/** Whose word finds its place first. */
const TURN = { denied: 0, audit: 1, forwarded: 2 } as const;
const LIT_LABEL_AT = 0.64;

export function drawLines(
  lines: readonly Line[],
  { cards, groups }: MapLayout,
  looks: LineLooks,
): (SVGTemplateResult | typeof nothing)[] {
  const all = [...cards.values()];
  const isFew = lines.length * all.length <= AROUND_MAX;
  const known = lines.flatMap((line) => {
    const [from, to] = [cards.get(line.from), cards.get(line.to)];
    if (!from || !to) return [];
    const others = isFew ? all.filter((card) => card !== from && card !== to) : [];
    return [{ line, curve: lineBetween(from, to, SIDE[line.verdict], others) }];
  });
  const worded = lines.length > LABELS_MAX ? [] : [...known];
  worded.sort((a, b) => TURN[a.line.verdict] - TURN[b.line.verdict]);
  const places = labelPlaces(
    worded.map(({ line: { id, label }, curve }) => ({ id, label, curve })),
    [...all, ...[...groups.values()].map((group) => ({ ...group, height: TITLE_PX }))],
  );
  return [
    ...known.map(({ line, curve }) => drawnLine(line, curve, looks)),
    ...known.map(({ line, curve }) => {
      const at = places.get(line.id) ?? (isLit(line, looks) ? curve.at(LIT_LABEL_AT) : undefined);
      if (!at) return nothing;
      return svg`<g class=${classOf(line, looks)}><text x=${at.x} y=${at.y} text-anchor="middle">${line.label}</text></g>`;
    }),
  ];
}

const isLit = ({ id, from, to }: Line, { lit }: LineLooks): boolean =>
  lit.some((one) => one !== '' && (one === id || one === from || one === to));

function classOf(line: Line, looks: LineLooks): string {
  const lit = isLit(line, looks);
  const isIdle = line.last < Date.now() - IDLE_MS;
  return `edge ${line.verdict} ${lit ? 'lit' : ''} ${!lit && looks.isDim(line) ? 'dim' : ''} ${isIdle ? 'idle' : ''}`;
}

function drawnLine(line: Line, { path }: Curve, looks: LineLooks): SVGTemplateResult {
  const width = 1.25 + Math.min(2, Math.log10(1 + line.flows) / 2.2);
  return svg`<g class=${classOf(line, looks)}
      @click=${(event: Event) => {
        event.stopPropagation();
        looks.choose(line.id);
      }}>
    <title>${plainName(line.from)} → ${plainName(line.to)}: ${line.label}, ${line.verdict}</title>
    <path class="hit" d=${path}></path>
    <path class="drawn" d=${path} stroke-width=${width} marker-end="url(#tip-of-edge)"></path>
  </g>`;
}
