/** `axoneme replay RECORDING`: runs a recorded log through this build's engine, and tells what comes of it. */
import { lastRunOf, type RecordingItem, readRecording } from '../../cluster/recording-reader.ts';
import { startDebugServer } from '../../observe/debug-server.ts';
import { isKernelTable } from '../../simulations/kernel.ts';
import { differences, type PlannedOp, type Replayed, replay } from '../../simulations/replay.ts';
import { canonical } from '../../state/tables.ts';
import { noPositionals, required } from '../output/arguments.ts';
import { clock, print, printJson, timestamp, wantsJson } from '../output/print.ts';
import { type Cell, formatFacts, formatTable } from '../output/table.ts';
import { parseArguments, UsageError, wholeNumber } from '../usage.ts';

export const summary = 'run a recording through the engine again';
export const usage = `axoneme replay RECORDING [--digest | --ops | -o json] [--until SEQ] [--serve SOCKET]

RECORDING is a file or a directory that \`agent --record\` or \`up --record\` wrote
  --digest        only the digest of the resulting rows; that of the live agent is in \`axoneme status -o json\`
  --ops           each op that is planned, one a line
  --until SEQ     stop after the event of this number, in the last run
  --serve SOCKET  then serve the debug endpoint over the result, until interrupted
The exit code is 1 when this build plans differently from the one that recorded.`;

const PROGRESS_MS = 250;

export async function run(args: string[]): Promise<number> {
  const spec = { digest: true, ops: true, until: 'SEQ', serve: 'SOCKET', output: 'FORMAT' } as const;
  const { flags, positionals } = parseArguments(args, spec);
  const [path, ...rest] = positionals;
  noPositionals(rest);
  const isJson = wantsJson(flags.output);
  if ([flags.digest, flags.ops, isJson || undefined].filter(Boolean).length > 1) {
    throw new UsageError('flags --digest, --ops and -o json exclude each other');
  }
  const until = flags.until === undefined ? undefined : wholeNumber('until', flags.until, 1, Number.MAX_SAFE_INTEGER);
  const recording = required('RECORDING', path);
  const items = readRecording(recording);
  const replayed = await replay(process.stderr.isTTY && !flags.ops ? withProgress(items) : items, {
    ...(until !== undefined && { until, untilOfRun: await lastRunOf(recording) }),
    ...(flags.ops && { onOp: (planned) => print(opLine(planned)) }),
  });
  if (isJson) printJson(jsonOf(replayed));
  else if (flags.digest) print(`${replayed.digest.total}\n`);
  else if (!flags.ops) print(summaryOf(replayed));
  for (const { seq, message } of replayed.divergences.slice(0, 20)) process.stderr.write(`#${seq}: ${message}\n`);
  if (flags.serve !== undefined) await serve(flags.serve, replayed);
  return replayed.divergences.length > 0 ? 1 : 0;
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
