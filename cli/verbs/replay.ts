/** `axoneme replay RECORDING`: runs a recorded log through this build's engine, and tells what comes of it. */
import { closeSync, openSync, readSync, statSync } from 'node:fs';
import { historyOf, isKubectlOutput } from '../../cluster/kubectl-watch.ts';
import { lastRunOf, type RecordingItem, readRecording } from '../../cluster/recording-reader.ts';
import { startDebugServer } from '../../observe/debug-server.ts';
import { replayObjects } from '../../simulations/imported.ts';
import { isKernelTable } from '../../simulations/kernel.ts';
import { differences, type PlannedOp, type Replayed, type ReplayOptions, replay } from '../../simulations/replay.ts';
import { canonical, isTableName, type TableName, tableNames } from '../../state/tables.ts';
import { noPositionals, required } from '../output/arguments.ts';
import { clock, print, printJson, timestamp, wantsJson } from '../output/print.ts';
import { type Cell, formatFacts, formatTable } from '../output/table.ts';
import { meant, parseArguments, UsageError, wholeNumber } from '../usage.ts';

export const summary = 'run a recording through the engine again';
export const usage = `axoneme replay RECORDING… [--digest | --ops | --table TABLE | -o json] [--until SEQ] [--node NODE] [--serve SOCKET]

RECORDING is a file or a directory that \`agent --record\` or \`up --record\` wrote, or files with what
\`kubectl get RESOURCES -A -o json [--watch --output-watch-events]\` wrote on any cluster
  --node NODE     of objects from kubectl: whose control plane to play; not needed where they name only one
  --table TABLE   the rows of a table at the end, one JSON object a line
  --digest        only the digest of the resulting rows; that of the live agent is in \`axoneme status -o json\`
  --ops           each op that is planned, one a line
  --until SEQ     stop after the event of this number, in the last run
  --serve SOCKET  then serve the debug endpoint over the result, until interrupted
The exit code is 1 when this build plans differently from the one that recorded.`;

const PROGRESS_MS = 250;

export async function run(args: string[]): Promise<number> {
  const spec = {
    digest: true,
    ops: true,
    table: 'TABLE',
    until: 'SEQ',
    node: 'NODE',
    serve: 'SOCKET',
    output: 'FORMAT',
  } as const;
  const { flags, positionals } = parseArguments(args, spec);
  const isJson = wantsJson(flags.output);
  if ([flags.digest, flags.ops, flags.table, isJson || undefined].filter(Boolean).length > 1)
    throw new UsageError('flags --digest, --ops, --table and -o json exclude each other');
  if (flags.table !== undefined && !isTableName(flags.table))
    throw new UsageError(
      `flag --table is ${flags.table}${meant(flags.table, tableNames)}; known are ${tableNames.join(', ')}`,
    );
  const until = flags.until === undefined ? undefined : wholeNumber('until', flags.until, 1, Number.MAX_SAFE_INTEGER);
  const [first, ...more] = positionals;
  const paths = [required('RECORDING', first), ...more];
  const onOp = flags.ops && { onOp: (planned: PlannedOp) => print(opLine(planned)) };
  const limits = { ...(until !== undefined && { until }), ...onOp };
  const replayed = isFromKubectl(paths[0] ?? '')
    ? await replayObjects(await historyOf(paths), { node: flags.node ?? '', version: 'kubectl', ...limits })
    : await replayRecording(paths, limits, flags.node);
  if (isJson) printJson(jsonOf(replayed));
  else if (flags.digest) print(`${replayed.digest.total}\n`);
  else if (flags.table !== undefined) printTable(replayed, flags.table as TableName);
  else if (!flags.ops) print(summaryOf(replayed));
  for (const { seq, message } of replayed.divergences.slice(0, 20)) process.stderr.write(`#${seq}: ${message}\n`);
  if (flags.serve !== undefined) await serve(flags.serve, replayed);
  return replayed.divergences.length > 0 ? 1 : 0;
}

function replayRecording(paths: readonly string[], limits: ReplayOptions, node: string | undefined): Promise<Replayed> {
  const [recording = '', ...others] = paths;
  noPositionals(others);
  if (node !== undefined) throw new UsageError('flag --node is for objects from kubectl: a recording is of one node');
  const items = readRecording(recording);
  const shown = process.stderr.isTTY && !limits.onOp ? withProgress(items) : items;
  return limits.until === undefined
    ? replay(shown, limits)
    : lastRunOf(recording).then((untilOfRun) => replay(shown, { ...limits, untilOfRun }));
}

const HEAD_BYTES = 4096;

function isFromKubectl(path: string): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) return false;
  const file = openSync(path, 'r');
  try {
    const head = Buffer.alloc(HEAD_BYTES);
    return isKubectlOutput(head.toString('utf8', 0, readSync(file, head)));
  } finally {
    closeSync(file);
  }
}

function printTable({ engine }: Replayed, table: TableName): void {
  for (const [key, value] of [...engine.actual(table)].sort(([a], [b]) => (a < b ? -1 : 1)))
    print(`${JSON.stringify({ key, value })}\n`);
}

/** Says now and then how far it is, on a line that it takes back in the end. */
async function* withProgress(items: AsyncIterable<RecordingItem>): AsyncGenerator<RecordingItem> {
  let entries = 0;
  let saidAt = Date.now();
  try {
    for await (const item of items) {
      if (++entries % 1_000 === 0 && Date.now() - saidAt > PROGRESS_MS) {
        saidAt = Date.now();
        process.stderr.write(`\r${entries.toLocaleString('en')} events\u001b[K`);
      }
      yield item;
    }
  } finally {
    process.stderr.write('\r\u001b[K');
  }
}

const opLine = ({ seq, at, op }: PlannedOp): string =>
  `#${seq} ${clock(at)} ${op.action} ${op.table} ${op.key}${op.value === undefined ? '' : ` ${canonical(op.value)}`}\n`;

function jsonOf({ header, runs, entries, ops, seq, torn, divergences, digest, engine, kernel }: Replayed): unknown {
  return {
    header,
    runs,
    entries,
    ops,
    seq,
    torn,
    divergences,
    digest,
    stats: engine.stats(),
    kernelDifferences: differences(engine, kernel),
  };
}

function summaryOf({ header, runs, entries, ops, seq, torn, divergences, digest, engine, kernel }: Replayed): string {
  const { inFlight, transitions, machines } = engine.stats();
  const unlike = differences(engine, kernel);
  const facts: [string, Cell][] = [
    [
      'Recording',
      `node ${header.node}, axoneme ${header.build}, kernel ${header.kernel}, begun ${timestamp(header.startedAt)}`,
    ],
    ['Runs', `${runs}${runs > 1 ? '; what follows is of the last one' : ''}`],
    ['Events', `${entries}, up to #${seq}${torn ? '; the last line was torn by a crash and is left out' : ''}`],
    [
      'Result',
      `${transitions} transitions, ${ops} ops, ${inFlight} of them without a result yet; ${machines} machines live`,
    ],
    [
      'Divergences',
      divergences.length === 0 ? 'none: this build plans what the recording one did' : String(divergences.length),
    ],
    [
      'Kernel',
      unlike.length === 0
        ? 'the simulated kernel has every row that the engine believes in'
        : [`differs in ${unlike.length} rows`, ...unlike],
    ],
    ['Digest', `sha256:${digest.total}`],
  ];
  const tables = Object.entries(digest.tables).map(([table, { rows, sha256 }]) => [table, rows, sha256]);
  return `${formatFacts(facts)}\n${formatTable(['TABLE', 'ROWS', 'SHA256'], tables)}`;
}

async function serve(socketPath: string, { header, engine, kernel }: Replayed): Promise<void> {
  const server = await startDebugServer(
    { socketPath, port: 0 },
    {
      inspector: engine,
      kernelRows: async (table) =>
        isKernelTable(table) ? kernel.dump(table, engine.actual(table)) : engine.actual(table),
      agent: {
        nodeName: header.node,
        version: header.build,
        build: header.config.datapathBuild,
        startedAt: header.startedAt,
        features: { kernel: header.kernel, has: {}, missing: ['this is a replay: there is no datapath'] },
      },
    },
  );
  process.stderr.write(`serving on ${socketPath}; ask with: cli/axoneme status --socket ${socketPath}\n`);
  await new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
  });
  await server.close();
}
