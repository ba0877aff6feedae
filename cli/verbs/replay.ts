/** `axoneme replay RECORDING`: runs a recorded log through this build's engine, and tells what comes of it. */
import { endpointForms } from '../../observe/endpoints.ts';
import type { Watcher } from '../../simulations/replay/moment.ts';
import { play, type Source, type Until } from '../../simulations/replay/source.ts';
import { wantsJson } from '../output/print.ts';
import {
  type Flags,
  Mistake,
  type Question,
  questionOf,
  sourceFrom,
  spec,
  untilFrom,
  withServe,
} from '../replay/options.ts';
import { Progress } from '../replay/progress.ts';
import { parseArguments } from '../usage.ts';

export const summary = 'run a recording through the engine again';
export const usage = `axoneme replay RECORDING… [QUESTION] [--at MOMENT | --until MOMENT] [--config FILE] [--lenient] [-o json]

RECORDING is a file or a directory that \`agent --record\` or \`up --record\` wrote (plain, gzip or zstd), or files with what
\`kubectl get RESOURCE -A -o json [--watch --output-watch-events]\` wrote on any cluster, one file for each resource or all in one.
No root, no kernel and no network are needed.

Questions (without one: a summary with the digest of each table)
  --table TABLE      the rows of a table, one JSON object a line
  --machine KEY      a machine: state, context, rows, latest transitions
  --endpoint ENDPOINT  an endpoint with its policy: NAMESPACE/POD, ${endpointForms.join(', ')}
  --follow MACHINE   transitions of a machine with the event behind each; * stands for anything, as in 'endpoint/*'
  --break-on EXPR    the first event after which EXPR is true that was false before it (see below)
  --flows FLOWS.json when connections began to work and when they stopped, and by what; flows as \`policy verdict\` takes them
  --ops              each op that is planned, one a line
  --digest           only the digest of the rows; that of a live agent is in \`axoneme status -o json\`
  --diff OTHER       which rows differ at the end, and where the first difference arose; OTHER is another recording, a checkout or
                     installation of another build (a directory with cli/axoneme in it), or a JSON file with another configuration
  --check            hold every law of the design against every moment: hitless, leakless, right, minimal, deterministic, convergent
  --serve [PORT|X.sock]  serve the debug endpoint and its page over the recording, with a time slider, until interrupted

Which moment, which world
  --at MOMENT        answer for the moment right after this event; the first pass over a big recording leaves checkpoints, the next is quick
  --until MOMENT     stop there; for questions about the way and not about the end
  --node NODE        of objects from kubectl: whose control plane to play; not needed where they name only one
  --config FILE      play what happened to an agent configured otherwise: JSON like "config" in the recording's header, only what differs.
                     The simulated kernel then answers, instead of the recorded one
  --lenient          leave out lines that are not as they should be, say so, and go on
  --cache DIR        where checkpoints are kept; empty: none (default: beside the recording, else in the user's cache)
MOMENT is the number of an event (1234; of another run than the last 2:1234), 2026-11-23T10:00:00Z, or 10:00:00.250 of the recording's day.

EXPR   machine(KEY) = ready                      a machine's state; machine(KEY).FIELD is of its context
       row(bpf.ipcache 10.0.1.7/32).identity = 4  a row's field; row(TABLE KEY) = none: it is not there
       count(bpf.backends) < 3                   rows of a table
       event.type = kube.deleted, event.subject ~ "pods/demo/*"
       with and, or, not, ( ), = != < <= > >=, and ~ for patterns; a KEY with * means any that matches

The exit code is 1 when this build plans differently from the one that recorded, when --check finds a law broken, when --diff finds a
difference, or when --break-on finds nothing.`;

export async function run(args: string[]): Promise<number> {
  try {
    return await answered(args);
  } catch (error) {
    if (!(error instanceof Mistake)) throw error;
    process.stderr.write(`axoneme replay: ${error.message}\n`);
    return 2;
  }
}

async function answered(args: string[]): Promise<number> {
  const { flags, positionals } = parseArguments(withServe(args), spec);
  const isJson = wantsJson(flags.output);
  const question = questionOf(flags);
  const source = sourceFrom(positionals, flags);
  const flag = flags.at === undefined ? 'until' : 'at';
  const text = flags[flag];
  const until = text === undefined ? undefined : await untilFrom(flag, text, source);
  return answer(question, { source, flags, isJson, until, ...stage(source, question, flags) });
}

/** What an answer is made of. */
export interface Asked {
  source: Source;
  flags: Flags;
  isJson: boolean;
  until: Until | undefined;
  /** Plays, with a progress line for people. */
  played(watchers: readonly Watcher[], until?: Until): ReturnType<typeof play>;
}

function stage(source: Source, question: Question, flags: Flags): Pick<Asked, 'played'> {
  const talks = question === 'ops' || question === 'follow' || flags.output !== undefined;
  return {
    async played(watchers, until) {
      const progress = process.stderr.isTTY && !talks ? new Progress(source.paths) : undefined;
      try {
        return await play(source, progress ? [...watchers, progress] : watchers, until);
      } finally {
        progress?.end();
      }
    },
  };
}

/** Each answer is loaded when it is asked for. */
async function answer(question: Question, asked: Asked): Promise<number> {
  switch (question) {
    case 'summary':
    case 'digest':
    case 'table':
    case 'machine':
    case 'endpoint':
      return (await import('../replay/moment.ts')).answerMoment(question, asked);
    case 'ops':
    case 'follow':
    case 'break-on':
      return (await import('../replay/way.ts')).answerWay(question, asked);
    case 'flows':
      return (await import('../replay/flows.ts')).answerFlows(asked);
    case 'check':
      return (await import('../replay/check.ts')).answerCheck(asked);
    case 'diff':
      return (await import('../replay/diff.ts')).answerDiff(asked);
    case 'serve':
      return (await import('../replay/serve.ts')).answerServe(asked);
  }
}
