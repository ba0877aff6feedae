/** `axoneme monitor`: what the datapath does with packets, as it happens. */
import type { MonitorRecord } from '../../observe/monitor.ts';
import { noPositionals } from '../output/arguments.ts';
import { type Colours, coloursFor } from '../output/colours.ts';
import { clientFor, targetFlags, targetUsage } from '../output/debug-target.ts';
import { monitorLine } from '../output/monitor-line.ts';
import { print, wantsJson } from '../output/print.ts';
import { meant, parseArguments, UsageError, wholeNumber } from '../usage.ts';

export const summary = 'follow what the datapath does with packets';
export const usage = `axoneme monitor [--type TYPE[,TYPE…]] [--from ID] [--to ID] [--related-to ID] [--verbose] [-o json]

  --type TYPE       drop, trace, policy-verdict, trace-sock (sockets that are led to a service's backend)
  --from ID         packets that leave the endpoint of this number
  --to ID           packets that reach it
  --related-to ID   both
  --verbose         with the names of pods
${targetUsage}`;

const types = ['drop', 'trace', 'policy-verdict', 'trace-sock'] as const;
const ID_MAX = 65_535;

type Filter = (record: MonitorRecord) => boolean;

export async function run(args: string[]): Promise<number> {
  const spec = { ...targetFlags, type: 'TYPE', from: 'ID', to: 'ID', 'related-to': 'ID', verbose: true } as const;
  const { flags, positionals } = parseArguments(args, spec);
  noPositionals(positionals);
  const isJson = wantsJson(flags.output);
  const id = (flag: 'from' | 'to' | 'related-to'): number | undefined =>
    flags[flag] === undefined ? undefined : wholeNumber(flag, flags[flag], 0, ID_MAX);
  const filters = [typeFilter(flags.type), endpointFilter(id('from'), id('to'), id('related-to'))];
  const colours = coloursFor(process.stdout);
  const client = await clientFor(flags);
  for await (const line of client.follow<MonitorRecord>('/v1/monitor?follow')) {
    if ('dropped' in line) process.stderr.write(`… ${line.dropped} events were too fast to be shown\n`);
    else if (filters.every((passes) => passes(line))) {
      print(
        `${isJson ? JSON.stringify(line) : coloured(line, monitorLine(line, { names: flags.verbose === true }), colours)}\n`,
      );
    }
  }
  return 0;
}

function typeFilter(text: string | undefined): Filter {
  if (text === undefined) return () => true;
  const wanted = text.split(',');
  for (const type of wanted) {
    if (types.some((known) => known === type)) continue;
    throw new UsageError(`flag --type is ${JSON.stringify(type)}${meant(type, types)}; known are ${types.join(', ')}`);
  }
  return ({ type }) => wanted.includes(type);
}

/** By the ends of a packet, and by the endpoint that tells of it. */
function endpointFilter(from: number | undefined, to: number | undefined, either: number | undefined): Filter {
  if (from === undefined && to === undefined && either === undefined) return () => true;
  return ({ endpointId, direction, source, destination }) => {
    const isFrom = (id: number): boolean => source.endpointId === id || (endpointId === id && direction === 'egress');
    const isTo = (id: number): boolean =>
      destination.endpointId === id || (endpointId === id && direction === 'ingress');
    return (
      (from === undefined || isFrom(from)) &&
      (to === undefined || isTo(to)) &&
      (either === undefined || isFrom(either) || isTo(either))
    );
  };
}

function coloured({ type, subtype }: MonitorRecord, line: string, { red, yellow }: Colours): string {
  if (type === 'drop' || subtype === 'deny') return red(line);
  return subtype === 'audit' ? yellow(line) : line;
}
