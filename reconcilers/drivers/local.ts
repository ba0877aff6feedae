/**
 * Tables whose world is the store itself: the engine writes a row there when its op is done, and that is all.
 * In the kernel lane, for their order among its rows.
 */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';

export class LocalDriver implements Driver {
  readonly tables = ['local.endpoints', 'local.policies'] as const;
  readonly lane = 'kernel';

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map(() => undefined);
  }
}
