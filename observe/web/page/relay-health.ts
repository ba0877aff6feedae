/** Nodes as a relay knows them: who answers, since when, with how many flows. What is inside a node its own agent shows. */
import { html, nothing, type TemplateResult } from 'lit-html';
import type { RelayNodeView } from '../../relay/relay-page.ts';
import { ApiError, type Asking, poll } from './api.ts';
import type { App, View } from './app.ts';
import { count, perSecond, plural, span } from './format.ts';

const STATUS_MS = 5_000;

export class RelayHealthView implements View {
  #nodes: RelayNodeView[] | undefined;
  #error = '';
  #asking: Asking | undefined;

  enter(app: App): void {
    this.#asking ??= poll<RelayNodeView[]>(
      () => '/v1/relay/nodes',
      STATUS_MS,
      (answer) => {
        this.#error = answer instanceof ApiError ? answer.message : '';
        if (!(answer instanceof ApiError)) this.#nodes = answer;
        app.redraw();
      },
    );
  }

  leave(): void {
    this.#asking?.stop();
    this.#asking = undefined;
  }

  refresh(): void {
    this.#asking?.now();
  }

  draw(app: App): TemplateResult {
    const nodes = this.#nodes?.filter(({ name }) => app.node === '' || name === app.node);
    if (!nodes)
      return html`<div class="empty"><h2>${this.#error ? 'The relay does not answer' : 'Asking'}</h2><p class="quiet">${this.#error}</p></div>`;
    const silent = nodes.filter(({ problem }) => problem !== '');
    const rate = nodes.reduce((sum, node) => sum + node.flowsPerSecond, 0);
    return html`<div class="health">
      <header class="node-head"><h1>${plural(nodes.length, 'node')}</h1>
        <span class="badge ${silent.length > 0 ? 'bad' : 'good'}">${silent.length > 0 ? `${silent.length} silent` : 'all answer'}</span>
        <span class="quiet">${perSecond(rate)} flows together</span></header>
      <section class="panel wide"><h2>Nodes</h2>
        <table><thead><tr><th>node</th><th>state</th><th>address</th><th>version</th><th class="number">up</th><th class="number">flows now</th><th class="number">kept</th><th class="number">seen</th></tr></thead>
        <tbody>${nodes.map(row)}</tbody></table></section>
      <section class="panel"><h2>Inside a node</h2>
        <p class="quiet">A relay knows nodes by the Hubble API alone. Machines, maps, drops and the reasons behind rows are on the page of a node's own agent (<code>debugPort</code> of its configuration), or in the terminal: <code>axoneme status</code>, <code>machines</code>, <code>explain</code>.</p></section>
    </div>`;
  }
}

function row({ name, address, version, uptimeSeconds, problem, ...flows }: RelayNodeView): TemplateResult {
  const isUp = problem === '';
  return html`<tr><td><a href="#/flows?node=${encodeURIComponent(name)}">${name}</a></td>
    <td><span class="badge ${isUp ? 'good' : 'bad'}">${isUp ? 'answers' : 'silent'}</span>${isUp ? nothing : html` <span class="bad">${problem}</span>`}</td>
    <td class="mono">${address}</td><td>${version}</td><td class="number">${isUp ? span(uptimeSeconds) : ''}</td>
    <td class="number">${perSecond(flows.flowsPerSecond)}</td><td class="number">${count(flows.kept)} / ${count(flows.capacity)}</td><td class="number">${count(flows.seen)}</td></tr>`;
}
