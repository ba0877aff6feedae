/** Beside the map: what is chosen (a workload, a namespace, a line) with its edges and latest flows, or all of it in figures. */
import { html, nothing, type TemplateResult } from 'lit-html';
import type { MapEdge, MapNode, ServiceMapView } from '../service-map.ts';
import { shortFlows, verdictBadge } from './flow-detail.ts';
import { type FlowRow, toneOf } from './flow-list.ts';
import { ago, count, plural, words } from './format.ts';
import { type Card, type Drawn, type Line, portText } from './map-model.ts';

export interface MapPanel {
  view: ServiceMapView;
  drawn: Drawn;
  card: Card | undefined;
  line: Line | undefined;
  closed: ReadonlySet<string>;
  flows: readonly FlowRow[] | undefined;
  /** Filter words of what is chosen. */
  words: string;
  now: number;
  toggle(group: string): void;
  all(isClosed: boolean): void;
  chooseCard(id: string): void;
  chooseLine(id: string): void;
  close(): void;
}

/** `--label k8s:app=web` of an end of a flow. */
export function wordsOfEnd(node: MapNode | undefined, side: '' | 'from-' | 'to-'): string {
  return (node?.words ?? []).map(([flag, value]) => `${side}${flag} ${value}`).join(' ');
}

export function mapPanel(panel: MapPanel): TemplateResult {
  if (panel.line) return lineCard(panel, panel.line);
  return panel.card ? cardCard(panel, panel.card) : overview(panel);
}

function head(title: unknown, close: () => void): TemplateResult {
  return html`<header><h2>${title}</h2><button class="icon" @click=${close} aria-label="Close" title="Close (Esc)">×</button></header>`;
}

function overview({ view, drawn, closed, toggle, all, chooseLine }: MapPanel): TemplateResult {
  const workloads = view.nodes.filter(({ kind }) => kind === 'workload');
  const spaces = [...Map.groupBy(workloads, ({ namespace }) => namespace)].sort(([a], [b]) => (a < b ? -1 : 1));
  const denied = drawn.lines.filter(({ verdict }) => verdict !== 'forwarded').sort((a, b) => b.last - a.last);
  const figures: [number, string][] = [
    [workloads.length, workloads.length === 1 ? 'workload' : 'workloads'],
    [spaces.length, spaces.length === 1 ? 'namespace' : 'namespaces'],
    [view.edges.length, view.edges.length === 1 ? 'edge' : 'edges'],
    [view.edges.filter(({ verdict }) => verdict === 'denied').length, 'denied'],
  ];
  return html`<aside class="side" aria-label="Overview">
    <dl class="figures">${figures.map(([number, name]) => html`<div class=${name === 'denied' && number > 0 ? 'bad' : ''}><dd>${count(number)}</dd><dt>${name}</dt></div>`)}</dl>
    <h3>Denied</h3>
    ${
      denied.length === 0
        ? html`<p class="quiet">Nothing was denied in the last minutes.</p>`
        : html`<ul class="edges">${denied.slice(0, 30).map(
            (line) => html`<li><button @click=${() => chooseLine(line.id)}>
          <span class="dot ${toneOf(line.verdict)}"></span><span class="clip">${plainName(line.from)} → ${plainName(line.to)}</span><span class="quiet">${line.label}</span></button></li>`,
          )}</ul>`
    }
    <h3>Namespaces</h3>
    <div class="buttons"><button class="button small" @click=${() => all(false)}>Open all</button><button class="button small" @click=${() => all(true)}>Close all</button></div>
    <ul class="spaces">${spaces.map(
      ([
        space,
        members,
      ]) => html`<li><label><input type="checkbox" .checked=${!closed.has(space)} @change=${() => toggle(space)}>
        <span class="clip">${space}</span><span class="quiet">${plural(members.length, 'workload')}</span></label></li>`,
    )}</ul>
  </aside>`;
}

function cardCard(panel: MapPanel, card: Card): TemplateResult {
  const { drawn, closed, toggle, close } = panel;
  const [node] = card.members;
  const incoming = drawn.lines.filter(({ to }) => to === card.id);
  const outgoing = drawn.lines.filter(({ from }) => from === card.id);
  const isSpace = card.kind === 'namespace';
  const services = [...new Set(incoming.flatMap(({ edges }) => edges.map(({ service }) => service)))].filter(Boolean);
  return html`<aside class="side" aria-label=${card.title}>
    ${head(html`${card.kind === 'workload' ? html`<span class="quiet">${card.group}/</span>` : nothing}${card.title}`, close)}
    <p class="quiet">${card.subtitle}${services.length > 0 ? html`, behind ${services.join(', ')}` : nothing}</p>
    ${isSpace || closed.has(card.group) ? html`<div class="buttons"><button class="button small" @click=${() => toggle(card.group)}>Open the namespace</button></div>` : nothing}
    ${
      isSpace
        ? html`<ul class="labels">${card.members.slice(0, 60).map(({ name }) => html`<li class="label">${name}</li>`)}</ul>`
        : node && node.pods.length > 0
          ? html`<ul class="labels">${node.pods.slice(0, 30).map((pod) => html`<li class="label">${pod}</li>`)}</ul>`
          : nothing
    }
    ${lineList('Is called by', incoming, 'from', panel)} ${lineList('Calls', outgoing, 'to', panel)}
    ${flowsOf(panel)}
  </aside>`;
}

function lineList(title: string, lines: readonly Line[], end: 'from' | 'to', { chooseLine }: MapPanel): TemplateResult {
  return html`<h3>${title}</h3>
    ${
      lines.length === 0
        ? html`<p class="quiet">nobody</p>`
        : html`<ul class="edges">${lines.slice(0, 100).map(
            (line) => html`<li><button @click=${() => chooseLine(line.id)}>
        <span class="dot ${toneOf(line.verdict)}" title=${line.verdict}></span><span class="clip">${plainName(line[end])}</span>
        <span class="quiet">${line.label}</span></button></li>`,
          )}</ul>`
    }`;
}

function lineCard(panel: MapPanel, line: Line): TemplateResult {
  const { chooseCard, close, now } = panel;
  return html`<aside class="side" aria-label="Edge">
    ${head(html`${verdictBadge(line.verdict)}`, close)}
    <p class="pair"><button class="link" @click=${() => chooseCard(line.from)}>${plainName(line.from)}</button> → <button class="link" @click=${() => chooseCard(line.to)}>${plainName(line.to)}</button></p>
    <ul class="ports">${[...line.edges]
      .sort((a, b) => b.flows - a.flows)
      .slice(0, 40)
      .map((edge) => port(edge, now, line))}</ul>
    ${flowsOf(panel)}
  </aside>`;
}

function port(edge: MapEdge, now: number, line: Line): TemplateResult {
  const reasons = Object.entries(edge.reasons).sort(([, a], [, b]) => b - a);
  const isOfMany = line.from.startsWith('ns:') || line.to.startsWith('ns:');
  return html`<li>
    <strong>${portText(edge)}</strong> <span class="quiet">${plural(edge.flows, 'flow')}, ${ago(edge.last, now)}</span>
    ${isOfMany ? html`<p class="quiet">${edge.from} → ${edge.to}</p>` : nothing}
    ${edge.service ? html`<p>through service <strong>${edge.service}</strong></p>` : nothing}
    ${reasons.map(([reason, number]) => html`<p class="bad">${words(reason)} <span class="quiet">× ${count(number)}</span></p>`)}
    ${edge.policies.length > 0 ? html`<p class="quiet">by ${edge.policies.join(', ')}</p>` : nothing}
  </li>`;
}

function flowsOf({ flows, words: filter }: MapPanel): TemplateResult | typeof nothing {
  if (filter === '') return nothing;
  return html`<h3>Latest flows <a class="more" href="#/flows?${new URLSearchParams({ q: filter })}">Open in the table</a></h3>
    ${flows ? shortFlows(flows) : html`<p class="quiet">Asking …</p>`}`;
}

export const plainName = (id: string): string => id.replace(/^ns:/, '');
