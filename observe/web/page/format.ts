/** Numbers, times and names as text; pure. */

const two = (number: number): string => String(number).padStart(2, '0');

/** `08:27:25.083`, in the reader's own time. */
export function clock(ms: number): string {
  const date = new Date(ms);
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(Math.floor(ms % 1000)).padStart(3, '0')}`;
}

export function ago(ms: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - ms) / 1000));
  return seconds < 2 ? 'now' : `${span(seconds)} ago`;
}

/** `45 s`, `12 min`, `3 h 20 min`, `5 d`. */
export function span(seconds: number): string {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.round(hours / 24)} d`;
}

export const count = (number: number): string => number.toLocaleString('en').replaceAll(',', '\u202f');

/** `1 row`, `2 rows`. */
export const plural = (number: number, one: string, many = `${one}s`): string =>
  `${count(number)} ${number === 1 ? one : many}`;

/** `0.003 %`, `12 %`. */
export function percent(ratio: number): string {
  const value = ratio * 100;
  if (value === 0) return '0 %';
  if (value < 0.01) return '< 0.01 %';
  return `${value < 1 ? value.toPrecision(1) : Math.round(value)} %`;
}

export function perSecond(rate: number): string {
  if (rate === 0) return '0/s';
  return rate < 10 ? `${rate.toFixed(1)}/s` : `${count(Math.round(rate))}/s`;
}

/** `FORBIDDEN_ICMP6_MESSAGE` → `forbidden icmp6 message`. */
export const words = (name: string): string => name.toLowerCase().replaceAll('_', ' ');

/** `identity=300 flags=0`; nested values as JSON. */
export function fieldsOf(value: unknown): [name: string, text: string][] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [['value', textOf(value)]];
  return Object.entries(value).map(([name, inner]) => [name, textOf(inner)]);
}

const textOf = (value: unknown): string =>
  typeof value === 'string' ? value || '""' : (JSON.stringify(value) ?? String(value));

/** Long keys keep both ends. */
export function shortened(text: string, max: number): string {
  if (text.length <= max) return text;
  const head = Math.ceil((max - 1) * 0.6);
  return `${text.slice(0, head)}…${text.slice(text.length - (max - 1 - head))}`;
}
