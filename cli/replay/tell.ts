/** What a replay must say besides its answer, on standard error; and the exit code that follows from it. */
import type { Replayed } from '../../simulations/replay.ts';

const SHOWN = 20;

export function tell(
  {
    divergences,
    divergenceCount,
    faults,
    faultCount,
    runs,
  }: Pick<Replayed, 'divergences' | 'divergenceCount' | 'faults' | 'faultCount' | 'runs'>,
  shown = SHOWN,
): number {
  const say = (text: string): boolean => process.stderr.write(`${text}\n`);
  for (const { file, line, message } of faults.slice(0, SHOWN)) say(`${file}:${line}: ${message}; left out`);
  if (faultCount > SHOWN) say(`… and ${faultCount - SHOWN} more lines that are not as they should be`);
  for (const { run, seq, message } of divergences.slice(0, shown))
    say(`${runs > 1 ? `${run}:` : ''}#${seq}: ${message}`);
  if (divergenceCount > shown) say(`… and ${divergenceCount - shown} more divergences from the build that recorded`);
  return divergenceCount > 0 ? 1 : 0;
}
