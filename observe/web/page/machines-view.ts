/** The machine explorer: kinds and machines, one machine's diagram, history and rows, and why a row is there. */
import { html, nothing, type TemplateResult } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { repeat } from 'lit-html/directives/repeat.js';
import type { ExplainView } from '../../debug/table-routes.ts';
import type { KindGraph } from '../../kind-graph.ts';
import { ApiError, type Asking, getJson, poll, segment } from './api.ts';
import type { App, View } from './app.ts';
import { type Diagram, layOut } from './diagram.ts';
import { count } from './format.ts';
import { type MachineDetail, type MachineLine, machinePanel } from './machine-panel.ts';
import { PanZoom } from './pan-zoom.ts';

const LIST_MS = 2_500;
const DETAIL_MS = 1_500;
const LISTED_MAX = 400;
const TITLES_MAX = 50_000;

type Listed = MachineLine & { node: string };

export class MachinesView implements View {
  #app: App | undefined;
  #asking: Asking[] = [];
  readonly #listedBy = new Map<string, Listed[]>();
  #titles = new Map<string, string>();
  #detail: MachineDetail | ApiError | undefined;
  #row: { table: string; key: string } | undefined;
  #explained: ExplainView | ApiError | undefined;
  #diagrams = new Map<string, Diagram>();
  #error: ApiError | undefined;
  #search = '';
  #kind = '';
  #isListed = false;
  #opened = '';
  readonly #zoom = new PanZoom(() => this.#app?.redraw());

  enter(app: App): void {
    this.#app = app;
    if (this.#asking.length === 0) this.#begin(app);
    const shown = `${this.#at}|${this.#key}`;
    if (shown !== this.#opened) {
      this.#opened = shown;
      this.#detail = undefined;
      this.#row = undefined;
      this.#explained = undefined;
      this.#zoom.reset();
    }
    const [table, key] = [app.place.params.get('table'), app.place.params.get('row')];
    if (table && key) this.#row = { table, key };
    this.#asking[0]?.now();
  }

  #begin(app: App): void {
    this.#listedBy.clear();
    const nodes = app.node ? app.nodes.filter(({ name }) => name === app.node) : app.nodes;
    this.#asking = [
      poll<MachineDetail>(
        () => (this.#key ? `${this.#base()}/v1/machines/${segment(this.#key)}` : undefined),
        DETAIL_MS,
        (answer) => this.#heard(answer),
      ),
      ...nodes.map(({ name, base }) =>
        poll<MachineLine[]>(
          () => `${base}/v1/machines`,
          LIST_MS,
          (answer) => this.#listed(name, answer),
        ),
      ),
    ];
  }

  leave(): void {
    for (const asking of this.#asking) asking.stop();
    this.#asking = [];
  }

  /** A moment of a replay is asked for at once; other nodes have lists of their own. */
  refresh(): void {
    if (this.#app?.replay) for (const asking of this.#asking) asking.now();
    else this.leave();
  }

  get #key(): string {
    return this.#app?.place.view === 'machines' ? this.#app.place.rest : '';
  }

  /** Node of the machine that is shown. */
  get #at(): string {
    return this.#app?.place.params.get('at') ?? this.#app?.oneNode()?.name ?? '';
  }

  #base(): string {
    return this.#app?.nodes.find(({ name }) => name === this.#at)?.base ?? '';
  }

  get #machines(): Listed[] {
    return [...this.#listedBy.values()].flat();
  }

  #listed(node: string, answer: MachineLine[] | ApiError): void {
    this.#error = answer instanceof ApiError ? answer : undefined;
    if (answer instanceof ApiError) this.#listedBy.delete(node);
    else {
      this.#listedBy.set(
        node,
        answer.map((line) => ({ ...line, node })),
      );
      for (const { key, kind, title } of answer) this.#titles.set(key, `${kind} ${title}`);
      if (this.#titles.size > TITLES_MAX) this.#titles.clear();
      this.#isListed = this.#listedBy.size >= this.#asking.length - 1;
      const first = this.#machines.find(({ kind }) => kind === 'endpoint') ?? this.#machines[0];
      if (!this.#key && first && (this.#isListed || first.kind === 'endpoint')) this.#select(first);
    }
    this.#app?.redraw();
  }

  async #heard(answer: MachineDetail | ApiError): Promise<void> {
    this.#detail = answer;
    if (!(answer instanceof ApiError)) {
      if (!this.#diagrams.has(answer.kind)) {
        const graph = await getJson<KindGraph>(`${this.#base()}/v1/kinds/${segment(answer.kind)}.json`).catch(
          () => undefined,
        );
        if (graph) this.#diagrams.set(answer.kind, layOut(graph));
      }
      if (this.#row) await this.#explain();
    }
    this.#app?.redraw();
  }

  async #explain(): Promise<void> {
    const asked = this.#row;
    if (!asked) return;
    const path = `${this.#base()}/v1/explain/${segment(asked.table)}/${segment(asked.key)}`;
    const answer = await getJson<ExplainView>(path).catch((error: ApiError) => error);
    if (this.#row === asked) this.#explained = answer;
    this.#app?.redraw();
  }

  #select({ key, node }: Listed): void {
    this.#app?.go('machines', key, this.#app.nodes.length > 1 ? { at: node } : {});
  }

  draw(app: App): TemplateResult {
    const kinds = new Map<string, number>();
    for (const { kind } of this.#machines) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    const shown = this.#shown();
    const detail = this.#detail;
    return html`<div class="machines">
      <section class="list" aria-label="All machines">
        <label class="search"><span class="unseen">Search machines</span>
          <input data-search type="search" spellcheck="false" placeholder="Search (/)" .value=${live(this.#search)}
            @input=${(event: Event) => {
              this.#search = (event.target as HTMLInputElement).value;
              app.redraw();
            }}></label>
        <label class="kinds"><span class="unseen">Kind</span>
          <select @change=${(event: Event) => {
            this.#kind = (event.target as HTMLSelectElement).value;
            app.redraw();
          }}>
            <option value="">All kinds (${count(this.#machines.length)})</option>
            ${[...kinds].sort().map(([kind, number]) => html`<option value=${kind} ?selected=${this.#kind === kind}>${kind} (${count(number)})</option>`)}
          </select></label>
        ${this.#error && this.#machines.length === 0 ? html`<div class="empty"><p class="bad">${this.#error.message}</p></div>` : nothing}
        <ul>${repeat(
          shown.slice(0, LISTED_MAX),
          ({ key, node }) => `${node}|${key}`,
          (machine, i) => html`
          ${machine.kind !== shown[i - 1]?.kind ? html`<li class="eyebrow" role="presentation">${machine.kind}</li>` : nothing}
          ${this.#item(machine)}`,
        )}</ul>
        ${shown.length === 0 && this.#isListed ? html`<p class="hint">No machine matches.</p>` : nothing}
        ${shown.length > LISTED_MAX ? html`<p class="hint">and ${count(shown.length - LISTED_MAX)} more: search for them</p>` : nothing}
      </section>
      ${
        detail instanceof ApiError
          ? html`<div class="empty"><h2>${detail.status === 404 ? 'This machine is gone' : 'The agent does not answer'}</h2><p class="quiet">${detail.message}</p></div>`
          : detail
            ? machinePanel({
                detail,
                title: this.#titles.get(detail.key) ?? detail.key,
                diagram: this.#diagrams.get(detail.kind),
                zoom: this.#zoom,
                row: this.#row,
                explained: this.#explained,
                titleOf: (key) => this.#titles.get(key) ?? key,
                choose: (table, key) => this.#choose(table, key),
              })
            : html`<div class="empty"><h2>${this.#key ? 'Asking' : 'Choose a machine'}</h2><p class="quiet">Its diagram, its history and what it wants in the world appear here.</p></div>`
      }
    </div>`;
  }

  #shown(): Listed[] {
    const wanted = this.#search.toLowerCase();
    return this.#machines
      .filter(
        ({ kind, key, title, state, node }) =>
          (!this.#kind || kind === this.#kind) &&
          (!wanted || `${title} ${state} ${key} ${kind} ${node}`.toLowerCase().includes(wanted)),
      )
      .sort((a, b) =>
        a.kind === b.kind ? (`${a.title} ${a.node}` < `${b.title} ${b.node}` ? -1 : 1) : a.kind < b.kind ? -1 : 1,
      );
  }

  #item(machine: Listed): TemplateResult {
    const { key, title, state, rows, node } = machine;
    const isShown = key === this.#key && node === this.#at;
    const tone = rows.some((row) => row.state === 'failed')
      ? 'bad'
      : rows.some((row) => row.state !== 'in-sync')
        ? 'warn'
        : 'good';
    return html`<li><button class="machine" aria-current=${isShown ? 'true' : nothing} title="${key} on ${node}" @click=${() => this.#select(machine)}>
      <span class="dot ${tone}" title=${tone === 'good' ? 'all rows as wanted' : tone === 'bad' ? 'a row failed' : 'rows are being changed'}></span>
      <span class="clip">${title}${this.#listedBy.size > 1 ? html`<span class="faint"> ${node}</span>` : nothing}</span><span class="quiet state-name">${state}</span></button></li>`;
  }

  #choose(table: string, key: string): void {
    this.#row = this.#row?.table === table && this.#row.key === key ? undefined : { table, key };
    this.#explained = undefined;
    void this.#explain();
    this.#app?.redraw();
  }

  key(event: KeyboardEvent): boolean {
    if (event.key === 'Escape' && this.#row) {
      this.#row = undefined;
      this.#app?.redraw();
      return true;
    }
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      const shown = this.#shown();
      const at =
        shown.findIndex(({ key, node }) => key === this.#key && node === this.#at) +
        (event.key === 'ArrowDown' ? 1 : -1);
      const next = shown[Math.max(0, Math.min(shown.length - 1, at))];
      if (next) this.#select(next);
      requestAnimationFrame(() =>
        document.querySelector('.machine[aria-current]')?.scrollIntoView({ block: 'nearest' }),
      );
      return true;
    }
    return this.#zoom.key(event);
  }
}
