/** Section `recording` of the agent's configuration: how its files grow, and what becomes of them. */
import { type RecordingLimits, recordingDefaults } from '../cluster/recording.ts';
import type { Packing } from '../cluster/recording-files.ts';

export interface RecordingConfig extends RecordingLimits {
  /** Of files that are over; the one being written is plain. */
  packing: Packing;
}

export const recordingConfigDefaults: RecordingConfig = { ...recordingDefaults, packing: 'zstd' };

const PACKINGS: readonly string[] = ['none', 'gzip', 'zstd'];
const BYTES_MIN = 64 << 10;
const AGE_MIN_MS = 1_000;

/** Empty: nothing. */
export function recordingTrouble({ packing, partBytesMax, partAgeMaxMs, totalBytesMax }: RecordingConfig): string {
  if (!PACKINGS.includes(packing))
    return `field recording.packing is ${JSON.stringify(packing)}, expected one of ${PACKINGS.join(', ')}`;
  const numbers: [string, number, number][] = [
    ['partBytesMax', partBytesMax, BYTES_MIN],
    ['partAgeMaxMs', partAgeMaxMs, AGE_MIN_MS],
    ['totalBytesMax', totalBytesMax, partBytesMax],
  ];
  for (const [field, value, min] of numbers)
    if (!Number.isSafeInteger(value) || value < min)
      return `field recording.${field} is ${value}, expected a whole number from ${min}`;
  return '';
}
