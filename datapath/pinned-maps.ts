/**
 * Maps that outlive the agent: compared with what the object wants, and replaced by maps with the same entries.
 *
 * - A map of another capacity is replaced by a copy; of another layout by one whose entries are translated, field by field by their names:
 *   connections, numbers of services and identities stay, whichever build comes after which.
 * - Counters and events of another layout start anew, and so does what programs learnt if nobody knows how it lies there, with a notice. Of
 *   the agent's maps that is an error: rows of the agent would be missing while programs run.
 * - A replacement is pinned beside the old map and takes its name by rename: there is always one of them. Attached programs keep the
 *   map they were loaded with until they are replaced; what they learn until then comes after (handover.ts).
 * - A start that was cut short anywhere is done again.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BpfMap, type Btf, type BtfMap, isErrno, openPinnedMap } from '../native/index.ts';
import { keepForHandover } from './handover.ts';
import { isSameLayout, layoutChanges } from './layout.ts';
import { isAnew, LayoutTexts, type MapLayout, wantedLayout } from './layout-texts.ts';
import { copyEntries, mapTranslation } from './map-copies.ts';
import { namedMaps } from './runtime-config.ts';

/** Of builds before layouts were kept as texts. */
const LAYOUT_HASHES = 'layouts';
const NEXT = '-next';

/** What becomes of one map. `same`: used again or made new. */
export type Fate = 'same' | 'resized' | 'migrated' | 'emptied';

export interface MapPlan {
  readonly name: string;
  readonly fate: Fate;
  readonly pinPath: string;
  /** Where the loader pins it: beside the old one while that is to be replaced. */
  readonly loadPath: string;
  readonly notice: string | undefined;
  /** Filled by programs. */
  readonly isLearnt: boolean;
  /** As it lies there now, and as it will. */
  readonly before: MapLayout | undefined;
  readonly wanted: MapLayout | undefined;
}

/** Of maps that only programs fill the agent misses nothing. */
const isLearnt = ({ name, type }: BtfMap): boolean =>
  type === 'lru_hash' || type === 'percpu_array' || type === 'ringbuf' || name === 'sock_peers';

const KEYED = ['hash', 'lru_hash', 'lpm_trie'];

export class PinnedMaps {
  readonly #folder: string;
  readonly #btf: Btf;
  readonly #beforeStep: () => void;

  /** `beforeStep` is called before anything is changed, each time: for tests that die there. */
  constructor(folder: string, btf: Btf, beforeStep: () => void = () => {}) {
    this.#folder = folder;
    this.#btf = btf;
    this.#beforeStep = beforeStep;
  }

  /** Throws when nobody knows how a map of the agent's lies there. Removes what an earlier replacement left unfinished. */
  plan(capacities: Readonly<Record<string, number>>): MapPlan[] {
    const texts = new LayoutTexts(this.#folder);
    try {
      this.#tidy(texts);
      return namedMaps(this.#btf).map((map) => this.#planOf(map, capacities[map.name] ?? map.maxEntries, texts));
    } finally {
      texts.close();
    }
  }

  /** Of a start that was cut short: what has its name already has its layout too; what has not is made again. */
  #tidy(texts: LayoutTexts): void {
    if (!existsSync(this.#folder)) return;
    for (const { name } of namedMaps(this.#btf)) {
      const next = `${name}${NEXT}`;
      const layout = texts.get(next);
      if (!layout) continue;
      if (!existsSync(join(this.#folder, next))) texts.put(name, layout);
      this.#beforeStep();
      texts.delete(next);
    }
    for (const pin of readdirSync(this.#folder)) if (pin.endsWith(NEXT)) rmSync(join(this.#folder, pin));
  }

  #planOf(map: BtfMap, capacity: number, texts: LayoutTexts): MapPlan {
    const { name } = map;
    const pinPath = join(this.#folder, name);
    const wanted = wantedLayout(this.#btf, map);
    const plan = { name, pinPath, isLearnt: isLearnt(map), wanted };
    const pinned = openIfPinned(pinPath);
    if (!pinned) return { ...plan, fate: 'same', notice: undefined, loadPath: pinPath, before: undefined };
    try {
      const before = texts.of(name, pinned);
      const { fate, notice } = this.#fateOf(map, pinned, { before, wanted, capacity, pinPath });
      return { ...plan, fate, notice, before, loadPath: fate === 'same' ? pinPath : `${pinPath}${NEXT}` };
    } finally {
      pinned.close();
    }
  }

  #fateOf(
    map: BtfMap,
    pinned: BpfMap,
    { before, wanted, capacity, pinPath }: Pick<MapPlan, 'before' | 'wanted' | 'pinPath'> & { capacity: number },
  ): { fate: Fate; notice: string | undefined } {
    const { info } = pinned;
    const differences = (['type', 'keySize', 'valueSize', 'flags'] as const)
      .filter((property) => info[property] !== map[property])
      .map((property) => `${property} is ${info[property]}, wanted ${map[property]}`);
    if (before && wanted) {
      const changes = [...named('key', before, wanted), ...named('value', before, wanted)];
      if (changes.length > 0) differences.push(...changes);
    }
    if (differences.length > 0) {
      const text = `map ${map.name} pinned at ${pinPath} has another layout: ${differences.join('; ')}`;
      if (before && wanted && isTranslatable(map, info.type)) {
        const entries = pinned.info.type === 'lru_hash' ? 0 : pinned.scan().count;
        if (entries > capacity) throw new Error(`${text}; it holds ${entries} entries, and would hold ${capacity}`);
        return { fate: 'migrated', notice: text };
      }
      if (!isLearnt(map)) throw new Error(`${text}. It holds rows of the agent: drain the node and remove the pin`);
      return { fate: 'emptied', notice: `${text}; it starts empty` };
    }
    if (info.maxEntries === capacity) return { fate: 'same', notice: undefined };
    const notice = `map ${map.name} changes its capacity from ${info.maxEntries} to ${capacity}`;
    if (map.type === 'ringbuf') return { fate: 'emptied', notice };
    const entries = isLearnt(map) ? 0 : pinned.scan().count;
    if (entries > capacity) throw new Error(`${notice}, but holds ${entries} entries`);
    return { fate: 'resized', notice };
  }

  /** After the object was loaded: copies, renames, and remembers the layouts. Returns what an operator should know. */
  finish(plans: readonly MapPlan[]): string[] {
    const texts = new LayoutTexts(this.#folder);
    try {
      const notices = plans.flatMap((plan) => this.#replace(plan, texts) ?? []);
      for (const { name, wanted } of plans) if (wanted && !texts.get(name)) texts.put(name, wanted);
      rmSync(join(this.#folder, LAYOUT_HASHES), { force: true });
      return notices;
    } finally {
      texts.close();
    }
  }

  #replace(plan: MapPlan, texts: LayoutTexts): string | undefined {
    const { name, fate, pinPath, loadPath, before, wanted, isLearnt: learnt } = plan;
    if (fate === 'same') return undefined;
    const startedAt = performance.now();
    let count = 0;
    if (fate !== 'emptied') {
      const [source, target] = [openPinnedMap(pinPath), openPinnedMap(loadPath)];
      try {
        const isOther = fate === 'migrated' && before !== undefined && wanted !== undefined;
        this.#beforeStep();
        count = copyEntries(source, target, isOther ? mapTranslation(before, wanted) : undefined);
        this.#beforeStep();
        if (learnt) keepForHandover(this.#folder, name, source, before ?? wanted, texts);
      } finally {
        source.close();
        target.close();
      }
    }
    this.#beforeStep();
    if (wanted) texts.put(`${name}${NEXT}`, wanted);
    this.#beforeStep();
    renameSync(loadPath, pinPath);
    this.#beforeStep();
    if (wanted) texts.put(name, wanted);
    this.#beforeStep();
    texts.delete(`${name}${NEXT}`);
    if (fate !== 'migrated') return plan.notice;
    return `${plan.notice}; ${count} entries were translated in ${Math.round(performance.now() - startedAt)} ms`;
  }
}

const isTranslatable = (map: BtfMap, type: string): boolean =>
  !isAnew(map.type) && (map.type === type || (KEYED.includes(map.type) && KEYED.includes(type)));

function named(part: 'key' | 'value', before: MapLayout, wanted: MapLayout): string[] {
  if (isSameLayout(before[part], wanted[part])) return [];
  return layoutChanges(before[part], wanted[part]).map((change) => `${part} ${change}`);
}

function openIfPinned(path: string): BpfMap | undefined {
  try {
    return openPinnedMap(path);
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}
