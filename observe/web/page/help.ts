/** The keys, in a dialog. */
import { html, type TemplateResult } from 'lit-html';

const keys: readonly [keys: string, what: string][] = [
  ['1 2 3 4', 'service map, flows, machines, health'],
  ['/', 'search or filter'],
  ['↑ ↓ ← →', 'move: workloads of the map, rows of a list'],
  ['Enter', 'open what is marked'],
  ['Esc', 'close, or leave the field'],
  ['+ − 0', 'closer, farther, all of the map or diagram'],
  ['p', 'pause the flows, or let them run'],
  ['[ ]', 'an event back, an event on (in a replay)'],
  ['t', 'theme: system, light, dark'],
];

export function helpDialog(): TemplateResult {
  const close = (event: Event): void => (event.currentTarget as Element).closest('dialog')?.close();
  return html`<dialog id="help" aria-labelledby="help-title">
    <h2 id="help-title">Keys</h2>
    <dl>${keys.map(([key, what]) => html`<div><dt>${key.split(' ').map((one) => html`<kbd>${one}</kbd> `)}</dt><dd>${what}</dd></div>`)}</dl>
    <p class="quiet">The page only looks. Nothing that it shows can be changed from here.</p>
    <button class="button" @click=${close}>Close</button>
  </dialog>`;
}
