/**
 * Between two builds: programs of the one before run until they are replaced, and what they learn goes to the maps of the one after.
 *
 * - A map that was replaced stays pinned as `NAME-old-N`, with its layout, until no program of another build is.
 * - Only what is not there yet is added: what a new program knows is newer.
 */
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { type BpfMap, openPinnedMap } from '../native/index.ts';
import { LayoutTexts, type MapLayout } from './layout-texts.ts';
import { addMissing, mapTranslation } from './map-copies.ts';

const OLD = /^(.+)-old-(\d+)$/;

/** Before the map loses its name. */
export function keepForHandover(
  folder: string,
  name: string,
  map: BpfMap,
  layout: MapLayout | undefined,
  texts: LayoutTexts,
): void {
  if (!layout) return;
  let number = 1;
  while (existsSync(join(folder, `${name}-old-${number}`))) number++;
  const pin = `${name}-old-${number}`;
  texts.put(pin, layout);
  map.pin(join(folder, pin));
}

export interface HandoverPlace {
  mapsFolder: string;
  programsFolder: string;
  build: string;
}

/** Adds what programs of other builds have learnt meanwhile; ends when none is pinned any more. How many entries were added. */
export function handOver({ mapsFolder, programsFolder, build }: HandoverPlace): number {
  const olds = readdirSync(mapsFolder).flatMap((pin) => {
    const [, name] = OLD.exec(pin) ?? [];
    return name ? [{ pin, name }] : [];
  });
  if (olds.length === 0) return 0;
  const texts = new LayoutTexts(mapsFolder);
  try {
    let added = 0;
    for (const { pin, name } of olds) added += addFrom(mapsFolder, pin, name, texts);
    if (readdirSync(programsFolder).every((other) => other === build)) {
      for (const { pin } of olds) {
        rmSync(join(mapsFolder, pin), { force: true });
        texts.delete(pin);
      }
    }
    return added;
  } finally {
    texts.close();
  }
}

function addFrom(folder: string, pin: string, name: string, texts: LayoutTexts): number {
  const [from, to] = [texts.get(pin), texts.get(name)];
  if (!from || !to || !existsSync(join(folder, name))) return 0;
  const [source, target] = [openPinnedMap(join(folder, pin)), openPinnedMap(join(folder, name))];
  try {
    return addMissing(source, target, mapTranslation(from, to));
  } finally {
    source.close();
    target.close();
  }
}
