/** All that is known of one flow, beside the table; and short lists of flows for other views. */
import { html, nothing, type TemplateResult } from 'lit-html';
import type { FlowEndpoint } from '../../hubble/types.ts';
import { type FlowRow, placeText, toneOf } from './flow-list.ts';
import { clock, words } from './format.ts';

export const verdictBadge = (verdict: string): TemplateResult =>
  html`<span class="badge ${toneOf(verdict)}">${words(verdict)}</span>`;

export function flowDetail(row: FlowRow, close: () => void): TemplateResult {
  const { flow, from, to } = row;
  const services = [flow.source_service, flow.destination_service].filter((one) => one !== undefined);
  const facts: [string, unknown][] = [
    ['time', clock(row.ms)],
    ['node', flow.node_name],
    [
      'seen at',
      `${flow.trace_observation_point ? words(flow.trace_observation_point) : row.what}${flow.interface ? `, ${flow.interface.name || `link ${flow.interface.index}`}` : ''}`,
    ],
    ['direction', `${words(flow.traffic_direction)}${row.isReply ? ', an answer' : ''}`],
    ['connection', flow.trace_reason ? words(flow.trace_reason) : undefined],
    ['reason', flow.drop_reason_desc ? words(flow.drop_reason_desc) : undefined],
    ['where', flow.file ? `${flow.file.name}:${flow.file.line}` : undefined],
    ['policies', row.policies.join(', ') || undefined],
    ['service', services.map(({ namespace, name }) => `${namespace}/${name}`).join(', ') || undefined],
    ['translated', flow.IP?.source_xlated],
    ['packet', flow.Summary],
  ];
  return html`<aside class="side" aria-label="Flow">
    <header><h2>${verdictBadge(row.verdict)} ${row.protocol}</h2>
      <button class="icon" @click=${close} aria-label="Close" title="Close (Esc)">×</button></header>
    <div class="ends">
      ${endBlock('From', from.name, placeText(from.address, from.port), flow.source)}
      <span class="arrow" aria-hidden="true">↓</span>
      ${endBlock('To', to.name, placeText(to.address, to.port), flow.destination)}
    </div>
    <dl class="facts">${facts.map(([name, value]) => (value === undefined ? nothing : html`<dt>${name}</dt><dd>${value}</dd>`))}</dl>
    <details><summary>As Hubble has it</summary><pre>${JSON.stringify(flow, null, 2)}</pre></details>
  </aside>`;
}

function endBlock(title: string, name: string, place: string, { identity, labels }: FlowEndpoint): TemplateResult {
  const own = labels
    .filter((label) => !/^k8s:io\.(cilium|kubernetes)\./.test(label))
    .map((label) => label.replace(/^k8s:/, ''));
  return html`<div class="end">
    <span class="eyebrow">${title}</span>
    <strong>${name}</strong><span class="quiet mono">${place}</span>
    <span class="labels">${own.map((label) => html`<span class="label">${label}</span>`)}<span class="label quiet">identity ${identity}</span></span>
  </div>`;
}

export function shortFlows(rows: readonly FlowRow[]): TemplateResult {
  if (rows.length === 0) return html`<p class="quiet">None of them is kept any more.</p>`;
  return html`<ol class="short-flows">${rows.map(
    (row) => html`<li>
      <time>${clock(row.ms)}</time><span class="dot ${toneOf(row.verdict)}" title=${words(row.verdict)}></span>
      <span class="clip" title="${row.from.name} → ${row.to.name}">${row.from.name.replace(/^.*\//, '')} → ${row.to.name.replace(/^.*\//, '')}${row.to.port > 0 && !row.isReply ? `:${row.to.port}` : ''}</span>
      <span class="quiet clip">${row.what}</span>
    </li>`,
  )}</ol>`;
}
