/** Why a row is there, as a chain: event, machine, row, op, kernel. */
import { html, nothing, type TemplateResult } from 'lit-html';
import type { ExplainView } from '../../debug/table-routes.ts';
import { clock, fieldsOf } from './format.ts';

const states: Readonly<Record<string, [tone: string, text: string]>> = {
  'in-sync': ['good', 'as wanted'],
  pending: ['warn', 'to be changed'],
  'in-flight': ['warn', 'being changed'],
  failed: ['bad', 'failed'],
  'held-back': ['warn', 'held back'],
  orphan: ['warn', 'wanted by nobody'],
  unknown: ['warn', 'not known'],
};
const reasons: Readonly<Record<string, string>> = {
  desired: 'the wish changed',
  drift: 'what was found differed',
  retry: 'an earlier try failed',
  orphan: 'nobody wants it',
};

export const rowBadge = (state: string): TemplateResult => {
  const [tone, text] = states[state] ?? ['', state];
  return html`<span class="badge ${tone}">${text}</span>`;
};

export function explainChain(view: ExplainView, titleOf: (machine: string) => string): TemplateResult {
  const { row, wanted, op } = view;
  const isThere = 'kernel' in view;
  const isSame = isThere && stable(view.kernel) === stable(row.desired);
  return html`<ol class="chain" aria-label="Why this row is there">
    ${wanted ? step('event', `#${wanted.cause.seq} ${wanted.cause.type}`, html`<p>${wanted.cause.subject}</p><p class="quiet">from ${wanted.cause.source}, ${clock(wanted.cause.at)}</p>`) : nothing}
    ${
      wanted
        ? step(
            'machine',
            titleOf(wanted.machine),
            html`<p>${wanted.from ? html`<code>${wanted.from}</code> → ` : 'born as '}<code>${wanted.to || 'ended'}</code> on <code>${wanted.on}</code></p>
          ${row.owners.length > 1 ? html`<p class="quiet">also wanted by ${row.owners.slice(1).map(titleOf).join(', ')}</p>` : nothing}`,
          )
        : step('machine', 'none wants this row', nothing)
    }
    ${step(
      'row',
      html`${row.table} ${rowBadge(row.state)}`,
      html`<p class="mono wrap">${row.key}</p>${values(row.desired)}
        ${row.error ? html`<p class="bad">${row.error.errno}: ${row.error.message}</p>` : nothing}`,
    )}
    ${
      op
        ? step(
            'op',
            `${op.action}, revision ${op.revision}`,
            html`<p>${reasons[op.reason] ?? op.reason}</p><p class="quiet">planned ${clock(op.plannedAt)}${
              op.doneAt === undefined ? ', under way' : op.error ? '' : `, done after ${op.doneAt - op.plannedAt} ms`
            }</p>${op.error ? html`<p class="bad">${op.error.errno}: ${op.error.message}</p>` : nothing}`,
          )
        : step('op', 'none', html`<p class="quiet">${wanted ? 'found as wanted' : 'nothing was to be done'}</p>`)
    }
    ${step('kernel', !isThere ? 'no such row' : isSame ? 'has the same' : 'has something else', isThere && !isSame ? values(view.kernel) : nothing, !isThere || !isSame)}
  </ol>`;
}

function step(kind: string, title: unknown, body: unknown, isOdd = false): TemplateResult {
  return html`<li class="step at-${kind} ${isOdd ? 'odd' : ''}"><span class="eyebrow">${kind}</span><strong>${title}</strong>${body}</li>`;
}

export function values(value: unknown): TemplateResult | typeof nothing {
  if (value === undefined) return nothing;
  return html`<dl class="facts mono">${fieldsOf(value).map(([name, text]) => html`<dt>${name}</dt><dd>${text}</dd>`)}</dl>`;
}

/** Whatever the order of fields. */
function stable(value: unknown): string {
  return (
    JSON.stringify(value, (_, inner: unknown) =>
      inner !== null && typeof inner === 'object' && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
        : inner,
    ) ?? ''
  );
}
