/** Services for the socket programs of a benchmark, written in batches; and their programs, with somebody who reads the events. */
import { SockPrograms } from '../../bpf/test/sock-programs.ts';
import { encode } from '../../datapath/codec.ts';
import { ringBuffer } from '../../native/index.ts';
import type { Services } from './kube-proxy-rules.ts';

const IPPROTO_TCP = 6;
const DRAIN_MS = 50;
let made = 0;

export interface SocketServices {
  cgroup: string;
  close(): void;
}

export function socketServices(netns: string, services: Services): SocketServices {
  const programs = new SockPrograms(`axb-${process.pid}-sock-${++made}`, netns);
  fill(programs, services);
  // As the agent: events that nobody reads are soon no longer written.
  const reader = ringBuffer(programs.object.map('events'), () => {});
  const drain = setInterval(() => reader.drain(), DRAIN_MS);
  return {
    cgroup: programs.cgroup,
    close() {
      clearInterval(drain);
      reader.close();
      programs.close();
    },
  };
}

function fill(
  { object, codecs }: SockPrograms,
  { count, endpoints, port, targetPort, clusterIP, endpoint }: Services,
): void {
  const rows: Record<string, [key: unknown, value: unknown][]> = {
    backends: [],
    backend_slots: [],
    backend_sets: [],
    frontends: [],
  };
  for (let i = 0; i < count; i++) {
    for (let slot = 0; slot < endpoints; slot++) {
      const id = 1 + i * endpoints + slot;
      rows['backends']?.push([id, { addr: endpoint(i, slot), port: targetPort, proto: IPPROTO_TCP }]);
      rows['backend_slots']?.push([{ set: i + 1, slot }, id]);
    }
    rows['backend_sets']?.push([i + 1, { count: endpoints, maglevSize: 0, affinityTimeout: 0 }]);
    const key = { addr: clusterIP(i), port, proto: IPPROTO_TCP };
    rows['frontends']?.push([key, { id: i + 1, internalSet: i + 1, externalSet: i + 1, flags: 0 }]);
  }
  for (const [map, entries] of Object.entries(rows)) {
    const { key, value } = codecs.map(map);
    const keys = Buffer.concat(entries.map(([row]) => encode<unknown>(key, row)));
    const values = Buffer.concat(entries.map(([, row]) => encode<unknown>(value, row)));
    object.map(map).putBatch(keys, values, entries.length);
  }
}
