/** `replay --serve`: the debug endpoint and its page over a recording, with a slider for time. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDebugServer } from '../../observe/debug-server.ts';
import { isKernelTable } from '../../simulations/kernel.ts';
import { replayRoutes, Viewer } from '../../simulations/replay/serve-routes.ts';
import { Timeline } from '../../simulations/replay/timeline.ts';
import type { Asked } from '../verbs/replay.ts';
import { checkpointsFor } from './moment.ts';
import { SERVE_ANYWHERE } from './options.ts';
import { Progress } from './progress.ts';

/** Where the page is served when no port is given. */
const PORT_USUAL = 9_879;

export async function answerServe(asked: Asked): Promise<number> {
  const { source, flags, until } = asked;
  const progress = process.stderr.isTTY ? new Progress(source.paths) : undefined;
  const timeline = await Timeline.of(source, checkpointsFor(asked), progress ? [progress] : []);
  progress?.end();
  const run = until && 'seq' in until ? (until.run ?? timeline.runs.length) : 0;
  const index = until && 'seq' in until ? timeline.indexOf(run, until.seq) : timeline.events;
  const viewer = await Viewer.at(timeline, index ?? timeline.events);
  if (until && 'time' in until) await viewer.move(until);
  const { inspector } = viewer;
  const temporary = mkdtempSync(join(tmpdir(), 'axoneme-replay-'));
  const given = flags.serve ?? SERVE_ANYWHERE;
  const isPort = /^\d+$/.test(given);
  const port = isPort ? Number(given) || PORT_USUAL : 0;
  const socketPath = isPort ? join(temporary, 'debug.sock') : given;
  const { header } = viewer.seat;
  const server = await startDebugServer(
    { socketPath, port, more: replayRoutes(viewer) },
    {
      inspector,
      kernelRows: async (table) => {
        const { engine, kernel } = viewer.seat;
        return isKernelTable(table) ? kernel.dump(table, engine.actual(table)) : engine.actual(table);
      },
      agent: {
        ...{
          nodeName: header.node,
          version: header.build,
          build: header.config.datapathBuild,
          startedAt: header.startedAt,
        },
        features: {
          kernel: header.kernel,
          has: header.features ?? {},
          missing: ['this is a replay: there is no datapath'],
        },
      },
    },
  );
  process.stderr.write(
    `${timeline.events} events in ${timeline.runs.length} runs; at #${viewer.seat.seq}\n${port ? `page and endpoint: http://127.0.0.1:${port}/\n` : ''}ask with: cli/axoneme status --socket ${socketPath}\nmove with: curl --unix-socket ${socketPath} 'http://replay/at?seq=N'\n`,
  );
  await new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, resolve);
  });
  await server.close();
  rmSync(temporary, { recursive: true, force: true });
  return 0;
}
