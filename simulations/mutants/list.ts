/** Ways to break the project, each by one change of text; `mutants.test.ts` sees that the texts are there once. */
import { ofEngine } from './of-engine.ts';
import { ofSurroundings } from './of-surroundings.ts';

export interface Mutant {
  /** What it does, as a release engineer would say it. */
  name: string;
  file: string;
  find: string;
  replace: string;
}

export const mutants: readonly Mutant[] = [...ofEngine, ...ofSurroundings];
