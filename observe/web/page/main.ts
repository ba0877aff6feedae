/** The page: its frame, where it stands, its keys and its theme. */
import { html, nothing, render, type TemplateResult } from 'lit-html';
import type { PageNode } from '../page.ts';
import { ApiError, getJson, poll } from './api.ts';
import { type App, hashOf, placeOf, type View, type ViewName, views } from './app.ts';
import { FlowsView } from './flows-view.ts';
import { HealthView } from './health-view.ts';
import { helpDialog } from './help.ts';
import { MachinesView } from './machines-view.ts';
import { MapView } from './map-view.ts';
import { RelayHealthView } from './relay-health.ts';
import { openReplay } from './replay-bar.ts';
import { nextTheme, themeNow, useTheme } from './theme.ts';

const titles: Readonly<Record<ViewName, string>> = {
  map: 'Service map',
  flows: 'Flows',
  machines: 'Machines',
  health: 'Health',
};
const shown: Readonly<Record<ViewName, View>> = {
  map: new MapView(),
  flows: new FlowsView(),
  machines: new MachinesView(),
  health: new HealthView(),
};
const relayHealth = new RelayHealthView();
/** A relay knows less of its nodes than their agents do. */
const viewOf = (name: ViewName): View =>
  name === 'health' && app.nodes[0]?.views && !app.nodes[0].views.includes('machines') ? relayHealth : shown[name];
const NODES_MS = 10_000;

let isReachable = true;
let isDrawing = false;

const app: App = {
  nodes: [],
  node: '',
  place: placeOf(location.hash),
  replay: undefined,
  base: () => app.nodes.find(({ name }) => name === app.node)?.base ?? '',
  oneNode: () => app.nodes.find(({ name }) => name === app.node) ?? app.nodes[0],
  go(view, rest = '', params = {}) {
    const all = new URLSearchParams(params);
    if (app.node) all.set('node', app.node);
    location.hash = hashOf(view, rest, all);
  },
  redraw() {
    if (isDrawing) return;
    isDrawing = true;
    requestAnimationFrame(() => {
      isDrawing = false;
      render(frame(), document.body);
    });
  },
};

function frame(): TemplateResult {
  const { view } = app.place;
  return html`
    <a class="skip" href="#main" @click=${skip}>Skip to content</a>
    <header class="top">
      <a class="brand" href="#/map" aria-label="Axoneme, service map">
        <img src="/page/icon.svg" alt="" width="24" height="24"><span>Axoneme</span>
      </a>
      <nav aria-label="Views">
        ${offered().map(
          (name, i) => html`<a
            href=${hashOf(name, '', app.node ? new URLSearchParams({ node: app.node }) : new URLSearchParams())}
            aria-current=${name === view ? 'page' : nothing} title="${titles[name]} (${i + 1})">${titles[name]}</a>`,
        )}
      </nav>
      <span class="grow"></span>
      ${isReachable ? nothing : html`<span class="pill bad" role="status">agent does not answer</span>`}
      ${silent()}
      ${app.replay ? html`<span class="pill accent">replay of ${app.replay.node}</span>` : nothing}
      ${app.nodes.length > 1 ? chooser() : html`<span class="quiet node-name">${app.nodes[0]?.name}</span>`}
      <button class="icon" @click=${switchTheme} aria-label="Theme: ${themeNow()}" title="Theme: ${themeNow()} (t)">${themeIcon()}</button>
      <button class="icon" @click=${help} aria-label="Keyboard help" title="Keyboard help (?)">?</button>
    </header>
    ${app.replay ? app.replay.draw() : nothing}
    <main id="main" tabindex="-1" class="view-${view}" aria-label=${titles[view]}>${viewOf(view).draw(app)}</main>
    ${helpDialog()}
  `;
}

/** A relay's nodes show less than an agent does. */
function offered(): readonly ViewName[] {
  const [first] = app.nodes;
  return first?.views ? views.filter((view) => first.views?.includes(view)) : views;
}

function silent(): TemplateResult | typeof nothing {
  const some = app.nodes.filter(({ problem }) => problem);
  if (some.length === 0) return nothing;
  const names = some.map(({ name, problem }) => `${name} ${problem}`).join('\n');
  const text = some.length === 1 ? `${some[0]?.name} ${some[0]?.problem}` : `${some.length} nodes do not answer`;
  return html`<span class="pill bad" role="status" title=${names}>${text}</span>`;
}

function chooser(): TemplateResult {
  const choose = (event: Event): void => {
    const { value } = event.target as HTMLSelectElement;
    const params = new URLSearchParams(app.place.params);
    if (value) params.set('node', value);
    else params.delete('node');
    location.hash = hashOf(app.place.view, '', params);
  };
  return html`<label class="chooser">
    <select aria-label="Node" @change=${choose}>
      <option value="" ?selected=${app.node === ''}>All ${app.nodes.length} nodes</option>
      ${app.nodes.map(({ name }) => html`<option value=${name} ?selected=${app.node === name}>${name}</option>`)}
    </select></label>`;
}

const sun = html`<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="3"/><path d="M8 1v2m0 10v2M1 8h2m10 0h2M3 3l1.4 1.4m7.2 7.2L13 13M13 3l-1.4 1.4M4.4 11.6 3 13"/></svg>`;
const moon = html`<svg viewBox="0 0 16 16" aria-hidden="true"><path d="M13.5 9.6A6 6 0 0 1 6.4 2.5a6 6 0 1 0 7.1 7.1Z"/></svg>`;
const both = html`<svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="6"/><path class="fill" d="M8 2a6 6 0 0 1 0 12Z"/></svg>`;
const themeIcon = (): TemplateResult => ({ light: sun, dark: moon, system: both })[themeNow()];

function switchTheme(): void {
  useTheme(nextTheme());
  app.redraw();
}
const help = (): void => document.querySelector<HTMLDialogElement>('#help')?.showModal();

function skip(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>('#main')?.focus();
}

function moved(): void {
  const before = app.place.view;
  app.place = placeOf(location.hash);
  if (!offered().includes(app.place.view)) app.place = placeOf(offered().includes('health') ? '#/health' : '');
  const node = app.place.params.get('node') ?? '';
  const isOtherNode = node !== app.node;
  app.node = node;
  const { view } = app.place;
  document.title = `${titles[view]} · Axoneme`;
  if (before !== view) viewOf(before).leave();
  if (isOtherNode) viewOf(view).refresh?.();
  viewOf(view).enter(app);
  app.redraw();
}

function pressed(event: KeyboardEvent): void {
  const typing =
    event.target instanceof Element && event.target.closest('input:not([type=range]), select, textarea, dialog[open]');
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (typing) {
    if (event.key === 'Escape' && event.target instanceof HTMLInputElement) event.target.blur();
    return;
  }
  const view = offered()[Number(event.key) - 1];
  if (view) app.go(view);
  else if (event.key === '/') document.querySelector<HTMLElement>('main [data-search]')?.focus();
  else if (event.key === '?') help();
  else if (event.key === 't') switchTheme();
  else if (!(viewOf(app.place.view).key?.(event, app) || app.replay?.key(event))) return;
  event.preventDefault();
}

async function start(): Promise<void> {
  useTheme(themeNow());
  app.redraw();
  app.nodes = await getJson<PageNode[]>('/v1/page/nodes').catch(() => []);
  app.replay = await openReplay(
    () => {
      viewOf(app.place.view).refresh?.();
      app.redraw();
    },
    () => app.redraw(),
  );
  if (app.replay && location.hash === '') location.hash = '#/machines';
  addEventListener('hashchange', moved);
  addEventListener('keydown', pressed);
  addEventListener('resize', () => app.redraw());
  moved();
  poll<PageNode[]>(
    () => '/v1/page/nodes',
    NODES_MS,
    (answer) => {
      isReachable = !(answer instanceof ApiError);
      if (!(answer instanceof ApiError)) app.nodes = answer;
      app.redraw();
    },
  );
}

void start();
