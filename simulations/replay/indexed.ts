/** A recording that is played from the nearest checkpoint, and leaves checkpoints where it has been. */
import { type ReadingPlace, readBatches } from '../../cluster/recording-reader.ts';
import type { Checkpoint, Checkpoints } from './checkpoints.ts';
import type { Watcher } from './moment.ts';
import { Player } from './player.ts';

export interface Played {
  player: Player;
  /** Events before the moment, of all runs. */
  index: number;
}

export interface IndexedOptions {
  lenient?: boolean;
  watchers?: readonly Watcher[];
  /** Told of each place where reading may go on, and how many events are before it. */
  onPlace?: (place: ReadingPlace, index: number) => void;
}

export async function playIndexed(
  recording: string,
  checkpoints: Checkpoints,
  from: Checkpoint | undefined,
  { lenient = false, watchers = [], onPlace }: IndexedOptions = {},
): Promise<Played> {
  const resumed = from && checkpoints.resume(from, watchers);
  const player = resumed?.player ?? new Player(watchers);
  let index = resumed?.index ?? 0;
  for await (const { items, next } of readBatches(recording, { lenient, ...(resumed && { from: resumed.place }) })) {
    for (const item of items) {
      if (player.take(item) === 'stop') return { player, index };
      if (item.kind === 'entry') index++;
    }
    checkpoints.offer(player, next, index);
    if (next) onPlace?.(next, index);
  }
  return { player, index };
}
