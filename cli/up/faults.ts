/** Faults of the network between embedded nodes as people write them: `loss=1%,delay=5ms,jitter=1ms`; pure. */
import { UsageError } from '../usage.ts';

export interface Faults {
  /** Of all packets, at random. */
  lossPercent?: number;
  delayMs?: number;
  /** More or less than the delay. */
  jitterMs?: number;
}

export const FAULTS_EXPECTED =
  'loss=PERCENT%, delay=TIME, jitter=TIME joined by commas, such as loss=1%,delay=5ms; or none';

const MILLISECONDS = { us: 0.001, ms: 1, s: 1_000 } as const;
const DELAY_MAX_MS = 60_000;

export function parseFaults(text: string, flag = 'underlay'): Faults {
  const faults: Faults = {};
  const bad = (part: string): UsageError =>
    new UsageError(`flag --${flag} has ${JSON.stringify(part)}, expected ${FAULTS_EXPECTED}`);
  if (text === 'none') return faults;
  for (const part of text.split(',')) {
    const [, name, digits = '', unit = ''] = /^(loss|delay|jitter)=(\d+(?:\.\d+)?)(%|us|ms|s)$/.exec(part) ?? [];
    const value = Number(digits);
    if (name === 'loss') {
      if (unit !== '%' || value > 100) throw bad(part);
      faults.lossPercent = value;
    } else if (name === 'delay' || name === 'jitter') {
      if (unit === '%') throw bad(part);
      const ms = value * MILLISECONDS[unit as keyof typeof MILLISECONDS];
      if (ms > DELAY_MAX_MS) throw bad(part);
      faults[name === 'delay' ? 'delayMs' : 'jitterMs'] = ms;
    } else throw bad(part);
  }
  if (faults.jitterMs !== undefined && faults.delayMs === undefined) throw bad('jitter without delay');
  return faults;
}

export function faultsText({ lossPercent, delayMs, jitterMs }: Faults): string {
  return [
    ...(lossPercent === undefined ? [] : [`loss=${lossPercent}%`]),
    ...(delayMs === undefined ? [] : [`delay=${delayMs}ms`]),
    ...(jitterMs === undefined ? [] : [`jitter=${jitterMs}ms`]),
  ].join(',');
}

export const lossOnly = ({ delayMs, jitterMs }: Faults): boolean => delayMs === undefined && jitterMs === undefined;
