/** The live service map: workloads by namespace, lines between them by verdict, and what is behind each on a click. */
import { html, nothing, type SVGTemplateResult, svg, type TemplateResult } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import type { Flow } from '../../hubble/types.ts';
import type { FlowLine } from '../flow-routes.ts';
import type { ServiceMapView } from '../service-map.ts';
import { ApiError, type Asking, poll } from './api.ts';
import type { App, View } from './app.ts';
import { type FlowRow, rowOf } from './flow-list.ts';
import { shortened } from './format.ts';
import { zoomButtons } from './machine-panel.ts';
import { drawLines } from './map-edges.ts';
import { layOutMap, type MapLayout } from './map-layout.ts';
import { type Card, type Drawn, drawn, type Line, OPEN_MAX } from './map-model.ts';
import { mapPanel, plainName, wordsOfEnd } from './map-panel.ts';
import { PanZoom } from './pan-zoom.ts';

const MAP_MS = 2_000;
const FLOWS_MS = 2_000;
/** Past this many lines each is fainter. */
const CROWDED = 120;
const TITLE_MAX = 21;
const TITLE_X = 13;
/** Width of a letter, as a share of its size; generous. */
const LETTER = 0.6;
/** Scale below which only names are shown. */
const FAR = 0.72;

export class MapView implements View {
  #app: App | undefined;
  #asking: Asking[] = [];
  #view: ServiceMapView | undefined;
  #error: ApiError | undefined;
  #closed = new Set<string>();
  #isBegun = false;
  #search = '';
  #isDeniedOnly = false;
  #chosen = '';
  #hovered = '';
  #flows: FlowRow[] | undefined;
  #drawn: Drawn = { cards: [], lines: [], groups: [] };
  #layout: MapLayout = { cards: new Map(), groups: new Map(), box: { x: 0, y: 0, width: 1, height: 1 } };
  #laidOut = '';
  readonly #zoom = new PanZoom(() => this.#app?.redraw());

  enter(app: App): void {
    this.#app = app;
    if (this.#asking.length > 0) return;
    this.#asking = [
      poll<ServiceMapView>(
        () => (app.replay ? undefined : `${app.base()}/v1/service-map`),
        MAP_MS,
        (answer) => this.#heard(answer),
      ),
      poll<FlowLine[]>(
        () => (this.#words() ? `${app.base()}/v1/flows?last=12&q=${encodeURIComponent(this.#words())}` : undefined),
        FLOWS_MS,
        (answer) => {
          if (answer instanceof ApiError) return;
          this.#flows = answer.flatMap(({ flow }) => (flow ? [rowOf(flow as Flow)] : [])).reverse();
          app.redraw();
        },
      ),
    ];
  }

  leave(): void {
    for (const asking of this.#asking) asking.stop();
    this.#asking = [];
  }

  refresh(): void {
    this.#chosen = '';
    this.#isBegun = false;
    this.#zoom.reset();
    for (const asking of this.#asking) asking.now();
  }

  #heard(answer: ServiceMapView | ApiError): void {
    this.#error = answer instanceof ApiError ? answer : undefined;
    if (!(answer instanceof ApiError)) {
      this.#view = answer;
      const workloads = answer.nodes.filter(({ kind }) => kind === 'workload');
      if (!this.#isBegun && workloads.length > 0) {
        this.#isBegun = true;
        this.#closed = new Set(workloads.length > OPEN_MAX ? workloads.map(({ namespace }) => namespace) : []);
      }
    }
    this.#app?.redraw();
  }

  draw(app: App): TemplateResult {
    const view = this.#view ?? { nodes: [], edges: [] };
    const choice = { closed: this.#closed, search: this.#search, isDeniedOnly: this.#isDeniedOnly };
    this.#drawn = drawn(view, choice);
    const { cards, lines, groups } = this.#drawn;
    const links = lines.map(({ from, to }) => [from, to] as const);
    const key = `${cards.map(({ id }) => id).join()}#${links.join()}`;
    if (key !== this.#laidOut) {
      this.#layout = layOutMap(cards, links);
      this.#laidOut = key;
    }
    this.#zoom.show(this.#layout.box, document.querySelector<SVGSVGElement>('.map svg'));
    return html`
      <div class="bar">
        <label class="search"><span class="unseen">Search workloads</span>
          <input data-search type="search" spellcheck="false" placeholder="Find a workload (/)" .value=${live(this.#search)}
            @keydown=${(event: KeyboardEvent) => event.key === 'Enter' && this.#find()}
            @input=${(event: Event) => {
              this.#search = (event.target as HTMLInputElement).value;
              app.redraw();
            }}></label>
        <label class="switch"><input type="checkbox" .checked=${live(this.#isDeniedOnly)} @change=${() => {
          this.#isDeniedOnly = !this.#isDeniedOnly;
          app.redraw();
        }}> Denied only</label>
        <span class="grow"></span>
        <span class="legend" aria-hidden="true"><i class="line"></i>forwarded<i class="line denied"></i>denied<i class="line audit"></i>audit</span>
      </div>
      <div class="split">
        <div class="map ${this.#isFar ? 'far' : ''} ${lines.length > CROWDED ? 'crowded' : ''}">
          ${cards.length === 0 ? this.#empty(app) : nothing}
          <svg role="application" tabindex="0" aria-label="Service map: ${cards.length} workloads or namespaces, ${lines.length} lines. Arrow keys move, Enter opens."
            @wheel=${this.#zoom.wheel} @pointerdown=${this.#zoom.down} @pointermove=${this.#zoom.move} @pointerup=${this.#zoom.up}
            @click=${() => {
              if (!this.#zoom.wasDragged) this.#choose('');
            }}>
            <defs>${['tip-of-edge'].map((id) => svg`<marker id=${id} viewBox="0 0 8 8" refX="4" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.6 7 4 0 7.4Z"></path></marker>`)}</defs>
            <g transform=${this.#zoom.transform}>
              ${groups.map(({ id, title, isClosable }) => this.#group(id, title, isClosable))}
              ${drawLines(lines, this.#layout, {
                lit: [this.#hovered, this.#chosen],
                isDim: (line) => this.#chosen !== '' || (this.#search !== '' && !this.#isFound(line)),
                choose: (id) => this.#choose(id),
              })}
              ${cards.map((card) => this.#card(card))}
            </g>
          </svg>
          ${cards.length > 0 ? zoomButtons(this.#zoom) : nothing}
        </div>
        ${
          cards.length === 0
            ? nothing
            : mapPanel({
                view,
                drawn: this.#drawn,
                card: cards.find(({ id }) => id === this.#chosen),
                line: lines.find(({ id }) => id === this.#chosen),
                closed: this.#closed,
                flows: this.#flows,
                words: this.#words(),
                now: Date.now(),
                toggle: (group) => this.#toggle(group),
                all: (isClosed) => {
                  this.#closed = new Set(
                    isClosed
                      ? view.nodes.filter(({ kind }) => kind === 'workload').map(({ namespace }) => namespace)
                      : [],
                  );
                  this.#zoom.reset();
                },
                chooseCard: (id) => this.#choose(id),
                chooseLine: (id) => this.#choose(id),
                close: () => this.#choose(''),
              })
        }
      </div>`;
  }

  #empty(app: App): TemplateResult {
    if (app.replay)
      return html`<div class="empty"><h2>A recording has no flows</h2><p>It holds what the agent heard and did. See the <a href="#/machines">machines</a> at any of its moments.</p></div>`;
    if (this.#error)
      return html`<div class="empty"><h2>${this.#error.status === 0 ? 'The agent does not answer' : 'No map'}</h2><p class="quiet">${this.#error.message}</p></div>`;
    if (!this.#view) return html`<div class="empty"><h2>Drawing the map</h2></div>`;
    return this.#isDeniedOnly
      ? html`<div class="empty"><h2>Nothing was denied</h2><p class="quiet">in the last ten minutes.</p></div>`
      : html`<div class="empty"><h2>Nobody talks yet</h2><p class="quiet">Workloads appear with their first packet.</p></div>`;
  }

  #group(id: string, title: string, isClosable: boolean): SVGTemplateResult | typeof nothing {
    const box = this.#layout.groups.get(id);
    if (!box) return nothing;
    const isClosed = this.#closed.has(id);
    // From afar the names of namespaces are what is left to read.
    const size = Math.min(42, Math.max(12.5, 11 / this.#zoom.scale));
    return svg`<g class="group ${isClosable ? '' : 'outside'}" transform="translate(${box.x} ${box.y})">
      <rect width=${box.width} height=${box.height} rx="14"></rect>
      ${isClosed ? nothing : svg`<text x="18" y="25" font-size=${size}>${shortened(title, Math.floor(box.width / (size * 0.7)))}</text>`}
      ${
        isClosable
          ? svg`<g class="toggle" role="button" aria-label="${isClosed ? 'Open' : 'Close'} namespace ${title}" transform="translate(${box.width - 32} 9)" @click=${(
              event: Event,
            ) => {
              event.stopPropagation();
              this.#toggle(id);
            }}>
            <title>${isClosed ? 'Open' : 'Close'} ${title}</title><rect width="22" height="20" rx="6"></rect><path d=${isClosed ? 'M6 10h10M11 5v10' : 'M6 10h10'}></path></g>`
          : nothing
      }
    </g>`;
  }

  /** Too far away for what is small. */
  get #isFar(): boolean {
    return this.#zoom.scale < FAR;
  }

  #isFound({ from, to }: Line): boolean {
    return this.#drawn.cards.some((card) => card.isMatch && (card.id === from || card.id === to));
  }

  #card(card: Card): SVGTemplateResult | typeof nothing {
    const box = this.#layout.cards.get(card.id);
    if (!box) return nothing;
    const isChosen = card.id === this.#chosen;
    const isNear =
      this.#chosen === '' ||
      isChosen ||
      this.#drawn.lines.some(
        ({ id, from, to }) =>
          (from === card.id && (to === this.#chosen || id === this.#chosen)) ||
          (to === card.id && (from === this.#chosen || id === this.#chosen)),
      );
    const hover = (id: string) => () => {
      this.#hovered = id;
      this.#app?.redraw();
    };
    // From afar a name has the card for itself, as large as it fits.
    const fitting = (box.width - 2 * TITLE_X) / (card.title.length * LETTER);
    const size = this.#isFar ? Math.max(13, Math.min(24, 12 / this.#zoom.scale, fitting)) : 13;
    const baseline = this.#isFar ? box.height / 2 + size * 0.36 : 20;
    return svg`<g class="card ${card.kind} ${isChosen ? 'chosen' : ''} ${card.isMatch && isNear ? '' : 'dim'} ${this.#search && card.isMatch ? 'found' : ''}" id="c-${card.id}"
        role="button" aria-label="${card.kind} ${plainName(card.id)}, ${card.subtitle}${card.hasDenied ? ', with denied flows' : ''}" aria-pressed=${isChosen}
        transform="translate(${box.x} ${box.y})" @pointerenter=${hover(card.id)} @pointerleave=${hover('')}
        @click=${(event: Event) => {
          event.stopPropagation();
          if (!this.#zoom.wasDragged) this.#choose(card.id);
        }}
        @dblclick=${() => card.kind === 'namespace' && this.#toggle(card.group)}>
      <title>${plainName(card.id)}</title>
      <rect width=${box.width} height=${box.height} rx="9"></rect>
      <text class="title" x=${TITLE_X} y=${baseline} font-size=${size}>${shortened(card.title, TITLE_MAX)}</text>
      <text class="subtitle" x=${TITLE_X} y="36">${card.subtitle}</text>
      ${card.hasDenied ? svg`<circle class="alarm" cx=${box.width - 12} cy="12" r="4"></circle>` : nothing}
    </g>`;
  }

  /** The first that matches, next to what is chosen already; a closed namespace opens for it. */
  #find(): void {
    const found = this.#drawn.cards.filter(({ isMatch }) => isMatch);
    const card = found[(found.findIndex(({ id }) => id === this.#chosen) + 1) % Math.max(1, found.length)];
    if (!card || this.#search.trim() === '') return;
    if (card.kind === 'namespace' && !card.group.includes(this.#search.trim())) {
      this.#closed.delete(card.group);
      this.#app?.redraw();
      requestAnimationFrame(() => requestAnimationFrame(() => this.#find()));
      return;
    }
    if (card.id !== this.#chosen) this.#choose(card.id);
    const box = this.#layout.cards.get(card.id);
    if (box) this.#zoom.center(box);
  }

  #toggle(group: string): void {
    if (this.#closed.has(group)) this.#closed.delete(group);
    else this.#closed.add(group);
    this.#chosen = '';
    this.#zoom.reset();
  }

  #choose(id: string): void {
    this.#chosen = this.#chosen === id ? '' : id;
    this.#flows = undefined;
    this.#asking[1]?.now();
    this.#app?.redraw();
  }

  /** Filter words for what is chosen; '' for what no filter can say. */
  #words(): string {
    const { cards, lines } = this.#drawn;
    const line = lines.find(({ id }) => id === this.#chosen);
    const end = (id: string, side: '' | 'from-' | 'to-'): string => {
      const card = cards.find((one) => one.id === id);
      return card?.kind === 'namespace' ? `${side}namespace ${card.group}` : wordsOfEnd(card?.members[0], side);
    };
    if (!line) return this.#chosen ? end(this.#chosen, '') : '';
    const verdict = { forwarded: 'FORWARDED', denied: 'DROPPED', audit: 'AUDIT' }[line.verdict];
    return `${end(line.from, 'from-')} ${end(line.to, 'to-')} verdict ${verdict}`;
  }

  key(event: KeyboardEvent): boolean {
    const arrows: Readonly<Record<string, [number, number]>> = {
      ArrowRight: [1, 0],
      ArrowLeft: [-1, 0],
      ArrowDown: [0, 1],
      ArrowUp: [0, -1],
    };
    const arrow = arrows[event.key];
    if (arrow) this.#step(...arrow);
    else if (event.key === 'Escape' && this.#chosen) this.#choose('');
    else if (event.key === 'Enter' && this.#chosen.startsWith('ns:')) this.#toggle(this.#chosen.slice(3));
    else if (event.key === 'Enter' && this.#words()) this.#app?.go('flows', '', { q: this.#words() });
    else return this.#zoom.key(event);
    return true;
  }

  /** To the nearest card in that direction; to the leftmost one when none is chosen. */
  #step(dx: number, dy: number): void {
    const here = this.#layout.cards.get(this.#chosen);
    const boxes = [...this.#layout.cards];
    const next = here
      ? boxes
          .map(([id, box]): [string, number] => {
            const [x, y] = [box.x - here.x, box.y - here.y];
            const along = x * dx + y * dy;
            const aside = Math.abs(x * dy) + Math.abs(y * dx);
            return [id, along > 1 ? along + 2 * aside : Number.POSITIVE_INFINITY];
          })
          .filter(([, far]) => far < Number.POSITIVE_INFINITY)
          .sort(([, a], [, b]) => a - b)[0]?.[0]
      : boxes.sort(([, a], [, b]) => a.x - b.x || a.y - b.y)[0]?.[0];
    if (next === undefined || next === this.#chosen) return;
    this.#choose(next);
    const box = this.#layout.cards.get(next);
    if (box) this.#zoom.reveal(box);
  }
}
