/** `run.ts SERIES [--timeout SECONDS] [--console] -- COMMAND…`: runs a command on another kernel, with this checkout at hand. */
import { bootAndRun } from './boot.ts';
import { kernelOf, labSeries, type Series } from './kernels.ts';

const usage = `usage: node simulations/lab/run.ts ${labSeries.join('|')} [--timeout SECONDS] [--console] [--refresh] -- COMMAND…`;

function fail(message: string): never {
  console.error(`${message}\n${usage}`);
  process.exit(2);
}

const split = process.argv.indexOf('--');
if (split < 0 || split === process.argv.length - 1) fail('a command is needed after --');
const [series, ...flags] = process.argv.slice(2, split);
if (!labSeries.includes(series as Series)) fail(`unknown kernel '${series ?? ''}'`);

let timeoutMs = 300_000;
let showConsole = false;
let refresh = false;
for (let at = 0; at < flags.length; at += 1) {
  switch (flags[at]) {
    case '--timeout':
      at += 1;
      timeoutMs = Number(flags[at]) * 1000;
      if (!(timeoutMs > 0)) fail(`--timeout wants seconds, not '${flags[at] ?? ''}'`);
      break;
    case '--console':
      showConsole = true;
      break;
    case '--refresh':
      refresh = true;
      break;
    default:
      fail(`unknown flag '${flags[at]}'`);
  }
}

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, () => interrupted.abort(signal));

const quoted = process.argv.slice(split + 1).map((word) => `'${word.replaceAll("'", "'\\''")}'`);
const outcome = await bootAndRun(kernelOf(series as Series, { refresh }), {
  folder: process.cwd(),
  command: quoted.join(' '),
  timeoutMs,
  signal: interrupted.signal,
  onOutput: (text) => process.stdout.write(text),
});
if (showConsole || outcome.code === undefined) console.error(outcome.console);
console.error(`lab: ${series} exit code ${outcome.code ?? 'none'} after ${(outcome.ms / 1000).toFixed(1)} s`);
process.exitCode = outcome.code ?? 1;
