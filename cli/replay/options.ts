/** What `axoneme replay` was asked: its flags, checked, and moments as people write them. */
import { readFileSync } from 'node:fs';
import type { AgentFacts } from '../../cluster/events.ts';
import { runsOf } from '../../cluster/recording-reader.ts';
import { type Source, sourceOf, type Until } from '../../simulations/replay/source.ts';
import { isTableName, tableNames } from '../../state/tables.ts';
import { required } from '../output/arguments.ts';
import { type Arguments, type FlagSpec, meant, UsageError } from '../usage.ts';

export const spec = {
  ...{
    digest: true,
    ops: true,
    table: 'TABLE',
    machine: 'KEY',
    endpoint: 'ENDPOINT',
    follow: 'MACHINE',
    'break-on': 'EXPR',
  },
  ...{
    diff: 'OTHER',
    check: true,
    flows: 'FLOWS.json',
    at: 'SEQ|TIME',
    until: 'SEQ|TIME',
    node: 'NODE',
    config: 'FILE',
  },
  ...{ lenient: true, serve: 'PORT|SOCKET', cache: 'DIR', output: 'FORMAT' },
} as const satisfies FlagSpec;
export type Flags = Arguments<typeof spec>['flags'];

/** A mistake in the value of a flag: told alone, since all of the usage would hide it. Exit code 2. */
export class Mistake extends Error {}

/** Each asks for another answer. */
export const questions = [
  'digest',
  'ops',
  'table',
  'machine',
  'endpoint',
  'follow',
  'break-on',
  'diff',
  'check',
  'flows',
  'serve',
] as const;
export type Question = (typeof questions)[number] | 'summary';

/** `--serve` may stand alone. */
export const SERVE_ANYWHERE = '0';
export function withServe(args: readonly string[]): string[] {
  return args.flatMap((arg, i) => {
    if (arg !== '--serve') return [arg];
    const next = args[i + 1];
    return next !== undefined && (/^\d+$/.test(next) || (next.includes('/') && next.endsWith('.sock')))
      ? [arg]
      : [arg, SERVE_ANYWHERE];
  });
}

export function questionOf(flags: Flags): Question {
  const asked = questions.filter((question) => flags[question] !== undefined);
  if (asked.length > 1)
    throw new UsageError(`flags ${asked.map((one) => `--${one}`).join(' and ')} exclude each other`);
  if (flags.table !== undefined && !isTableName(flags.table))
    throw new Mistake(
      `flag --table is ${flags.table}${meant(flags.table, tableNames)}; known are ${tableNames.join(', ')}`,
    );
  if (flags.at !== undefined && flags.until !== undefined)
    throw new UsageError('flags --at and --until exclude each other');
  return asked[0] ?? 'summary';
}

export function sourceFrom(positionals: readonly string[], flags: Flags): Source {
  const source = sourceOf([required('RECORDING', positionals[0]), ...positionals.slice(1)]);
  if (!source.isKubectl && positionals.length > 1)
    throw new UsageError(`unexpected argument ${positionals[1]}: one recording at a time; --diff compares two`);
  if (!source.isKubectl && flags.node !== undefined)
    throw new UsageError('flag --node is for objects from kubectl: a recording is of one node');
  return {
    ...source,
    ...(flags.node !== undefined && { node: flags.node }),
    ...(flags.lenient && { lenient: true }),
    ...(flags.config !== undefined && { config: configFrom(flags.config) }),
  };
}

const FACTS: readonly string[] = [
  ...['nodeName', 'clusterName', 'devices', 'ipv4', 'ipv6', 'masquerade', 'mtu', 'datapathBuild'],
  ...['services', 'policy', 'routing', 'encryption', 'health'],
];

/** Facts of the agent as the header of a recording has them; those that are not named stay as recorded. */
export function configFrom(path: string): Partial<AgentFacts> {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new Mistake(`flag --config ${path}: ${error instanceof Error ? error.message : error}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Mistake(`flag --config ${path}: expected a JSON object like "config" in the header of a recording`);
  const unknown = Object.keys(value).find((key) => !FACTS.includes(key));
  if (unknown !== undefined)
    throw new Mistake(
      `flag --config ${path}: there is no field ${unknown}${meant(unknown, FACTS)}; known are ${FACTS.join(', ')}`,
    );
  return value as Partial<AgentFacts>;
}

const FORMS =
  'the number of an event (1234, of another run than the last 2:1234), a time (2026-11-23T10:00:00Z), or a time of the recording’s day (10:00:00.250)';

export async function untilFrom(flag: 'at' | 'until', text: string, source: Source): Promise<Until> {
  const numbered = /^(?:(\d+):)?#?(\d+)$/.exec(text);
  if (numbered) {
    const [, run, seq] = numbered;
    return { seq: Number(seq), ...(run !== undefined && { run: Number(run) }) };
  }
  const time = Date.parse(text);
  if (/^\d{4}-/.test(text) && !Number.isNaN(time)) return { time };
  const clock = /^(\d{1,2}):(\d{2}):(\d{2})(?:\.(\d{1,3}))?Z?$/.exec(text);
  if (!clock || source.isKubectl) throw new Mistake(`flag --${flag} is ${JSON.stringify(text)}, expected ${FORMS}`);
  const begun = (await runsOf(source.paths[0] as string))[0]?.startedAt ?? 0;
  const [, hours, minutes, seconds, ms = ''] = clock;
  const ofDay = ((Number(hours) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000 + Number(ms.padEnd(3, '0'));
  const sameDay = Math.floor(begun / DAY_MS) * DAY_MS + ofDay;
  return { time: sameDay + 1_000 < begun ? sameDay + DAY_MS : sameDay };
}
const DAY_MS = 86_400_000;
