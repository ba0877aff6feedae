/** Aligned columns for people; nothing is ever cut off. */

/** Text, or one text per line. */
export type Cell = string | number | readonly string[];

const GAP = '   ';

/** Headers may have several lines. */
export function formatTable(headers: readonly Cell[], rows: readonly (readonly Cell[])[]): string {
  const lines = [headers, ...rows].flatMap(linesOf);
  const widths: number[] = [];
  for (const line of lines) line.forEach((text, i) => (widths[i] = Math.max(widths[i] ?? 0, widthOf(text))));
  const last = widths.length - 1;
  return lines
    .map((line) =>
      line
        .map((text, i) => (i === last ? text : text + ' '.repeat((widths[i] ?? 0) - widthOf(text))))
        .join(GAP)
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** A row is as high as its highest cell. */
function linesOf(row: readonly Cell[]): string[][] {
  const cells = row.map((cell) =>
    typeof cell === 'string' ? [cell] : typeof cell === 'number' ? [String(cell)] : cell,
  );
  const height = Math.max(1, ...cells.map((cell) => cell.length));
  return Array.from({ length: height }, (_, i) => cells.map((cell) => cell[i] ?? ''));
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what colours are made of
const COLOURS = /\x1b\[[0-9;]*m/g;
const widthOf = (text: string): number => [...text.replaceAll(COLOURS, '')].length;

/** `Label:   text` lines with the texts aligned; a text of several lines is indented below its label. */
export function formatFacts(facts: readonly (readonly [label: string, text: Cell])[]): string {
  const width = Math.max(...facts.map(([label]) => label.length)) + 2;
  return facts
    .flatMap(([label, text]) =>
      linesOf([text]).map(([line = ''], i) => `${(i === 0 ? `${label}:` : '').padEnd(width)}${line}`.trimEnd()),
    )
    .map((line) => `${line}\n`)
    .join('');
}
