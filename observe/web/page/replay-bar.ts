/** The time slider over a recording: what there is to see at which moment, and the moment that everything else on the page is of. */
import { html, nothing, svg, type TemplateResult } from 'lit-html';
import { live } from 'lit-html/directives/live.js';
import { ApiError, getJson } from './api.ts';
import { clock, count } from './format.ts';

interface Moment {
  index: number;
  run: number;
  seq: number;
  at: number;
  event: { type: string; source: string; subject: string } | null;
  transitions: { machine: string; from: string; to: string }[];
  ops: { table: string; action: string; key: string }[];
}

interface Recording {
  node: string;
  events: number;
  position: Moment;
  histogram: { fromMs: number; toMs: number; counts: number[] };
  marks: { index: number; kind: 'start' | 'failure' | 'drift'; text: string }[];
}

export interface Replay {
  node: string;
  draw(): TemplateResult;
  /** True: the key moved the slider. */
  key(event: KeyboardEvent): boolean;
}

/** Undefined: a live agent. `moved` is called when another moment is there, `changed` when only the bar looks otherwise. */
export async function openReplay(moved: () => void, changed: () => void): Promise<Replay | undefined> {
  const paths = await getJson<{ path: string }[]>('/v1').catch(() => []);
  if (!paths.some(({ path }) => path === '/v1/replay')) return undefined;
  const recording = await getJson<Recording>('/v1/replay').catch(() => undefined);
  return recording && new ReplayBar(recording, moved, changed);
}

class ReplayBar implements Replay {
  readonly node: string;
  readonly #recording: Recording;
  readonly #moved: () => void;
  readonly #changed: () => void;
  #moment: Moment;
  /** Where the reader wants to be; moves go one after the other, and only to the latest wish. */
  #wanted: number;
  #isMoving = false;
  #error = '';

  constructor(recording: Recording, moved: () => void, changed: () => void) {
    this.node = recording.node;
    this.#recording = recording;
    this.#moved = moved;
    this.#changed = changed;
    this.#moment = recording.position;
    this.#wanted = recording.position.index;
  }

  draw(): TemplateResult {
    const { events, marks } = this.#recording;
    const { at, seq, run, event, transitions, ops } = this.#moment;
    return html`<section class="replay" aria-label="Replay">
      <button class="icon" aria-label="Event before" title="Event before ([)" ?disabled=${this.#wanted <= 0}
        @click=${() => this.#go(this.#wanted - 1)}>‹</button>
      <button class="icon" aria-label="Next event" title="Next event (])" ?disabled=${this.#wanted >= events}
        @click=${() => this.#go(this.#wanted + 1)}>›</button>
      <div class="track">
        <svg viewBox="0 0 1000 24" preserveAspectRatio="none" aria-hidden="true">
          ${marks.map(({ index, kind, text }) => {
            const x = (index / Math.max(1, events)) * 1000;
            return svg`<line class="mark ${kind}" x1=${x} x2=${x} y1="0" y2="24"><title>${text}</title></line>`;
          })}
        </svg>
        <input type="range" min="0" max=${events} step="1" .value=${live(String(this.#wanted))}
          aria-label="Moment of the recording" aria-valuetext="event ${this.#wanted} of ${events}"
          @input=${(input: Event) => this.#go(Number((input.target as HTMLInputElement).value))}>
      </div>
      <div class="moment">
        <strong>${count(this.#wanted)}</strong><span class="quiet"> / ${count(events)}</span>
        <span class="quiet">${at > 0 ? clock(at) : ''}${run > 1 ? ` · run ${run}` : ''}${seq > 0 ? ` · #${seq}` : ''}</span>
      </div>
      <div class="what" title=${event ? `${event.type} ${event.subject}` : ''}>
        ${this.#error ? html`<span class="bad">${this.#error}</span>` : nothing}
        ${event ? html`<code>${event.type}</code> ${event.subject}` : html`<span class="quiet">before the first event</span>`}
        ${
          transitions.length + ops.length > 0
            ? html`<span class="quiet"> → ${transitions.length} transitions, ${ops.length} ops</span>`
            : nothing
        }
      </div>
    </section>`;
  }

  key({ key }: KeyboardEvent): boolean {
    if (key !== '[' && key !== ']') return false;
    this.#go(this.#wanted + (key === ']' ? 1 : -1));
    return true;
  }

  #go(index: number): void {
    this.#wanted = Math.max(0, Math.min(this.#recording.events, index));
    this.#changed();
    if (!this.#isMoving) void this.#move();
  }

  async #move(): Promise<void> {
    this.#isMoving = true;
    try {
      while (this.#moment.index !== this.#wanted) {
        this.#moment = await getJson<Moment>(`/at?index=${this.#wanted}`);
        this.#error = '';
        this.#moved();
      }
    } catch (error) {
      this.#error = error instanceof ApiError ? error.message : String(error);
      this.#wanted = this.#moment.index;
      this.#changed();
    } finally {
      this.#isMoving = false;
    }
  }
}
