/** What `axoneme up` says: progress while it comes up, a table of the pods, then what happens. */
import type { Pod } from './pod.ts';
import { isReady } from './pod.ts';

const GREEN = '\x1b[32m';
const DIM = '\x1b[2m';
const RESET = '\x1b[0m';
const LABEL_WIDTH = 12;

export class Terminal {
  readonly #colour = process.stdout.isTTY && !process.env.NO_COLOR;

  #paint(colour: string, text: string): string {
    return this.#colour ? `${colour}${text}${RESET}` : text;
  }

  /** Said into the void when the reader has left. */
  line(text = ''): void {
    if (process.stdout.writable) process.stdout.write(`${text}\n`);
  }

  /** A thing that is up. */
  step(what: string, detail: string): void {
    this.line(`  ${this.#paint(GREEN, '✓')} ${what.padEnd(LABEL_WIDTH)} ${detail}`);
  }

  /** What somebody else has to say. */
  aside(text: string): void {
    process.stderr.write(`${this.#paint(DIM, text)}\n`);
  }

  pods(pods: readonly Pod[]): void {
    const rows = pods.map((pod) => [
      pod.metadata.namespace,
      pod.metadata.name,
      isReady(pod) ? 'ready' : (pod.status?.phase ?? 'Pending'),
      pod.spec.nodeName ?? '',
      (pod.status?.podIPs ?? []).map(({ ip }) => ip).join(', '),
      labels(pod),
    ]);
    this.table(['NAMESPACE', 'POD', 'STATE', 'NODE', 'ADDRESSES', 'LABELS'], rows);
  }

  table(header: readonly string[], rows: readonly (readonly string[])[]): void {
    const widths = header.map((title, column) =>
      Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
    );
    const text = (row: readonly string[]) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd();
    this.line(`  ${this.#paint(DIM, text(header))}`);
    for (const row of rows) this.line(`  ${text(row)}`);
  }
}

function labels(pod: Pod): string {
  return Object.entries(pod.metadata.labels ?? {})
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}
