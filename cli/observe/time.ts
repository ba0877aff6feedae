/** Points in time as people write them. */
import type { Timestamp } from '../../observe/hubble/types.ts';
import { UsageError } from '../usage.ts';

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `5m` and `1h30m` are that long ago; anything else is a date as RFC 3339 has it. */
export function parseTime(flag: string, text: string, now: number): Timestamp {
  const parts = /^(\d+(ms|[smhd]))+$/.test(text) ? [...text.matchAll(/(\d+)(ms|[smhd])/g)] : [];
  const ago = parts.reduce((sum, [, number, unit = '']) => sum + Number(number) * (UNITS[unit] ?? 0), 0);
  const ms = parts.length > 0 ? now - ago : Date.parse(text);
  if (Number.isNaN(ms))
    throw new UsageError(
      `flag --${flag} is ${JSON.stringify(text)}; expected a duration such as 5m, or a time such as 2026-11-23T05:00:00Z`,
    );
  return { seconds: Math.floor(ms / 1000), nanos: Math.floor(ms % 1000) * 1_000_000 };
}
