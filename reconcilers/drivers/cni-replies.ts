/** Table `cni.replies`: a row answers the CNI request of that id, if its caller still waits. */
import type { Driver, Op, OpResult } from '../../datapath/driver.ts';
import type { CniReplyRow } from '../../state/tables.ts';

export class CniRepliesDriver implements Driver {
  readonly tables = ['cni.replies'] as const;
  readonly lane = 'edge';
  readonly #waiting = new Map<string, (reply: CniReplyRow) => void>();

  /** The answer to a request; call before the request's event enters the queue. */
  wait(requestId: string): Promise<CniReplyRow> {
    return new Promise((resolve) => this.#waiting.set(requestId, resolve));
  }

  apply(ops: readonly Op[]): OpResult[] {
    for (const { key, action, value } of ops) {
      if (action === 'delete') continue;
      this.#waiting.get(key)?.(value as CniReplyRow);
      this.#waiting.delete(key);
    }
    return ops.map(() => undefined);
  }
}
