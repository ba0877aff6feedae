// SPDX-License-Identifier: Apache-2.0
/** Writes `bpf/lib/drop-reasons.h` and `state/drop-reasons.ts` from the one table, `bpf/drop-reasons.tsv`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

interface Reason {
  code: number;
  kind: 'forward' | 'drop' | 'counter';
  name: string;
  text: string;
  proto: string;
}

/** Of biome.json. */
const LINE_WIDTH = 120;

const upperSnake = (text: string): string =>
  text
    .toUpperCase()
    .replaceAll(/[^A-Z0-9]+/g, '_')
    .replaceAll(/^_|_$/g, '');

export function parseReasons(tsv: string): Reason[] {
  const reasons: Reason[] = [];
  for (const [index, line] of tsv.split('\n').entries()) {
    if (line === '' || line.startsWith('#')) continue;
    const fields = line.split('\t');
    const [code, kind, name, text, proto] = fields;
    const where = `drop-reasons.tsv:${index + 1}`;
    if (fields.length !== 5 || !code || !name || !text || !proto)
      throw new Error(`${where}: expected 5 fields, got ${JSON.stringify(line)}`);
    if (kind !== 'forward' && kind !== 'drop' && kind !== 'counter') throw new Error(`${where}: kind is ${kind}`);
    const last = reasons.at(-1);
    if (last && Number(code) <= last.code) throw new Error(`${where}: code ${code} does not follow ${last.code}`);
    reasons.push({
      code: Number(code),
      kind,
      name,
      text,
      proto: proto === 'none' ? '' : proto === '-' ? upperSnake(text) : proto,
    });
  }
  return reasons;
}

export function toHeader(reasons: Reason[]): string {
  const lines = reasons.map((reason) => `\t${reason.name} = ${reason.code}, /* ${reason.text} */`);
  return `/* SPDX-License-Identifier: (GPL-2.0-only OR BSD-2-Clause) */
/* Generated from drop-reasons.tsv by generate-drop-reasons.ts. */
#pragma once

enum drop_reason {
${lines.join('\n')}
};
`;
}

/** One entry of the map, wrapped as the formatter wraps it. */
function entryOf({ code, kind, text, proto }: Reason): string {
  const fields = [`kind: '${kind}'`, `text: '${text}'`, `proto: '${proto}'`];
  const object = `{ ${fields.join(', ')} }`;
  const line = `  [${code}, ${object}],`;
  if (line.length <= LINE_WIDTH) return line;
  const wide = `    ${object},`.length > LINE_WIDTH;
  const inner = wide ? `{\n${fields.map((field) => `      ${field},\n`).join('')}    }` : object;
  return `  [\n    ${code},\n    ${inner},\n  ],`;
}

export function toTypeScript(reasons: Reason[]): string {
  const lines = reasons.map(entryOf);
  return `/** What the datapath counts packets under. Generated from bpf/drop-reasons.tsv by bpf/generate-drop-reasons.ts. */
export interface DropReason {
  kind: 'forward' | 'drop' | 'counter';
  /** Label of metrics. */
  text: string;
  /** Name in Hubble's DropReason; empty: none. */
  proto: string;
}

/** By code. */
export const dropReasons: ReadonlyMap<number, DropReason> = new Map<number, DropReason>([
${lines.join('\n')}
]);
`;
}

if (import.meta.main) {
  const here = import.meta.dirname;
  const reasons = parseReasons(readFileSync(join(here, 'drop-reasons.tsv'), 'utf8'));
  writeFileSync(join(here, 'lib/drop-reasons.h'), toHeader(reasons));
  writeFileSync(join(here, '../state/drop-reasons.ts'), toTypeScript(reasons));
}
