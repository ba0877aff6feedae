/** What our maps and programs take of the kernel's memory at most, as the kernel tells of the descriptors that this process holds. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Gauge, type Registry } from 'prom-client';

const kinds = { map: 'cilium_bpf_maps_virtual_memory_max_bytes', prog: 'cilium_bpf_progs_virtual_memory_max_bytes' };
type Kind = keyof typeof kinds;

export function kernelMemoryMetrics(registry: Registry): void {
  const gauge = (kind: Kind, what: string): void => {
    new Gauge({
      name: kinds[kind],
      help: `Memory of the kernel that this agent's ${what} take at most`,
      registers: [registry],
      collect() {
        this.set(memoryOf(kind));
      },
    });
  };
  gauge('map', 'maps');
  gauge('prog', 'programs');
}

/** Each once, however many descriptors of it there are. */
export function memoryOf(kind: Kind): number {
  const bytes = new Map<string, number>();
  for (const fd of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${fd}`) !== `anon_inode:bpf-${kind}`) continue;
      const text = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8');
      const field = (name: string): string => new RegExp(`^${name}:\\s*(\\d+)$`, 'm').exec(text)?.[1] ?? '0';
      bytes.set(field(`${kind}_id`), Number(field('memlock')));
    } catch (error) {
      // Closed in the meantime.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    }
  }
  return bytes.values().reduce((sum, one) => sum + one, 0);
}
