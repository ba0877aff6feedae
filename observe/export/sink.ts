/** Where flows go beside the ring: a file, or a server of somebody's. */
import type { Flow } from '../hubble/types.ts';

export interface Sink {
  /** All of the batch, or a rejection: then the same batch comes again. */
  send(batch: readonly Flow[]): Promise<void>;
  close(): Promise<void>;
}
