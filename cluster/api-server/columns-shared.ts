/** Building blocks of printed columns: ages, names, joined lists. */
import { type ApiObject, arrayAt, type Column, stringAt } from './types.ts';

/** A column of text, or of what `value` returns. */
export function column(
  name: string,
  value: Column['value'],
  options: { wide?: boolean; type?: Column['type']; format?: string } = {},
): Column {
  return {
    name,
    type: options.type ?? 'string',
    priority: options.wide ? 1 : 0,
    value,
    ...(options.format ? { format: options.format } : {}),
  };
}

export const nameColumn: Column = column('Name', (object) => object.metadata.name, { format: 'name' });

export const ageColumn: Column = column('Age', (object, now) => age(object.metadata.creationTimestamp, now));

export function age(timestamp: string | undefined, now: number): string {
  if (!timestamp) return '<unknown>';
  return duration(now - Date.parse(timestamp));
}

/** `5s`, `3m20s`, `2h`, `5d`: two units while the first is small, as kubectl does. */
export function duration(milliseconds: number): string {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 120) return `${seconds}s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return seconds % 60 === 0 ? `${minutes}m` : `${minutes}m${seconds % 60}s`;
  if (minutes < 180) return `${minutes}m`;
  const hours = Math.floor(minutes / 60);
  if (hours < 8) return minutes % 60 === 0 ? `${hours}h` : `${hours}h${minutes % 60}m`;
  if (hours < 48) return `${hours}h`;
  const days = Math.floor(hours / 24);
  if (days < 8) return hours % 24 === 0 ? `${days}d` : `${days}d${hours % 24}h`;
  return days < 730 ? `${days}d` : `${Math.floor(days / 365)}y`;
}

/** `<none>` for nothing, and `+ n more...` after the first `max`. */
export function listed(values: readonly string[], max = Number.POSITIVE_INFINITY, empty = '<none>'): string {
  if (values.length === 0) return empty;
  const text = values.slice(0, max).join(',');
  return values.length > max ? `${text} + ${values.length - max} more...` : text;
}

/** `app=web,tier=front` of a map of labels. */
export function equalities(labels: unknown): string {
  return listed(
    Object.entries((labels ?? {}) as Record<string, string>)
      .sort()
      .map(([key, value]) => `${key}=${value}`),
  );
}

export function conditionStatus(object: ApiObject, type: string): string {
  const condition = arrayAt(object, 'status', 'conditions').find((entry) => stringAt(entry, 'type') === type);
  return stringAt(condition, 'status');
}
