/** Nodes at a glance, and one of them in depth: problems, maps' fill, drops by reason, the engine, addresses, versions. */
import { html, nothing, type SVGTemplateResult, svg, type TemplateResult } from 'lit-html';
import type { ClusterNodeView } from '../../cluster-nodes.ts';
import type { StatusView } from '../../status.ts';
import type { PageNode } from '../page.ts';
import { ApiError, type Asking, poll } from './api.ts';
import type { App, View } from './app.ts';
import { count, percent, perSecond, plural, span } from './format.ts';

interface Counted {
  reason: number;
  direction: string;
  packets: number;
  bytes: number;
  text: string;
}

const STATUS_MS = 2_000;
/** Rates that are kept for the small curves. */
const KEPT = 60;
const FULL = 0.9;
const WARM = 0.7;

class NodeHealth {
  readonly node: PageNode;
  status: StatusView | undefined;
  error: ApiError | undefined;
  counts: Counted[] = [];
  seen: ClusterNodeView[] = [];
  /** By reason and direction, events of the engine and flows: one figure a turn. */
  readonly rates = new Map<string, number[]>();
  readonly #before = new Map<string, { value: number; at: number }>();

  constructor(node: PageNode) {
    this.node = node;
  }

  note(name: string, value: number, now: number): void {
    const before = this.#before.get(name);
    this.#before.set(name, { value, at: now });
    if (!before || now <= before.at) return;
    const rates = this.rates.get(name) ?? [];
    rates.push(Math.max(0, ((value - before.value) * 1000) / (now - before.at)));
    if (rates.length > KEPT) rates.shift();
    this.rates.set(name, rates);
  }

  rate(name: string): number {
    return this.rates.get(name)?.at(-1) ?? 0;
  }
}

export class HealthView implements View {
  #app: App | undefined;
  #healths = new Map<string, NodeHealth>();
  #asking: Asking[] = [];
  #shown = '';

  enter(app: App): void {
    this.#app = app;
    if (this.#asking.length > 0) return;
    for (const node of app.nodes) {
      const health = this.#healths.get(node.name) ?? new NodeHealth(node);
      this.#healths.set(node.name, health);
      this.#asking.push(
        poll<StatusView>(
          () => `${node.base}/v1/status`,
          STATUS_MS,
          (answer) => {
            health.error = answer instanceof ApiError ? answer : undefined;
            if (!(answer instanceof ApiError)) {
              health.status = answer;
              health.note('events', answer.engine.events, Date.now());
              if (answer.hubble) health.note('flows', answer.hubble.seen, Date.now());
            }
            app.redraw();
          },
        ),
      );
      this.#asking.push(
        poll<ClusterNodeView[]>(
          () => `${node.base}/v1/nodes`,
          STATUS_MS,
          (answer) => {
            if (!(answer instanceof ApiError)) health.seen = answer;
          },
        ),
      );
      if (!app.replay)
        this.#asking.push(
          poll<Counted[]>(
            () => `${node.base}/v1/bpf/metrics`,
            STATUS_MS,
            (answer) => {
              if (answer instanceof ApiError) return;
              health.counts = answer;
              for (const { reason, direction, packets } of answer)
                health.note(`${reason} ${direction}`, packets, Date.now());
            },
          ),
        );
    }
  }

  leave(): void {
    for (const asking of this.#asking) asking.stop();
    this.#asking = [];
  }

  refresh(): void {
    for (const asking of this.#asking) asking.now();
  }

  draw(app: App): TemplateResult {
    const chosen = app.node || this.#shown || app.nodes[0]?.name || '';
    const health = this.#healths.get(chosen);
    return html`<div class="health">
      ${
        app.nodes.length > 1
          ? html`<ul class="node-cards">${app.nodes.map((node) => this.#card(node, node.name === chosen))}</ul>`
          : nothing
      }
      ${health?.status ? detail(health, health.status) : html`<div class="empty"><h2>${health?.error ? `${chosen} does not answer` : 'Asking'}</h2><p class="quiet">${health?.error?.message ?? ''}</p></div>`}
    </div>`;
  }

  #card(node: PageNode, isChosen: boolean): TemplateResult {
    const health = this.#healths.get(node.name);
    const status = health?.status;
    return html`<li><button class="node-card" aria-pressed=${isChosen} @click=${() => {
      this.#shown = node.name;
      this.#app?.redraw();
    }}>
      <strong>${node.name}</strong> ${healthBadge(health)}
      <span class="quiet">${status ? `${plural(status.endpoints.total, 'endpoint')}, ${perSecond(health.rate('flows'))} flows` : 'no answer'}</span>
    </button></li>`;
  }
}

function healthBadge(health: NodeHealth | undefined): TemplateResult {
  if (!health?.status || health.error)
    return html`<span class="badge ${health?.error ? 'bad' : ''}">${health?.error ? 'unreachable' : 'asking'}</span>`;
  const { status } = health.status.health;
  return html`<span class="badge ${status === 'ok' ? 'good' : status === 'starting' ? 'warn' : 'bad'}">${status}</span>`;
}

function detail(health: NodeHealth, status: StatusView): TemplateResult {
  const { engine, hubble, endpoints, health: own } = status;
  const unsynced = status.sources.filter(({ synced }) => !synced);
  const tiles: [name: string, value: string, note: string, rates?: number[] | undefined][] = [
    [
      'Endpoints',
      count(endpoints.total),
      Object.entries(endpoints.byState)
        .map(([state, number]) => `${number} ${state}`)
        .join(', ') || 'none',
    ],
    [
      'Events',
      count(engine.events),
      `${perSecond(health.rate('events'))}, ${count(engine.transitions)} transitions`,
      health.rates.get('events'),
    ],
    ['Queue', count(engine.pending + engine.inFlight), `${engine.pending} pending, ${engine.inFlight} in flight`],
    ['Drift repaired', count(engine.driftRepaired), plural(engine.rows, 'row')],
    ...(hubble
      ? [
          [
            'Flows',
            perSecond(hubble.flowsPerSecond),
            `${count(hubble.flows)} of ${count(hubble.capacity)} kept`,
            health.rates.get('flows'),
          ] as [string, string, string, number[] | undefined],
        ]
      : []),
  ];
  return html`
    <header class="node-head"><h1>${status.node}</h1>${healthBadge(health)}
      <span class="quiet">up ${span(status.uptimeSeconds)} · axoneme ${status.version} · Linux ${status.kernel} · ${status.attachMode}</span></header>
    ${own.reasons.length > 0 ? html`<ul class="problems" aria-label="Problems">${own.reasons.map((reason) => html`<li>${reason}</li>`)}</ul>` : nothing}
    <ul class="tiles">${tiles.map(([name, value, note, rates]) => html`<li><span class="eyebrow">${name}</span><strong>${value}</strong><span class="quiet">${note}</span>${rates ? spark(rates) : nothing}</li>`)}</ul>
    <div class="panels">
      ${drops(health)}
      <section class="panel"><h2>Map fill</h2>${maps(status)}</section>
      ${others(health)}
      <section class="panel"><h2>Addresses</h2>
        <ul class="bars">${status.ipam.map(({ family, cidr, used, total }) => bar(`${family} ${cidr}`, used, total))}</ul>
        ${status.ipam.length === 0 ? html`<p class="quiet">no pod CIDR yet</p>` : nothing}</section>
      <section class="panel"><h2>Node</h2><dl class="facts">
        <dt>cluster</dt><dd>${status.cluster}</dd><dt>routing</dt><dd>${status.routing}</dd>
        <dt>services</dt><dd>${status.services.mode}${status.services.off.length > 0 ? `, without ${status.services.off.join(', ')}` : ''}</dd>
        <dt>masquerading</dt><dd>${status.masquerading.enabled ? status.masquerading.devices.join(', ') || 'on' : 'off'}</dd>
        <dt>identities</dt><dd>${count(status.identities)}</dd><dt>machines</dt><dd>${count(status.machines.total)}</dd>
        <dt>sources</dt><dd>${unsynced.length === 0 ? `all ${status.sources.length} have listed` : html`<span class="warn">waiting for ${unsynced.map(({ name }) => name).join(', ')}</span>`}</dd>
        <dt>datapath</dt><dd class="mono">${status.build}</dd>
        <dt>rows' digest</dt><dd class="mono" title=${status.digest.total}>${status.digest.total.slice(0, 16)}</dd></dl></section>
      <section class="panel"><h2>Ops by table</h2>
        <table><thead><tr><th>table</th><th class="number">done</th><th class="number">failed</th></tr></thead>
        <tbody>${[...engine.ops].sort((a, b) => b.failed - a.failed || b.ok - a.ok).map(({ table, ok, failed }) => html`<tr><td>${table}</td><td class="number">${count(ok)}</td><td class="number ${failed > 0 ? 'bad' : 'faint'}">${count(failed)}</td></tr>`)}</tbody></table></section>
      <section class="panel"><h2>Missing in this kernel</h2>
        ${status.missingFeatures.length === 0 ? html`<p class="quiet">Nothing: every feature is there.</p>` : html`<ul class="plain">${status.missingFeatures.map((line) => html`<li>${line}</li>`)}</ul>`}</section>
    </div>`;
}

function others({ seen }: NodeHealth): TemplateResult | typeof nothing {
  const all = seen.filter(({ own }) => !own);
  if (all.length === 0) return nothing;
  return html`<section class="panel"><h2>Other nodes, as seen from here</h2><ul class="plain">${all.map(
    ({ name, state, reasons, health, podAddresses, encryption }) => html`<li>
      <strong>${name}</strong> <span class="badge ${state === 'reachable' ? 'good' : state === 'unreachable' ? 'bad' : ''}">${state}</span>
      <span class="quiet">${plural(podAddresses, 'pod address', 'pod addresses')}${encryption.type === 'none' ? '' : `, ${encryption.type}`}</span>
      ${reasons.map((line) => html`<p class="bad">${line}</p>`)}${health.length > 0 ? html`<p class="quiet">probed at ${health.join(', ')}</p>` : nothing}</li>`,
  )}</ul></section>`;
}

function drops(health: NodeHealth): TemplateResult {
  const all = health.counts.filter(({ reason }) => reason !== 0).sort((a, b) => b.packets - a.packets);
  const forwarded = health.counts.filter(({ reason }) => reason === 0);
  if (health.counts.length === 0)
    return html`<section class="panel"><h2>Packets</h2><p class="quiet">Nothing counted yet.</p></section>`;
  return html`<section class="panel wide"><h2>Packets</h2>
    <table><thead><tr><th>what</th><th>direction</th><th class="number">packets</th><th class="number">now</th><th>last two minutes</th></tr></thead>
    <tbody>${[...forwarded, ...all].map(({ reason, direction, packets, text }) => {
      const name = `${reason} ${direction}`;
      return html`<tr><td>${reason === 0 ? html`<span class="dot good"></span> forwarded` : html`<span class="dot bad"></span> ${text}`}</td><td class="quiet">${direction}</td>
        <td class="number">${count(packets)}</td><td class="number">${perSecond(health.rate(name))}</td><td>${spark(health.rates.get(name) ?? [], reason !== 0)}</td></tr>`;
    })}</tbody></table>
    ${all.length === 0 ? html`<p class="quiet">Nothing was dropped.</p>` : nothing}
  </section>`;
}

function maps({ mapPressure }: StatusView): TemplateResult {
  if (mapPressure.length === 0) return html`<p class="quiet">There is no datapath here.</p>`;
  const sorted = [...mapPressure].sort((a, b) => b.ratio - a.ratio || (a.map < b.map ? -1 : 1));
  return html`<ul class="bars">${sorted.map(({ map, entries, capacity }) => bar(map, entries, capacity))}</ul>`;
}

function bar(name: string, used: number, total: number): TemplateResult {
  const ratio = total > 0 ? used / total : 0;
  const tone = ratio >= FULL ? 'bad' : ratio >= WARM ? 'warn' : '';
  return html`<li class=${tone}><span class="clip">${name}</span><span class="quiet number">${count(used)} / ${count(total)}</span>
    <span class="meter" role="meter" aria-label=${name} aria-valuemin="0" aria-valuemax=${total} aria-valuenow=${used} title=${percent(ratio)}><i .style=${`width: ${Math.max(used > 0 ? 1 : 0, ratio * 100)}%`}></i></span></li>`;
}

/** A small curve of the last turns, the newest at the right. */
function spark(rates: readonly number[], isBad = false): TemplateResult {
  const max = Math.max(...rates, 1e-9);
  const at = (rate: number, i: number): string =>
    `${(((i + KEPT - rates.length) / (KEPT - 1)) * 100).toFixed(1)},${(19 - (rate / max) * 17).toFixed(1)}`;
  const line: SVGTemplateResult | typeof nothing =
    rates.length > 1 ? svg`<polyline points=${rates.map(at).join(' ')}></polyline>` : nothing;
  return html`<svg class="spark ${isBad ? 'bad' : ''}" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">${line}</svg>`;
}
