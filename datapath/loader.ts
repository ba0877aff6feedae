/**
 * The programs and maps of a node, loaded once and pinned, so that they outlive the agent.
 *
 * - Programs of a build are pinned under `programs/<build>`; a restart with the same build loads nothing anew.
 * - Nothing is detached here, neither on load nor on close: what is attached runs on until its attachment is put.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { join } from 'node:path';
import {
  type BpfMap,
  type BpfProgram,
  type Btf,
  btfOfObject,
  mountBpffs,
  openMapById,
  openObject,
  openPinnedMap,
  openPinnedProgram,
  setRlimitMemlock,
} from '../native/index.ts';
import { isAtLeast } from './features.ts';
import { handOver } from './handover.ts';
import { type MapPlan, PinnedMaps } from './pinned-maps.ts';
import { type DatapathConfig, namedMaps, POLICY_ENTRIES, type Runtime, runtimeOf } from './runtime-config.ts';

const OBJECTS = join(import.meta.dirname, '../bpf/build');
const BPFFS = '/sys/fs/bpf';
const STALE = '-stale';
const NEXT = '-next';

export const objectPath = (name: string): string => join(OBJECTS, `${name}.o`);

/** An object beside the first, on the same maps; `config` it has from the first. */
export interface ObjectPart {
  readonly path: string;
  /** Bytes of its other variables, by name. */
  readonly rodata?: Readonly<Record<string, Uint8Array>>;
  /** Only these programs. Default: all. */
  readonly programs?: readonly string[];
}

export interface Loaded {
  readonly btf: Btf;
  readonly runtime: Runtime;
  readonly maps: ReadonlyMap<string, BpfMap>;
  readonly programs: ReadonlyMap<string, BpfProgram>;
  /** What an operator should know of the load: maps that were resized, translated or start empty. */
  readonly notices: readonly string[];
  /** To be called around the replacement of attached programs, and as long as others of theirs may be attached: see handover.ts. */
  handOver(): number;
  close(): void;
}

export const linksFolder = (pinRoot: string): string => join(pinRoot, 'links');
export const cgroupLinksFolder = (pinRoot: string): string => join(pinRoot, 'cgroup-links');
export const programsFolder = (pinRoot: string): string => join(pinRoot, 'programs');
export const xdpLinksFolder = (pinRoot: string): string => join(pinRoot, 'xdp-links');
const mapsFolder = (pinRoot: string): string => join(pinRoot, 'maps');

/** Every map is one of the first object's; the other parts are loaded on the same maps, and are of the same build. */
export function loadDatapath(
  config: DatapathConfig,
  hz: number,
  path = objectPath('datapath'),
  parts: readonly ObjectPart[] = [],
): Loaded {
  const { pinRoot } = config;
  if (pinRoot.includes('.')) throw new TypeError(`config pinRoot is ${pinRoot}: names on a bpffs have no dots`);
  if (!pinRoot.startsWith(`${BPFFS}/`))
    throw new TypeError(`config pinRoot is ${pinRoot}: expected a path below ${BPFFS}`);
  // Later kernels charge maps to the cgroup, and refuse the call where CAP_SYS_RESOURCE is missing.
  if (!isAtLeast(release(), '5.11')) setRlimitMemlock();
  mountBpffs(BPFFS);
  for (const folder of [mapsFolder, linksFolder, programsFolder]) mkdirSync(folder(pinRoot), { recursive: true });

  const btf = btfOfObject(path);
  const runtime = runtimeOf(config, readFileSync(path), btf, hz, parts.flatMap(traitsOf));
  const pinned = new PinnedMaps(mapsFolder(pinRoot), btf);
  const plans = pinned.plan(runtime.capacities);
  const folder = join(programsFolder(pinRoot), runtime.build);
  let notices: readonly string[] = [];
  if (!isUsable(folder, plans)) {
    load([{ path }, ...parts], runtime, plans, folder);
    notices = pinned.finish(plans);
  }
  const maps = new Map(plans.map(({ name, pinPath }) => [name, openPinnedMap(pinPath)]));
  const programs = new Map(readdirSync(folder).map((name) => [name, openPinnedProgram(join(folder, name))]));
  return {
    btf,
    runtime,
    maps,
    programs,
    notices,
    handOver: () =>
      handOver({ mapsFolder: mapsFolder(pinRoot), programsFolder: programsFolder(pinRoot), build: runtime.build }),
    close() {
      for (const handle of [...maps.values(), ...programs.values()]) handle.close();
    },
  };
}

/** Are the programs of this build there, and do they work on the maps that are pinned now? */
function isUsable(folder: string, plans: readonly MapPlan[]): boolean {
  if (!existsSync(folder)) return false;
  if (plans.some(({ fate, pinPath }) => fate !== 'same' || !existsSync(pinPath))) return false;
  const pinnedIds = new Set(plans.map(({ pinPath }) => idOf(pinPath)));
  return readdirSync(folder).every((name) => {
    const program = openPinnedProgram(join(folder, name));
    const strangers = program.info.mapIds.filter((id) => !pinnedIds.has(id) && !isInternal(id));
    program.close();
    return strangers.length === 0;
  });
}

function idOf(pinPath: string): number {
  const map = openPinnedMap(pinPath);
  map.close();
  return map.info.id;
}

/** `.rodata` and the like, which each load has of its own. */
function isInternal(id: number): boolean {
  const map = openMapById(id);
  map.close();
  return map.info.name.includes('.');
}

/** What makes one part another build. */
function traitsOf({ path, rodata = {}, programs = [] }: ObjectPart): Uint8Array[] {
  const variables = Object.keys(rodata).sort();
  const names = Buffer.from(JSON.stringify([variables, programs]));
  return [readFileSync(path), names, ...variables.flatMap((name) => rodata[name] ?? [])];
}

function load(parts: readonly ObjectPart[], runtime: Runtime, plans: readonly MapPlan[], folder: string): void {
  const next = `${folder}${NEXT}`;
  rmSync(next, { recursive: true, force: true });
  for (const part of parts) loadPart(part, runtime, plans, next);
  // Programs of this very build on maps that are gone: what is attached of them must not be taken for this load.
  if (existsSync(folder)) {
    rmSync(`${folder}${STALE}`, { recursive: true, force: true });
    renameSync(folder, `${folder}${STALE}`);
  }
  renameSync(next, folder);
}

/** The first part makes the maps that are missing, at their pins; the others find them there. */
function loadPart(
  { path, rodata, programs }: ObjectPart,
  runtime: Runtime,
  plans: readonly MapPlan[],
  folder: string,
): void {
  const { capacities } = runtime;
  const innerMaxEntries = capacities[POLICY_ENTRIES];
  const known = new Set(namedMaps(btfOfObject(path)).map(({ name }) => name));
  const maps = Object.fromEntries(
    plans
      .filter(({ name }) => known.has(name))
      .map(({ name, loadPath }) => {
        const maxEntries = capacities[name];
        const inner = name === 'policy' && innerMaxEntries !== undefined ? { innerMaxEntries } : {};
        return [name, { pinPath: loadPath, ...(maxEntries !== undefined && { maxEntries }), ...inner }];
      }),
  );
  const object = openObject(path, {
    rodata: { config: runtime.rodata, ...rodata },
    maps,
    ...(programs && { programs }),
  });
  try {
    object.load();
    const wanted = object.programs().filter(({ name }) => programs?.includes(name) ?? true);
    for (const { name } of wanted) object.program(name).pin(join(folder, name));
  } finally {
    object.close();
  }
}
