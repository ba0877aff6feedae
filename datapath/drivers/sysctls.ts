/**
 * Table `sysctls`: files under /proc/sys, as the namespace sees them.
 *
 * - A delete leaves the value as it is: what it was before is not known to be better.
 * - A key has dots for slashes and, as sysctl(8) has it, slashes for dots within a link's name.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { withNetns } from '../../native/index.ts';
import type { SysctlRow } from '../../state/tables.ts';
import type { Driver, Op, OpResult } from '../driver.ts';
import { attempt, attemptAll } from '../errors.ts';

export class SysctlsDriver implements Driver {
  readonly tables = ['sysctls'] as const;
  readonly lane = 'kernel';
  readonly #netns: string | undefined;

  constructor(netns?: string) {
    this.#netns = netns;
  }

  apply(ops: readonly Op[]): OpResult[] {
    return attemptAll(ops, () => this.#inside(() => ops.map(applyOne)));
  }

  /** Only of the rows asked for: any of the thousands of settings may be a row. */
  dump(_table: string, known: ReadonlyMap<string, unknown>): Map<string, SysctlRow> {
    return this.#inside(() => {
      const found = new Map<string, SysctlRow>();
      for (const key of known.keys()) {
        try {
          found.set(key, { value: read(pathOf(key)) });
        } catch {
          // The setting went with its link.
        }
      }
      return found;
    });
  }

  #inside<T>(work: () => T): T {
    return this.#netns === undefined ? work() : withNetns(this.#netns, work);
  }
}

function applyOne(op: Op): OpResult {
  return attempt(op, () => {
    if (op.action === 'delete') return;
    const path = pathOf(op.key);
    const { value } = op.value as SysctlRow;
    if (read(path) !== value) writeFileSync(path, value);
  });
}

const read = (path: string): string => readFileSync(path, 'utf8').trim().replace(/\s+/g, ' ');

function pathOf(key: string): string {
  const parts = key.split('.').map((part) => part.replaceAll('/', '.'));
  if (parts.some((part) => part === '' || part === '.' || part === '..' || part.includes('\0'))) {
    throw new TypeError(`${JSON.stringify(key)} is no sysctl, expected a path like net.ipv4.ip_forward`);
  }
  return `/proc/sys/${parts.join('/')}`;
}
