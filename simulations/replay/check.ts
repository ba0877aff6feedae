/**
 * The invariants of the design, held against every moment of a replay.
 *
 * - hitless, leakless, right: after each op of each plan for the kernel, for the flows that the plan is about.
 * - minimal: no op puts what is there, or deletes what is not.
 * - deterministic: a second engine plans the same of the same events.
 * - convergent: where nothing is under way, kernel and engine have the same rows; looked at every so often, and at the end of each run.
 */
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import type { Op } from '../../datapath/driver.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { Step } from '../../reconcilers/plan.ts';
import { canonical, tables } from '../../state/tables.ts';
import { type ModelConfig, ModelTables, usualConfig } from '../packet-model.ts';
import { applyTo, compare, describeFlow, describeOp, type Fate, type Flow, fateOf } from '../prefix-check.ts';
import { differences } from '../replay.ts';
import { FlowsOfPlans } from './flows-of-plan.ts';
import { changedRows, type Moment, type Position, type Watcher } from './moment.ts';
import { noStore } from './player.ts';

export const laws = ['hitless', 'leakless', 'right', 'minimal', 'deterministic', 'convergent'] as const;
export type Law = (typeof laws)[number];

export interface Violation extends Position {
  law: Law;
  message: string;
}

export interface Checked {
  violations: Violation[];
  /** Of each law; the first VIOLATIONS_KEPT of all are listed. */
  counts: Record<Law, number>;
  /** What was looked at. */
  plans: number;
  ops: number;
  prefixes: number;
  flows: number;
  dumps: number;
}

const VIOLATIONS_KEPT = 200;
/** All rows of a big node are not compared more often than this. */
const DUMP_EVERY = 1_000;

export class Check implements Watcher {
  readonly result: Checked = {
    violations: [],
    counts: { hitless: 0, leakless: 0, right: 0, minimal: 0, deterministic: 0, convergent: 0 },
    ...{ plans: 0, ops: 0, prefixes: 0, flows: 0, dumps: 0 },
  };
  readonly #tables = new ModelTables();
  readonly #flows = new FlowsOfPlans();
  #config: ModelConfig = usualConfig;
  #twin: Engine | undefined;
  #last: Moment | undefined;
  #dumpedAt = 0;

  onRun(_run: number, header: RecordingHeader): void {
    this.end();
    const { ipv4, ipv6, policy, services } = header.config;
    const allowLocalhost = policy?.allowLocalhost ?? true;
    this.#config = { ...usualConfig, ipv4, ipv6, allowLocalhost, services: (services?.mode ?? 'off') !== 'off' };
    this.#twin = new Engine(kinds, noStore);
    this.#dumpedAt = 0;
  }

  onMoment(moment: Moment): undefined {
    this.#last = moment;
    this.#deterministic(moment);
    for (const row of changedRows(moment)) {
      this.#flows.row(row);
      if (row.value === undefined) this.#tables.delete(row.table, row.key);
      else this.#tables.put(row);
    }
    if (moment.steps.length > 0) this.#plan(moment);
    if (moment.seq - this.#dumpedAt >= DUMP_EVERY) this.#dump(moment);
  }

  /** Of a run; the last one is ended by whoever replays. */
  end(): void {
    if (this.#last) this.#dump(this.#last);
    this.#last = undefined;
  }

  #deterministic(moment: Moment): void {
    const again = this.#twin?.step(moment.entry) ?? [];
    const [one, two] = [linesOf(moment.steps), linesOf(again)];
    const at = one.findIndex((line, i) => line !== two[i]);
    if (one.length === two.length && at < 0) return;
    const i = at < 0 ? one.length : at;
    this.#note(
      moment,
      'deterministic',
      `one engine plans ${one[i] ?? 'nothing more'}, another ${two[i] ?? 'nothing more'}`,
    );
  }

  #dump(moment: Moment): void {
    const { engine, kernel } = moment;
    const { inFlight } = engine.stats();
    if (inFlight > 0) return;
    this.#dumpedAt = moment.seq;
    this.result.dumps++;
    for (const difference of differences(engine, kernel)) this.#note(moment, 'convergent', difference);
  }

  #plan(moment: Moment): void {
    const ops = moment.steps.flatMap((step) => step.ops);
    this.result.ops += ops.length;
    for (const op of ops)
      if (canonical(op.value) === canonical(op.before))
        this.#note(moment, 'minimal', `${describeOp(op)} changes nothing`);
    const kernel = ops.filter(({ table }) => tables[table].lane === 'kernel');
    if (kernel.length === 0) return;
    this.result.plans++;
    const flows = this.#flows.of(kernel);
    if (flows.length > 0) this.#prefixes(moment, kernel, flows);
  }

  #prefixes(moment: Moment, ops: readonly Op[], flows: readonly Flow[]): void {
    const pods = new Set(ops.flatMap(({ table, key }) => (table === 'bpf.endpoints' ? [key] : [])));
    const fateNow = (flow: Flow): Fate => this.#arrived(fateOf(this.#tables, flow, this.#config), pods);
    const fates = (): Fate[] => flows.map(fateNow);
    this.result.flows += flows.length;
    const first = fates();
    for (const op of ops) applyTo(this.#tables, op);
    const last = fates();
    for (const op of ops.toReversed()) applyTo(this.#tables, undone(op));
    const judged = new Set<number>();
    ops.forEach((op, at) => {
      applyTo(this.#tables, op);
      if (!op.table.startsWith('bpf.')) return;
      this.result.prefixes++;
      flows.forEach((flow, i) => {
        if (judged.has(i)) return;
        const wrong = compare(first[i] as Fate, fateNow(flow), last[i] as Fate);
        if (!wrong) return;
        judged.add(i);
        this.#note(
          moment,
          wrong.split(' ')[0] as Law,
          `${wrong}: ${describeFlow(flow)} after op ${at + 1} of ${ops.length}, ${describeOp(op)}`,
        );
      });
    });
    for (const op of ops.toReversed()) applyTo(this.#tables, undone(op));
  }

  /** What is sent on to a pod of this node that has no entry yet, or none any more, is dropped at that pod's link. */
  #arrived(fate: Fate, pods: ReadonlySet<string>): Fate {
    const isLost = (end: string): boolean => {
      const address = end.slice(0, end.indexOf(' '));
      return pods.has(address) && !this.#tables.endpoints.has(address);
    };
    if (![...fate.ends].some(isLost)) return fate;
    const ends = new Set([...fate.ends].filter((end) => !isLost(end)));
    return { ...fate, ends, stops: true, passes: ends.size > 0 };
  }

  #note({ run, seq }: Moment, law: Law, message: string): void {
    this.result.counts[law]++;
    if (this.result.violations.length < VIOLATIONS_KEPT) this.result.violations.push({ run, seq, law, message });
  }
}

const undone = ({ value, before, ...op }: Op): Op => ({
  ...op,
  action: before === undefined ? 'delete' : 'put',
  value: before,
  before: value,
});

const linesOf = (steps: readonly Step[]): string[] =>
  steps.flatMap(({ ops }) =>
    ops.map(
      ({ action, table, key, revision, value }) => `${action} ${table} ${key} r${revision} ${canonical(value) ?? ''}`,
    ),
  );
