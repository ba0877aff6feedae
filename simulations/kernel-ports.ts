/**
 * Health check node ports of a simulated node: sockets that listen, so they end with the process that opened them.
 *
 * - A port that somebody else listens on refuses; that may pass.
 */
import type { Driver, Op, OpResult } from '../datapath/driver.ts';
import { failure } from './kernel.ts';

export class HealthCheckPorts implements Driver {
  readonly tables = ['health.checks'] as const;
  readonly lane = 'edge';
  readonly answers = new Map<string, unknown>();
  /** Ports that somebody else has. */
  readonly #taken: ReadonlySet<string>;

  constructor(taken: ReadonlySet<string> = new Set()) {
    this.#taken = taken;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return ops.map((op) => {
      if (op.action === 'delete') this.answers.delete(op.key);
      else if (this.#taken.has(op.key)) return failure(op, 'EADDRINUSE');
      else this.answers.set(op.key, op.value);
      return undefined;
    });
  }
}
