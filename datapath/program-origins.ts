/** Which pinned program a kernel id is: of this build, or of earlier ones that may still be attached. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { openPinnedProgram } from '../native/index.ts';

export interface Origin {
  program: string;
  build: string;
}

/** Pins keep programs alive, so an id found here is never another's. */
export function programOrigins(programsFolder: string): Map<number, Origin> {
  const origins = new Map<number, Origin>();
  for (const build of readdirSync(programsFolder)) {
    for (const name of readdirSync(join(programsFolder, build))) {
      const program = openPinnedProgram(join(programsFolder, build, name));
      origins.set(program.info.id, { program: name, build });
      program.close();
    }
  }
  return origins;
}
