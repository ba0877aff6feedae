/**
 * The two text formats of one registry: OpenMetrics with exemplars for those who ask for it, Prometheus' own for the rest.
 *
 * - The registry writes OpenMetrics; the other is the same text with counters' full names and without exemplars.
 */
import { type OpenMetricsContentType, Registry } from 'prom-client';

export const OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8';
export const PROMETHEUS = 'text/plain; version=0.0.4; charset=utf-8';

export function newRegistry(): Registry {
  const registry = new Registry<OpenMetricsContentType>();
  registry.setContentType(OPENMETRICS);
  // Its type tells only which format it writes, and both are made of that.
  return registry as unknown as Registry;
}

/** By what a client accepts. */
export function formOf(accept: string | undefined): typeof OPENMETRICS | typeof PROMETHEUS {
  const asked = (accept ?? '').split(',').map((part) => part.trim().split(/\s*;\s*/));
  const weight = (type: string): number => {
    const found = asked.find(([name]) => name === type);
    if (!found) return 0;
    return Number(found.find((part) => part.startsWith('q='))?.slice(2) ?? 1);
  };
  const open = weight('application/openmetrics-text');
  return open > 0 && open >= weight('text/plain') ? OPENMETRICS : PROMETHEUS;
}

export async function expose(registry: Registry, form: typeof OPENMETRICS | typeof PROMETHEUS): Promise<string> {
  const text = await registry.metrics();
  return form === OPENMETRICS ? text : plain(text);
}

const COUNTER_HEAD = /^# HELP (\S+) (.*)\n# TYPE \1 counter$/gm;
const EXEMPLAR = /^(\S+_bucket\{.*\} \S+) # \{.*\} \S+ \S+$/gm;

const plain = (text: string): string =>
  text
    .replace(COUNTER_HEAD, '# HELP $1_total $2\n# TYPE $1_total counter')
    .replace(EXEMPLAR, '$1')
    .replace(/# EOF\n$/, '');
