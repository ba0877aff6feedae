/** Lines kept in a file for those who must understand what happened: as many as fit, and those before them once more. */
import { appendFileSync, renameSync, rmSync, statSync } from 'node:fs';

const BYTES_MAX = 1 << 20;
const TIMED = /^\d{4}-\d\d-\d\dT/;

/** Returns what keeps a line, with a time if it has none. A disk that is full costs the line and nothing else. */
export function logFile(path: string, now: () => number = Date.now, bytesMax = BYTES_MAX): (line: string) => void {
  rmSync(path, { force: true });
  let bytes = 0;
  return (line) => {
    const text = TIMED.test(line) ? `${line}\n` : `${new Date(now()).toISOString()} ${line}\n`;
    try {
      if (bytes + text.length > bytesMax) renameSync(path, path.replace(/\.log$/, '.before.log'));
      appendFileSync(path, text, { mode: 0o600 });
      bytes = statSync(path).size;
    } catch {
      // Where it was written to is not there any more, or full.
    }
  };
}
