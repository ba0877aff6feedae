/**
 * Is every prefix of a plan safe? Judged by the packet model, flow by flow.
 *
 * - hitless: a flow that passes before and after the plan passes after each op of it;
 * - leakless: a flow that is stopped before and after the plan is stopped after each op of it;
 * - right: where a flow ends up in between is where it may end up before or after; for a service's that is any backend of its sets;
 * - minimal: rows that are the same before and after have no op.
 */
import type { Op } from '../datapath/driver.ts';
import type { Step } from '../reconcilers/plan.ts';
import { backendKey, canonical } from '../state/tables.ts';
import { protocolNames } from './packet-model/services.ts';
import {
  type AnyRow,
  type ModelConfig,
  ModelTables,
  type Packet,
  PacketModel,
  type Place,
  usualConfig,
} from './packet-model.ts';

export interface Flow {
  place: Place;
  packet: Packet;
}

/** What may become of a flow: all that chance may choose. */
export interface Fate {
  passes: boolean;
  stops: boolean;
  /** Where it ends up, of what passes. */
  ends: ReadonlySet<string>;
  /** Backends that its frontend may choose from, whatever it would choose now. */
  members: ReadonlySet<string>;
}

const CHOICES_MAX = 64;

/** The first packet of a connection, for every choice there is. */
export function fateOf(tables: ModelTables, { place, packet }: Flow, config: ModelConfig = usualConfig): Fate {
  const fate = { passes: false, stops: false, ends: new Set<string>(), members: membersFor(tables, packet) };
  let choices = 1;
  for (let choice = 0; choice < Math.min(choices, CHOICES_MAX); choice++) {
    const model = new PacketModel(tables, config, (among) => {
      choices = among.length;
      return among[choice];
    });
    const outcome = model.process(place, packet);
    if (outcome.verdict === 'drop' || outcome.verdict === 'refuse') fate.stops = true;
    else {
      fate.passes = true;
      fate.ends.add(`${outcome.packet.to} ${outcome.packet.dport}`);
    }
  }
  return fate;
}

function membersFor(tables: ModelTables, { to, dport, proto }: Packet): Set<string> {
  const protocol = protocolNames[proto];
  const frontend = protocol && tables.frontends.get(backendKey({ address: to, port: dport, protocol }));
  const names = frontend
    ? [frontend.internalSet, frontend.externalSet].flatMap((set) => tables.sets.get(set)?.row.backends ?? [])
    : [];
  const rows = names.flatMap((name) => tables.backends.get(name)?.row ?? []);
  return new Set(rows.map(({ address, port }) => `${address} ${port}`));
}

export const describeFlow = ({ place, packet }: Flow): string =>
  `${place.program} ${place.link}: ${packet.from} ${packet.sport} → ${packet.to} ${packet.dport} proto ${packet.proto}`;

export const describeOp = ({ action, table, key, value }: Op): string =>
  `${action} ${table} ${key}${value === undefined ? '' : ` ${canonical(value)}`}`;

/** Each violation is a sentence; of a flow only its first. */
export function checkPrefixes(
  before: Iterable<AnyRow>,
  steps: readonly Step[],
  flows: readonly Flow[],
  config: ModelConfig = usualConfig,
): string[] {
  const rows = [...before];
  const ops = steps.flatMap((step) => step.ops);
  const fates = (tables: ModelTables): Fate[] => flows.map((flow) => fateOf(tables, flow, config));
  const tables = new ModelTables(rows);
  const first = fates(tables);
  const end = new ModelTables(rows);
  for (const op of ops) applyTo(end, op);
  const last = fates(end);
  const found: string[] = [];
  const judged = new Set<number>();
  ops.forEach((op, at) => {
    applyTo(tables, op);
    flows.forEach((flow, i) => {
      if (judged.has(i)) return;
      const wrong = compare(first[i] as Fate, fateOf(tables, flow, config), last[i] as Fate);
      if (!wrong) return;
      judged.add(i);
      found.push(`${wrong}: ${describeFlow(flow)} after op ${at + 1} of ${ops.length}, ${describeOp(op)}`);
    });
  });
  return [...found, ...checkMinimal(ops)];
}

export function applyTo(tables: ModelTables, { table, key, action, value }: Op): void {
  if (action === 'put') tables.put({ table, key, value });
  else tables.delete(table, key);
}

export function compare(before: Fate, now: Fate, after: Fate): string | undefined {
  if (!before.stops && !after.stops && now.stops) return 'hitless';
  if (!before.passes && !after.passes && now.passes) return 'leakless';
  const known = [before.ends, before.members, after.ends, after.members];
  for (const end of now.ends) if (!known.some((ends) => ends.has(end))) return `right (goes to ${end})`;
  return undefined;
}

function checkMinimal(ops: readonly Op[]): string[] {
  return ops
    .filter(({ value, before }) => canonical(value) === canonical(before))
    .map((op) => `minimal: ${describeOp(op)} changes nothing`);
}
