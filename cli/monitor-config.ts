/** Section `monitor` of the agent's configuration: of which packets the programs tell, beside drops and policy verdicts. */
import { type TraceFlag, traceFlags } from '../datapath/runtime-config.ts';

export interface MonitorConfig {
  /**
   * none: every packet at every point; low: every packet where it leaves us; medium: new connections, TCP flags that a direction of a
   * connection has not had, and once an interval; maximum: as much as can be, today as medium; off:
   * none at all, drops and policy verdicts are still told of.
   */
  aggregation: 'none' | 'low' | 'medium' | 'maximum' | 'off';
  /** Seconds between traces of a direction of a connection that goes on. */
  intervalS: number;
  /** TCP flags that bring a trace when a direction has them first. */
  flags: TraceFlag[];
}

export const monitorDefaults: MonitorConfig = { aggregation: 'medium', intervalS: 5, flags: ['syn', 'fin', 'rst'] };

/** By `section.field`. */
export const monitorChoices: Readonly<Record<string, readonly string[]>> = {
  'monitor.aggregation': ['none', 'low', 'medium', 'maximum', 'off'],
};

/** It is kept in 16 bits, which the clock wraps around. */
const INTERVAL_MAX_S = 32_767;

/** Empty: nothing is wrong. */
export function monitorTrouble({ intervalS, flags }: MonitorConfig): string {
  if (!Number.isInteger(intervalS) || intervalS < 1 || intervalS > INTERVAL_MAX_S)
    return `field monitor.intervalS is ${intervalS}, expected seconds from 1 to ${INTERVAL_MAX_S}`;
  const wrong = (flags as unknown[]).find((flag) => !Object.hasOwn(traceFlags, String(flag)));
  if (wrong === undefined) return '';
  return `field monitor.flags has ${JSON.stringify(wrong)}, expected some of ${Object.keys(traceFlags).join(', ')}`;
}
