/** One machine: diagram, history, rows, and the chain behind the chosen row. */
import { html, nothing, svg, type TemplateResult } from 'lit-html';
import type { MachineView, Transition } from '../../../reconcilers/inspect.ts';
import type { ExplainView } from '../../debug/table-routes.ts';
import { ApiError } from './api.ts';
import { type Diagram, drawDiagram, nameOf } from './diagram.ts';
import { explainChain } from './explain.ts';
import { clock, plural, shortened } from './format.ts';
import type { PanZoom } from './pan-zoom.ts';

export type MachineLine = Omit<MachineView, 'context'> & { title: string };
export type MachineDetail = MachineView & { history: Transition[] };

const NETNS_MAX = 16;

interface Panel {
  detail: MachineDetail;
  title: string;
  diagram: Diagram | undefined;
  zoom: PanZoom;
  row: { table: string; key: string } | undefined;
  explained: ExplainView | ApiError | undefined;
  titleOf(machine: string): string;
  choose(table: string, key: string): void;
}

export function machinePanel(panel: Panel): TemplateResult {
  const { detail, title, row } = panel;
  return html`<section class="machine-main" aria-label=${title}>
      <header><div><span class="eyebrow">${detail.kind}</span><h1 title=${detail.key}>${title.replace(`${detail.kind} `, '')}</h1></div>
        <span class="badge accent big">${detail.state}</span></header>
      ${diagramFrame(panel)}
      ${history(detail)}
    </section>
    <section class="machine-rows" aria-label="Rows">
      <h2>Rows <span class="quiet">${plural(detail.rows.length, 'row')} wanted</span></h2>
      ${detail.rows.length === 0 ? html`<p class="hint">This machine wants nothing in the world: it knows, and tells others.</p>` : nothing}
      <ul class="row-list">${detail.rows.slice(0, 500).map(({ table, key, state }) => {
        const isOpen = row?.table === table && row.key === key;
        return html`<li class=${isOpen ? 'open' : ''}><button aria-expanded=${isOpen} @click=${() => panel.choose(table, key)}>
            <span class="dot ${state === 'in-sync' ? 'good' : state === 'failed' ? 'bad' : 'warn'}" title=${state}></span>
            <span class="table-name">${table}</span><span class="mono key clip" title=${key}>${keyText(key)}</span></button>
          ${isOpen ? chain(panel) : nothing}</li>`;
      })}</ul>
      <details class="context"><summary>What the machine knows</summary><pre>${JSON.stringify(detail.context, null, 2)?.slice(0, 60_000)}</pre></details>
    </section>`;
}

/** The end of a path tells more than its beginning. */
const keyText = (key: string): string =>
  key
    .replace(/^\/run\/netns\/[^|]*\.([^.|]+\.[^.|]+)\.[0-9a-f]+\|/, 'in $1: ')
    // What it is of stands before: room is for what is in it.
    .replace(/^\/[^|]*\/(?:axo-[^.|]+\.)?([^/|]+)\|/, (_, netns: string) => `in ${shortened(netns, NETNS_MAX)}: `);

function chain({ explained, titleOf }: Panel): TemplateResult {
  if (!explained) return html`<p class="hint">Asking …</p>`;
  if (explained instanceof ApiError) return html`<p class="hint bad">${explained.message}</p>`;
  return explainChain(explained, titleOf);
}

function diagramFrame({ detail, diagram, zoom }: Panel): TemplateResult {
  if (!diagram) return html`<div class="diagram"></div>`;
  const taken = new Set(detail.history.map(({ from, to }) => `${from}→${to}`));
  zoom.show(diagram.box, document.querySelector<SVGSVGElement>('.diagram svg'));
  const heard = [...diagram.stays].filter(([state]) => state === '' || state === detail.state);
  return html`<div class="diagram">
    <svg role="group" aria-label="States of ${detail.kind}; present: ${detail.state}" @wheel=${zoom.wheel} @pointerdown=${zoom.down} @pointermove=${zoom.move} @pointerup=${zoom.up}>
      <defs>${['tip', 'tip-taken'].map((id) => svg`<marker id=${id} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0.5 7.5 4 0 7.5Z"></path></marker>`)}</defs>
      <g transform=${zoom.transform}>${drawDiagram(diagram, detail.state, taken)}</g>
    </svg>
    ${zoomButtons(zoom)}
  </div>
    ${
      heard.length > 0
        ? html`<p class="stays quiet" title="heard without leaving the state">stays ${nameOf(detail.state)} on ${[...new Set(heard.flatMap(([, lines]) => lines))].map((line) => html`<code>${line}</code> `)}</p>`
        : nothing
    }`;
}

export function zoomButtons(zoom: PanZoom): TemplateResult {
  return html`<div class="zoom" role="group" aria-label="Zoom">
    <button class="icon" aria-label="Closer" title="Closer (+)" @click=${() => zoom.zoom(1.25)}>+</button>
    <button class="icon" aria-label="Farther" title="Farther (−)" @click=${() => zoom.zoom(0.8)}>−</button>
    <button class="icon" aria-label="All of it" title="All of it (0)" @click=${() => zoom.reset()}>⤢</button>
  </div>`;
}

function history({ history: all }: MachineDetail): TemplateResult {
  return html`<section class="history" aria-label="History"><h2>History <span class="quiet">newest first</span></h2>
    <ol>${[...all].reverse().map(
      ({ from, to, on, cause }) => html`<li>
        <time>${clock(cause.at)}</time>
        <span class="move">${from === to ? html`<span class="quiet">stayed</span> ${to}` : html`<span class="quiet">${from || 'born'} →</span> ${to || 'ended'}`}</span>
        <code>${on}</code>
        <span class="quiet clip" title="#${cause.seq} ${cause.type} ${cause.subject} from ${cause.source}">#${cause.seq} ${cause.type} ${cause.subject}</span>
      </li>`,
    )}</ol></section>`;
}
