/** Writes `deploy/crds/*.yaml`, one file per kind, from the schemas here: `node cluster/crds/generate.ts`. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { stringify } from 'yaml';
import { crdObjects } from './index.ts';

export const crdDirectory = new URL('../../deploy/crds/', import.meta.url);

/** File name and content of each. */
export function crdFiles(): Map<string, string> {
  const header = '# Written by cluster/crds/generate.ts: change the schema there.\n';
  return new Map(
    crdObjects().map((object) => [
      `${String((object.spec.names as { plural: string }).plural)}.yaml`,
      header + stringify(object, { lineWidth: 0, aliasDuplicateObjects: false }),
    ]),
  );
}

if (import.meta.main) {
  mkdirSync(crdDirectory, { recursive: true });
  for (const [name, text] of crdFiles()) writeFileSync(new URL(name, crdDirectory), text);
}
