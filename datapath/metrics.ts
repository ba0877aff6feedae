/** What the programs counted, and how full the maps are. */
import type { BpfMap, Btf } from '../native/index.ts';
import { Codecs } from './codec.ts';

const directions = ['ingress', 'egress'] as const;

export interface PacketCount {
  /** Code of `state/drop-reasons.ts`; 0 is forwarded. */
  reason: number;
  direction: (typeof directions)[number];
  packets: number;
  bytes: number;
}

export interface MapPressure {
  map: string;
  entries: number;
  capacity: number;
  /** entries / capacity */
  ratio: number;
}

/** Summed over CPUs; what was never counted is left out. Index: reason * 2 + direction. */
export function packetCounts(map: BpfMap, btf: Btf): PacketCount[] {
  const codec = new Codecs(btf).struct('metric');
  const { keys, values, count } = map.scan();
  const { valueBytes, valueSize } = map.info;
  const stride = (valueSize + 7) & ~7;
  const counts: PacketCount[] = [];
  for (let i = 0; i < count; i++) {
    const index = keys.readUInt32LE(4 * i);
    let packets = 0;
    let bytes = 0;
    for (let at = i * valueBytes; at < (i + 1) * valueBytes; at += stride) {
      const metric = codec.read(values, at) as { packets: bigint; bytes: bigint };
      packets += Number(metric.packets);
      bytes += Number(metric.bytes);
    }
    const reason = Math.floor(index / directions.length);
    if (packets > 0)
      counts.push({ reason, direction: directions[index % directions.length] as 'ingress', packets, bytes });
  }
  return counts;
}

/** REASON_EVENT_LOST of bpf/lib/drop-reasons.h. */
const EVENT_LOST = 255;

/** Events that found no room in the ring buffer, by processor: since the map was made. */
export function eventsLost(map: BpfMap): number[] {
  const stride = (map.info.valueSize + 7) & ~7;
  const lost: number[] = [];
  for (let direction = 0; direction < directions.length; direction++) {
    const key = Buffer.alloc(4);
    key.writeUInt32LE(EVENT_LOST * directions.length + direction);
    const value = map.get(key);
    for (let cpu = 0; value && (cpu + 1) * stride <= value.length; cpu++)
      lost[cpu] = (lost[cpu] ?? 0) + Number(value.readBigUInt64LE(cpu * stride));
  }
  return lost;
}

export const pressureOf = (map: string, entries: number, capacity: number): MapPressure => ({
  map,
  entries,
  capacity,
  ratio: entries / capacity,
});
