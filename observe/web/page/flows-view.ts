/**
 * The flow table: live, filtered by the agent, and drawn only as far as it is seen.
 *
 * - Newest first. Whoever scrolls down, marks a row or pauses reads on undisturbed; how many came since is said.
 */
import { html, nothing, type TemplateResult } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { repeat } from 'lit-html/directives/repeat.js';
import type { Flow } from '../../hubble/types.ts';
import type { FlowLine } from '../flow-routes.ts';
import { type ApiError, type Connection, stream } from './api.ts';
import type { App, View } from './app.ts';
import { flowDetail, verdictBadge } from './flow-detail.ts';
import { FlowList, type FlowRow, placeText } from './flow-list.ts';
import { clock, count, plural } from './format.ts';

const ROW_PX = 30;
const MARGIN_ROWS = 8;
const TYPING_MS = 350;
const verdicts = ['', 'FORWARDED', 'DROPPED', 'AUDIT'] as const;
const examples = [
  'verdict DROPPED',
  'pod shop/web',
  'to-port 8080',
  'protocol udp',
  'not label k8s:app=prober',
  'from-identity world',
];

export class FlowsView implements View {
  readonly #list = new FlowList();
  #app: App | undefined;
  #stream: { close(): void } | undefined;
  #path = '';
  #connection: Connection = 'connecting';
  #error: ApiError | undefined;
  #dropped = 0;
  #lost = 0;
  #query = '';
  #verdict = '';
  #isPaused = false;
  /** Rows as they were when the reader began to read; undefined: live. */
  #held: { rows: FlowRow[]; total: number } | undefined;
  #marked = '';
  #isOpen = false;
  #scroller: HTMLElement | undefined;
  #typing: ReturnType<typeof setTimeout> | undefined;

  enter(app: App): void {
    this.#app = app;
    this.#query = app.place.params.get('q') ?? '';
    this.#verdict = app.place.params.get('verdict') ?? '';
    this.#connect();
  }

  leave(): void {
    this.#stream?.close();
    this.#stream = undefined;
    this.#path = '';
  }

  #connect(): void {
    const { app, words } = { app: this.#app, words: this.#words() };
    if (!app || app.replay) return;
    const path = `${app.base()}/v1/flows?follow=true&last=400&q=${encodeURIComponent(words)}`;
    if (path === this.#path) return;
    this.#stream?.close();
    this.#path = path;
    this.#list.clear();
    this.#release();
    this.#marked = '';
    this.#isOpen = false;
    this.#error = undefined;
    this.#dropped = 0;
    this.#lost = 0;
    this.#stream = stream<FlowLine>(path, {
      line: (line) => {
        if (line.flow) this.#list.add(line.flow as Flow);
        this.#dropped += line.dropped ?? 0;
        this.#lost += line.lost ?? 0;
        app.redraw();
      },
      state: (state) => {
        this.#connection = state;
        app.redraw();
      },
      refused: (error) => {
        this.#error = error;
        app.redraw();
      },
    });
  }

  #words(): string {
    return [this.#query.trim(), this.#verdict && `verdict ${this.#verdict}`].filter(Boolean).join(' ');
  }

  #filter(query: string, verdict = this.#verdict): void {
    this.#app?.go('flows', '', { ...(query && { q: query }), ...(verdict && { verdict }) });
  }

  draw(app: App): TemplateResult {
    const rows = this.#held?.rows ?? this.#list.rows;
    const marked = rows.find(({ id }) => id === this.#marked);
    return html`
      <div class="bar">
        <label class="search"><span class="unseen">Filter</span>
          <input data-search type="search" spellcheck="false" autocomplete="off" list="flow-filters" .value=${live(this.#query)}
            placeholder="Filter: pod shop/web, to-port 8080, not protocol udp … (/)"
            aria-invalid=${this.#error ? 'true' : 'false'} aria-describedby="filter-error"
            @input=${(event: Event) => this.#typed((event.target as HTMLInputElement).value)}>
          <datalist id="flow-filters">${examples.map((text) => html`<option value=${text}></option>`)}</datalist>
        </label>
        <div class="segments" role="group" aria-label="Verdict">${verdicts.map(
          (verdict) =>
            html`<button aria-pressed=${this.#verdict === verdict} @click=${() => this.#filter(this.#query, verdict)}>${
              verdict ? `${verdict[0]}${verdict.slice(1).toLowerCase()}` : 'All'
            }</button>`,
        )}</div>
        <span class="grow"></span>
        ${this.#status()}
        <button class="button" aria-pressed=${this.#isPaused} title="Pause (p)" @click=${() => this.#pause()}>${this.#isPaused ? 'Resume' : 'Pause'}</button>
      </div>
      <div class="split">
        <div class="table-frame">
          ${this.#news()}
          ${this.#table(rows, app)}
        </div>
        ${marked && this.#isOpen ? flowDetail(marked, () => this.#close()) : nothing}
      </div>`;
  }

  #status(): TemplateResult {
    const { length } = this.#list.rows;
    const missed = this.#dropped + this.#lost;
    const text =
      this.#connection === 'live'
        ? this.#isPaused
          ? 'paused'
          : 'live'
        : this.#connection === 'lost'
          ? 'reconnecting'
          : 'connecting';
    return html`<span class="quiet">${plural(length, 'flow')}${missed > 0 ? html`, <span class="warn" title="${count(this.#dropped)} more than a page can take, ${count(this.#lost)} lost by the ring">${count(missed)} left out</span>` : nothing}</span>
      <span class="pill ${this.#connection === 'live' && !this.#isPaused ? 'good' : this.#connection === 'lost' ? 'bad' : ''}" role="status">${text}</span>`;
  }

  #news(): TemplateResult | typeof nothing {
    const fresh = this.#held ? this.#list.total - this.#held.total : 0;
    if (fresh === 0 || this.#isPaused) return nothing;
    return html`<button class="news" @click=${() => this.#top()}>↑ ${plural(fresh, 'new flow')}</button>`;
  }

  #table(rows: FlowRow[], app: App): TemplateResult {
    const height = this.#scroller?.clientHeight ?? innerHeight;
    const top = this.#held ? (this.#scroller?.scrollTop ?? 0) : 0;
    const first = Math.max(0, Math.floor(top / ROW_PX) - MARGIN_ROWS);
    const size = Math.ceil(height / ROW_PX) + 2 * MARGIN_ROWS;
    // Newest first: row `i` of the table is the i-th from the end.
    const seen = rows.slice(Math.max(0, rows.length - first - size), rows.length - first).reverse();
    const hasNodes = app.nodes.length > 1;
    const empty = rows.length === 0 ? this.#empty(app) : nothing;
    return html`<div class="flows ${hasNodes ? 'with-node' : ''}" role="grid" aria-label="Flows" aria-rowcount=${rows.length + 1} tabindex="0"
        aria-activedescendant=${this.#marked ? `f-${this.#marked}` : nothing}
        @scroll=${(event: Event) => this.#scrolled(event.currentTarget as HTMLElement)}>
      <div class="row head" role="row" aria-rowindex="1">
        ${['Time', 'Verdict', 'Source', 'Destination', 'Protocol', 'What happened', ...(hasNodes ? ['Node'] : [])].map((title) => html`<span role="columnheader">${title}</span>`)}
      </div>
      ${empty}
      <div class="rows" role="rowgroup" .style=${`height: ${rows.length * ROW_PX}px`}>
        <div class="window" role="presentation" .style=${`transform: translateY(${first * ROW_PX}px)`}>
          ${repeat(
            seen,
            ({ id }) => id,
            (row, i) => this.#row(row, first + i, hasNodes),
          )}
        </div>
      </div>
    </div>`;
  }

  #row(row: FlowRow, index: number, hasNode: boolean): TemplateResult {
    const { id, from, to, protocol, what, policies, isReply } = row;
    const end = ({ name, namespace, address, port }: FlowRow['from']): TemplateResult =>
      html`<span role="gridcell" class="clip" title="${name} ${placeText(address, port)}">${nameOf(name)}<span class="faint">${
        namespace === '' && name !== address ? ` ${placeText(address, port)}` : port > 0 ? `:${port}` : ''
      }</span></span>`;
    return html`<div class="row ${row.verdict === 'DROPPED' ? 'denied' : ''}" role="row" id="f-${id}" aria-rowindex=${index + 2}
        aria-selected=${id === this.#marked} @click=${() => this.#open(id)}>
      <time role="gridcell">${clock(row.ms)}</time>
      <span role="gridcell">${verdictBadge(row.verdict)}</span>
      ${end(from)}${end(to)}
      <span role="gridcell">${protocol}${isReply ? html`<span class="faint" title="an answer"> ↩</span>` : nothing}</span>
      <span role="gridcell" class="clip" title=${what}>${what}${policies.length > 0 ? html`<span class="faint"> by ${policies.join(', ')}</span>` : nothing}</span>
      ${hasNode ? html`<span role="gridcell" class="quiet clip">${row.node}</span>` : nothing}
    </div>`;
  }

  #empty(app: App): TemplateResult {
    if (app.replay)
      return html`<div class="empty"><h2>A recording has no flows</h2><p>It holds what the agent heard and did. See the <a href="#/machines">machines</a> at any of its moments.</p></div>`;
    if (this.#error)
      return html`<div class="empty" id="filter-error" role="alert"><h2>This filter cannot be understood</h2><p>${this.#error.message}</p><p class="quiet">${this.#error.expected}</p></div>`;
    if (this.#connection !== 'live')
      return html`<div class="empty"><h2>${this.#connection === 'lost' ? 'The agent does not answer' : 'Waiting for the agent'}</h2><p class="quiet">It is asked again until it does.</p></div>`;
    return html`<div class="empty"><h2>No flows ${this.#words() ? 'match' : 'yet'}</h2>
      <p>${this.#words() ? html`Nothing that is kept matches <code>${this.#words()}</code>; what comes will appear here.` : 'They appear as soon as a packet passes.'}</p></div>`;
  }

  key({ key }: KeyboardEvent): boolean {
    const rows = this.#held?.rows ?? this.#list.rows;
    if (key === 'p') this.#pause();
    else if (key === 'ArrowDown' || key === 'ArrowUp') this.#step(rows, key === 'ArrowDown' ? 1 : -1);
    else if (key === 'Home') this.#top();
    else if (key === 'Enter' && this.#marked) this.#open(this.#marked);
    else if (key === 'Escape' && this.#isOpen) this.#close();
    else return false;
    return true;
  }

  #typed(value: string): void {
    this.#query = value;
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#filter(value), TYPING_MS);
  }

  #hold(): void {
    this.#held ??= { rows: [...this.#list.rows], total: this.#list.total };
  }

  #release(): void {
    if (!this.#isPaused) this.#held = undefined;
  }

  #scrolled(scroller: HTMLElement): void {
    this.#scroller = scroller;
    if (scroller.scrollTop > ROW_PX) this.#hold();
    else if (!this.#marked) this.#release();
    this.#app?.redraw();
  }

  #step(rows: FlowRow[], by: number): void {
    this.#hold();
    this.#scroller ??= document.querySelector<HTMLElement>('.flows') ?? undefined;
    const now = rows.findIndex(({ id }) => id === this.#marked);
    const at = now < 0 ? rows.length - 1 : Math.max(0, Math.min(rows.length - 1, now - by));
    this.#marked = rows[at]?.id ?? '';
    const top = (rows.length - 1 - at) * ROW_PX;
    const scroller = this.#scroller;
    if (scroller) {
      if (top < scroller.scrollTop) scroller.scrollTop = top;
      else if (top + 2 * ROW_PX > scroller.scrollTop + scroller.clientHeight)
        scroller.scrollTop = top + 2 * ROW_PX - scroller.clientHeight;
    }
    this.#app?.redraw();
  }

  #open(id: string): void {
    this.#hold();
    this.#marked = id;
    this.#isOpen = true;
    this.#app?.redraw();
  }

  #close(): void {
    this.#isOpen = false;
    this.#marked = '';
    if ((this.#scroller?.scrollTop ?? 0) <= ROW_PX) this.#release();
    this.#app?.redraw();
  }

  #top(): void {
    this.#marked = '';
    this.#isOpen = false;
    if (this.#scroller) this.#scroller.scrollTop = 0;
    this.#release();
    this.#app?.redraw();
  }

  #pause(): void {
    this.#isPaused = !this.#isPaused;
    if (this.#isPaused) this.#hold();
    else this.#top();
    this.#app?.redraw();
  }
}

function nameOf(name: string): TemplateResult {
  const slash = name.indexOf('/');
  return slash > 0 && !/[0-9]\/[0-9]+$/.test(name)
    ? html`<span class="faint">${name.slice(0, slash + 1)}</span>${name.slice(slash + 1)}`
    : html`${name}`;
}
