/** Exponential backoff as data: the machine counts attempts, a `timers` row wakes it. */
import type { Row } from '../state/tables.ts';

export interface Backoff {
  attempt: number;
  /** Wall-clock milliseconds of the next attempt. */
  dueMs: number;
  /** What failed last, for people. */
  reason: string;
}

const FIRST_DELAY_MS = 250;
const DELAY_MAX_MS = 60_000;

export const calm: Backoff = { attempt: 0, dueMs: 0, reason: '' };

export function failedAgain(backoff: Backoff, at: number, reason: string): Backoff {
  const delay = Math.min(FIRST_DELAY_MS * 2 ** backoff.attempt, DELAY_MAX_MS);
  return { attempt: backoff.attempt + 1, dueMs: at + delay, reason };
}

export function timerRow(machine: string, name: string, dueMs: number): Row {
  return { table: 'timers', key: `${machine}/${name}`, value: { dueMs } };
}

export const timerTopic = (machine: string, name: string): string => `timer/${machine}/${name}`;
