/**
 * Verdicts over time: when did this connection begin to work, and when did it stop?
 *
 * - The packet model judges the rows that the kernel had, after each event that changed any. A verdict that changed is traced to the one
 *   row that made the difference, from there to the op, the machine and the event at the root.
 * - Only this node's part is judged: what another node's policy says of its own pods is not in this node's recording.
 */
import type { RecordingHeader } from '../../cluster/recording-format.ts';
import type { Engine } from '../../reconcilers/engine.ts';
import type { OpRecord, Transition } from '../../reconcilers/inspect.ts';
import { protocols, tcpFlags } from '../packet-model/packet.ts';
import { type ModelConfig, ModelTables, type Outcome, type Packet, PacketModel, usualConfig } from '../packet-model.ts';
import type { Flow } from '../policy-oracle/flow.ts';
import { briefOf, type EventBrief } from './account.ts';
import { Ends } from './ends.ts';
import { type ChangedRow, changedRows, type Moment, type Position, type Watcher } from './moment.ts';

export interface FlowVerdict {
  /** `partly`: some of the backends that chance may choose. `absent`: there is no such end, and nothing to ask. */
  verdict: 'allowed' | 'denied' | 'partly' | 'absent';
  /** Why not; empty when allowed. */
  reason: string;
}

export interface FlowChange extends FlowVerdict, Position {
  at: number;
  because: Because;
}

export interface Because {
  /** The event at the root, as far as it is known: that of a row which was there before the recording is not. */
  event: { seq: number; at: number; type: string; subject: string; file?: string; line?: number };
  /** The event at which the row changed: its result came from the kernel, or a dump showed it. */
  seen: EventBrief;
  row?: ChangedRow & { before?: unknown };
  /** Who wanted it so, and by which transition. */
  machine?: string;
  transition?: Pick<Transition, 'from' | 'to' | 'on'>;
}

export interface FlowHistory {
  flow: Flow;
  changes: FlowChange[];
  /** All of them; the first CHANGES_KEPT are listed. */
  count: number;
}

const CHANGES_KEPT = 10_000;
const CHOICES_MAX = 64;
const SPORT = 40_000;
const NUMBERS: Readonly<Record<string, number>> = { TCP: protocols.tcp, UDP: protocols.udp, SCTP: protocols.sctp };
/** Places of events at the root, by number: as many are remembered as may lie between an event and the results of its ops. */
const PLACES_KEPT = 4_096;

export class FlowWatch implements Watcher {
  readonly histories: FlowHistory[];
  readonly #last: (FlowVerdict | undefined)[];
  #ends = new Ends('');
  /** Rows as they are, and as they were a moment ago. */
  #tables = new ModelTables();
  #lagging = new ModelTables();
  #laggingEnds = this.#ends;
  readonly #values = new Map<string, unknown>();
  #config: ModelConfig = usualConfig;
  readonly #places = new Map<number, { file: string; line: number }>();
  readonly #transitions = new Map<number, Transition[]>();
  /** Ops whose results came in the present moment. */
  readonly #done = new Map<string, OpRecord>();

  constructor(flows: readonly Flow[]) {
    this.histories = flows.map((flow) => ({ flow, changes: [], count: 0 }));
    this.#last = flows.map(() => undefined);
  }

  /** The kernel keeps what it has over a restart of the agent; a new engine learns of it by its first dumps. */
  onRun(run: number, header: RecordingHeader, engine: Engine): void {
    engine.ops$.subscribe((op) => {
      if (op.doneAt !== undefined) this.#done.set(`${op.table} ${op.key}`, op);
    });
    engine.transitions$.subscribe((transition) => {
      const known = this.#transitions.get(transition.cause.seq);
      if (known) known.push(transition);
      else this.#transitions.set(transition.cause.seq, [transition]);
    });
    this.#transitions.clear();
    const { ipv4, ipv6, policy, services } = header.config;
    const allowLocalhost = policy?.allowLocalhost ?? true;
    this.#config = { ...usualConfig, ipv4, ipv6, allowLocalhost, services: (services?.mode ?? 'off') !== 'off' };
    this.#places.clear();
    if (run > 1) return;
    this.#ends = new Ends(header.node);
    this.#laggingEnds = new Ends(header.node);
  }

  onMoment(moment: Moment): undefined {
    const { seq, file, line, entry } = moment;
    this.#places.set(seq, { file, line });
    for (const kept of [this.#places, this.#transitions])
      if (kept.size > PLACES_KEPT) kept.delete(kept.keys().next().value as number);
    const changed = changedRows(moment);
    let isNews = this.#ends.hear(entry.event);
    for (const row of changed) {
      const isEnd = this.#ends.row(row);
      isNews = put(this.#tables, row) || isEnd || isNews;
    }
    if (isNews) this.#judgeAll(moment, changed);
    this.#laggingEnds.hear(entry.event);
    for (const row of changed) {
      put(this.#lagging, row);
      this.#laggingEnds.row(row);
      if (row.value === undefined) this.#values.delete(`${row.table} ${row.key}`);
      else this.#values.set(`${row.table} ${row.key}`, row.value);
    }
    this.#done.clear();
  }

  #judgeAll(moment: Moment, changed: readonly ChangedRow[]): void {
    const different: number[] = [];
    const verdicts = this.histories.map(({ flow }, i) => {
      const verdict = this.#judge(flow, this.#tables, this.#ends);
      const last = this.#last[i];
      if (!isSame(verdict, last)) different.push(i);
      return verdict;
    });
    if (different.length === 0) return;
    const culprits = this.#culprits(different, verdicts, changed);
    for (const i of different) {
      const verdict = verdicts[i] as FlowVerdict;
      const history = this.histories[i] as FlowHistory;
      this.#last[i] = verdict;
      if (history.count++ >= CHANGES_KEPT) continue;
      const because = this.#because(moment, culprits.get(i));
      history.changes.push({ run: moment.run, seq: moment.seq, at: moment.entry.at, ...verdict, because });
    }
  }

  /** Of the rows that changed in one moment the one after which each flow has its new verdict for good. */
  #culprits(
    flows: readonly number[],
    verdicts: readonly FlowVerdict[],
    changed: readonly ChangedRow[],
  ): Map<number, ChangedRow> {
    const found = new Map<number, ChangedRow>();
    for (const row of changed) {
      put(this.#lagging, row);
      this.#laggingEnds.row(row);
      for (const i of flows) {
        const now = this.#judge((this.histories[i] as FlowHistory).flow, this.#lagging, this.#laggingEnds);
        const isNow = isSame(now, verdicts[i]);
        if (!isNow) found.delete(i);
        else if (!found.has(i)) found.set(i, row);
      }
    }
    return found;
  }

  #because(moment: Moment, row: ChangedRow | undefined): Because {
    const seen = briefOf(moment);
    const { seq, at, type, subject, file, line } = seen;
    if (!row) return { event: { seq, at, type, subject, file, line }, seen };
    const before = this.#values.get(`${row.table} ${row.key}`);
    const op = this.#done.get(`${row.table} ${row.key}`);
    const cause = op?.cause ?? { seq, at, type, subject };
    const event = {
      seq: cause.seq,
      at: cause.at,
      type: cause.type,
      subject: cause.subject,
      ...this.#places.get(cause.seq),
    };
    const machine = op?.owners[0];
    const transition = this.#transitions.get(cause.seq)?.findLast((one) => one.machine === machine);
    return {
      event,
      seen,
      row: { ...row, ...(before !== undefined && { before }) },
      ...(machine !== undefined && { machine }),
      ...(transition && { transition: { from: transition.from, to: transition.to, on: transition.on } }),
    };
  }

  #judge({ from, to, protocol, port }: Flow, tables: ModelTables, ends: Ends): FlowVerdict {
    const [source, target] = [ends.find(from), ends.find(to)];
    if (!source) return { verdict: 'absent', reason: `there is no ${textOfEnd(from)}` };
    if (!target) return { verdict: 'absent', reason: `there is no ${textOfEnd(to)}` };
    const pair = pairOf(source.addresses, target.addresses);
    if (!pair)
      return { verdict: 'absent', reason: `${textOfEnd(from)} and ${textOfEnd(to)} have no addresses of one family` };
    const place = ends.placeOf(source, pair.from, pair.to);
    if (!place) return { verdict: 'absent', reason: `${textOfEnd(from)} and ${textOfEnd(to)} are not on this node` };
    const packet = packetOf(pair, protocol, port);
    const outcomes: Outcome[] = [];
    let choices = 1;
    for (let choice = 0; choice < Math.min(choices, CHOICES_MAX); choice++) {
      const model = new PacketModel(tables, this.#config, (among) => {
        choices = among.length;
        return among[choice];
      });
      outcomes.push(model.process(place, packet));
    }
    return verdictOf(outcomes, ends);
  }
}

function verdictOf(outcomes: readonly Outcome[], ends: Ends): FlowVerdict {
  const reasons = new Set<string>();
  let passed = 0;
  for (const outcome of outcomes) {
    if (outcome.verdict === 'drop' || outcome.verdict === 'refuse') reasons.add(outcome.reason);
    else if (outcome.to !== 'endpoint' && ends.isNobodys(outcome.packet.to))
      reasons.add(`${outcome.packet.to} is of this node's pods, and no pod has it`);
    else passed++;
  }
  const reason = [...reasons].sort().join(', ');
  if (reasons.size === 0) return { verdict: 'allowed', reason: '' };
  return passed > 0
    ? { verdict: 'partly', reason: `${passed} of ${outcomes.length} ways: ${reason}` }
    : { verdict: 'denied', reason };
}

function pairOf(from: readonly string[], to: readonly string[]): { from: string; to: string } | undefined {
  for (const target of to) {
    const source = from.find((one) => one.includes(':') === target.includes(':'));
    if (source !== undefined) return { from: source, to: target };
  }
  return undefined;
}

function packetOf({ from, to }: { from: string; to: string }, protocol: string, port: number): Packet {
  const proto = NUMBERS[protocol] ?? (to.includes(':') ? protocols.icmpv6 : protocols.icmp);
  const isTcp = proto === protocols.tcp;
  const hasPorts = NUMBERS[protocol] !== undefined;
  return {
    ...{ from, to, proto, sport: hasPorts ? SPORT : 1, dport: hasPorts ? port : 0, ttl: 64 },
    ...(isTcp && { tcpFlags: tcpFlags.syn }),
    ...(!hasPorts && { icmpType: port, icmpCode: 0 }),
  };
}

export const textOfEnd = (end: Flow['from']): string =>
  'pod' in end ? `pod ${end.pod}` : 'ip' in end ? end.ip : end.entity;

/** Why something is absent may change as its ends come and go; that is no news. */
const isSame = (a: FlowVerdict, b: FlowVerdict | undefined): boolean =>
  a.verdict === b?.verdict && (a.reason === b.reason || a.verdict === 'absent');

const MODEL = /^bpf\./;

/** False: the row says nothing of packets. */
function put(tables: ModelTables, { table, key, value }: ChangedRow): boolean {
  if (!MODEL.test(table)) return false;
  if (value === undefined) tables.delete(table, key);
  else tables.put({ table, key, value });
  return true;
}
