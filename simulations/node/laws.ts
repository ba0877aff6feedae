/**
 * The laws that a node keeps, whatever happens to it; each violation is a sentence.
 *
 * - At any time: no row of a running pod is taken away (hitless); CNI is answered when it is true (answer); what an agent leaves
 *   in the kernel when it dies has a stored endpoint that the next one knows it by (remembered).
 *   What something in the kernel names is not taken away (referents).
 * - After faults stop: desired = actual = kernel (convergent); every running pod has all its rows, and nothing else is
 *   there (no lost, no leaked row); looking again, or starting again, changes nothing (minimal).
 * - At the end: another engine makes the same plans of the same log (deterministic).
 */
import type { LogEntry } from '../../cluster/events.ts';
import type { Op } from '../../datapath/driver.ts';
import { poolKey } from '../../machines/ip-pool.ts';
import { kinds } from '../../machines/kinds.ts';
import { Engine } from '../../reconcilers/engine.ts';
import type { Store } from '../../state/store.ts';
import { canonical, type LocalEndpointRow, type TableName, tableNames } from '../../state/tables.ts';
import { kernelTables, type SimulatedKernel } from '../kernel.ts';
import { differences } from '../replay.ts';
import { plannedLine } from './agent.ts';
import { checkNeighbors, isFar } from './neighbors.ts';
import { checkPolicies } from './policies.ts';
import type { Answered, Sandbox } from './runtime.ts';
import { checkServices } from './services.ts';
import { facts, type World } from './world.ts';

const bare = (address: string): string => address.slice(0, address.indexOf('/'));

/** What the kernel must have for a running pod, by what CNI answered; an oracle that does not ask the machines. */
export function rowsOfSandbox({ state, result, netns }: Sandbox): ReadonlySet<string> {
  if (state !== 'running' || !result) return noRows;
  const known = rowsOfAnswer.get(result);
  if (known) return known;
  const { link, ips } = result;
  const rows = new Set([
    `links ${link}`,
    `attachments ${link}/ingress`,
    `attachments ${link}/egress`,
    ...ips.flatMap(({ address }) => [
      `addrs ${netns}|eth0|${address}`,
      `routes ${netns}|${address.includes(':') ? '::/0' : '0.0.0.0/0'}`,
      `routes ${address}`,
      `bpf.ipcache ${address}`,
      `bpf.endpoints ${bare(address)}`,
    ]),
  ]);
  rowsOfAnswer.set(result, rows);
  return rows;
}

const noRows: ReadonlySet<string> = new Set();
/** An answer is of one sandbox, and asked about at each op. */
const rowsOfAnswer = new WeakMap<object, ReadonlySet<string>>();

/** Hitless: looked at right before an op is applied. */
export function checkOp(op: Op, sandboxes: readonly Sandbox[], kernel: SimulatedKernel): string | undefined {
  if (op.action !== 'delete') return undefined;
  const row = `${op.table} ${op.key}`;
  const owner = sandboxes.find((sandbox) => rowsOfSandbox(sandbox).has(row) && kernel.hasNamespace(sandbox.netns));
  return owner && `hitless: delete of ${row}, which running pod ${owner.pod} needs`;
}

/** Remembered: looked at right before an op is applied. */
export function checkRemembered(
  { table, key, action, value, before }: Op,
  kernel: SimulatedKernel,
  store: Store,
): string[] {
  if (action === 'put') {
    if (table !== 'links' || !key.startsWith('lxc')) return [];
    const isKnown = store
      .rows()
      .some((row) => row.table === 'local.endpoints' && (row.value as LocalEndpointRow).link === key);
    return isKnown ? [] : [`remembered: put of links ${key} before its endpoint is stored`];
  }
  if (table !== 'local.endpoints' || value !== undefined) return [];
  const { link, ipv4, ipv6 } = before as LocalEndpointRow;
  const there = [
    ...(kernel.dump('links').has(link) ? [`links ${link}`] : []),
    ...[ipv4, ipv6].filter((address) => kernel.dump('bpf.endpoints').has(address)).map((one) => `bpf.endpoints ${one}`),
  ];
  return there.map((row) => `remembered: endpoint ${key} is forgotten while ${row} is in the kernel`);
}

/** True answers: an ADD is answered when every row is there, a DEL when none is left. */
export function checkAnswer(sandbox: Sandbox, answered: Answered, kernel: SimulatedKernel): string[] {
  const dumps = new Map<TableName, ReadonlyMap<string, unknown>>();
  const isThere = (row: string): boolean => {
    const table = row.slice(0, row.indexOf(' ')) as TableName;
    const dump = dumps.get(table) ?? kernel.dump(table);
    dumps.set(table, dump);
    return dump.has(row.slice(table.length + 1));
  };
  const rows = rowsOfSandbox({ ...sandbox, state: 'running' });
  const wrong = [...rows].filter((row) => isThere(row) !== (answered === 'added'));
  const what = answered === 'added' ? 'missing' : 'left';
  return wrong.map((row) => `answer: ${sandbox.containerId} is ${answered}, but ${row} is ${what}`);
}

/** After `world.settle()`. */
export async function checkSettled(world: World): Promise<string[]> {
  const { agent, kernel } = world;
  if (!agent) return ['no agent'];
  const found = checkKernel(agent.engine, kernel, world.runtime.sandboxes);
  found.push(...checkPolicies(world.api, kernel, world.runtime.sandboxes, facts));
  found.push(
    ...checkServices(world.api, kernel),
    ...checkNeighbors(world.api, kernel, world.facts),
    ...checkPods(world),
    ...checkMemory(agent.engine),
    ...(await checkMinimal(world)),
  );
  return found;
}

/** Desired, actual and what is there are the same; running pods have all their rows. */
export function checkKernel(engine: Engine, kernel: SimulatedKernel, sandboxes: readonly Sandbox[]): string[] {
  const found = differences(engine, kernel).map((difference) => `convergent: ${difference}`);
  const wanted = new Map(
    kernelTables.flatMap((table) => engine.rows(table)).map((row) => [`${row.table} ${row.key}`, row.desired]),
  );
  const there = new Map([...kernel.rows()].map(({ table, key, value }) => [`${table} ${key}`, value]));
  for (const [row, value] of there) {
    if (row.startsWith('sysctls ')) continue;
    if (wanted.get(row) === undefined) found.push(`leaked: ${row} is in the kernel and wanted by nobody`);
    else if (canonical(wanted.get(row)) !== canonical(value))
      found.push(`convergent: ${row} is ${canonical(value)}, wanted ${canonical(wanted.get(row))}`);
  }
  for (const row of sandboxes.flatMap((sandbox) => [...rowsOfSandbox(sandbox)]))
    if (!there.has(row)) found.push(`lost: ${row}, which a running pod needs`);
  return found;
}

function checkPods({ runtime, api, agent, store }: World): string[] {
  const found: string[] = [];
  const running = runtime.sandboxes.length;
  const addresses = runtime.sandboxes.flatMap(({ result }) => result?.ips.map(({ address }) => address) ?? []);
  if (new Set(addresses).size !== addresses.length)
    found.push(`lost: an address was given twice: ${addresses.join(', ')}`);
  const endpoints = agent?.engine.machines().filter(({ kind }) => kind === 'endpoint').length;
  if (endpoints !== running) found.push(`leaked: ${endpoints} endpoint machines for ${running} pods`);
  const stored = store.rows().filter(({ table }) => table === 'local.endpoints').length;
  if (stored !== running) found.push(`leaked: ${stored} stored endpoints for ${running} pods`);
  const ids = store.endpointIds();
  if (ids.size !== running)
    found.push(`leaked: ${ids.size} endpoint ids for ${running} pods: ${[...ids.keys()].join(', ')}`);
  const announced = [...api.of('ciliumendpoints').keys()]
    .filter((key) => !isFar(key))
    .sort()
    .join();
  const pods = [...api.of('pods').keys()].sort().join();
  if (announced !== pods) found.push(`leaked: CiliumEndpoints are ${announced || 'none'}, pods are ${pods || 'none'}`);
  return found;
}

/** The engine remembers nothing of what is gone. */
function checkMemory(engine: Engine): string[] {
  const empty = tableNames
    .flatMap((table) => engine.rows(table))
    .filter(({ desired, actual }) => desired === undefined && actual === undefined)
    .map(
      ({ table, key }) => `leaked: the engine still knows ${table} ${key}, which nobody wants and which is not there`,
    );
  const pool = engine.machine(poolKey)?.context as { held: object } | undefined;
  const endpoints = engine.machines().filter(({ kind }) => kind === 'endpoint').length;
  const held = Object.keys(pool?.held ?? {}).length;
  return held === endpoints ? empty : [...empty, `leaked: ${held} addresses are held by ${endpoints} endpoints`];
}

async function checkMinimal(world: World): Promise<string[]> {
  const before = world.ops;
  await world.agent?.resync();
  await world.agent?.idle();
  if (world.ops !== before) return [`minimal: a resync of a settled node made ${world.ops - before} ops`];
  await world.restart();
  if (!(await world.settle())) return [`convergent: not quiet after a restart: ${world.unrest()}`];
  const made = world.agent?.planned.filter((line) => kernelTables.some((table) => line.includes(` ${table} `))) ?? [];
  return made.map((line) => `minimal: a restart of a settled node made the op ${line}`);
}

/** Each life's log, through a fresh engine. */
export function checkDeterministic(world: World): string[] {
  return world.agents.flatMap(({ log, planned }, life) => {
    const again = plansOf(log);
    const at = again.findIndex((line, i) => line !== planned[i]);
    if (at < 0 && again.length === planned.length) return [];
    const first = at < 0 ? Math.min(again.length, planned.length) : at;
    return [
      `deterministic: life ${life + 1} planned ${planned[first] ?? 'nothing'}, its log says ${again[first] ?? 'nothing'}`,
    ];
  });
}

function plansOf(log: readonly LogEntry[]): string[] {
  const engine = new Engine(kinds, { rows: () => [], write: () => {} });
  const planned: string[] = [];
  engine.ops$.subscribe((op) => {
    if (op.doneAt === undefined) planned.push(plannedLine(op));
  });
  for (const entry of log) engine.step(entry);
  return planned;
}
