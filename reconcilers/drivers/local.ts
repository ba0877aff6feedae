/** Tables whose world is the store itself: the engine writes a row there when its op is done, and that is all. */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';

export class LocalDriver implements Driver {
  readonly tables = ['local.endpoints'] as const;
  readonly lane = 'edge';

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map(() => undefined);
  }
}
