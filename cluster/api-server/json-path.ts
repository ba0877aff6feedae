/**
 * The JSONPath of printer columns: `.spec.addresses[?(@.type=="InternalIP")].ip`, `.a[0]`, `.a[*].b`, `.labels.io\.x`.
 *
 * Anything else finds nothing.
 */
import { isRecord } from './types.ts';

type Step = { field: string } | { index: number } | { every: true } | { where: string; equals: string };

const parsed = new Map<string, Step[]>();

export function readPath(path: string, root: unknown): unknown[] {
  let steps = parsed.get(path);
  if (!steps) {
    steps = parse(path);
    parsed.set(path, steps);
  }
  return steps.reduce<unknown[]>((found, step) => found.flatMap((value) => follow(step, value)), [root]);
}

function follow(step: Step, value: unknown): unknown[] {
  if ('field' in step) return isRecord(value) && value[step.field] !== undefined ? [value[step.field]] : [];
  if (!Array.isArray(value)) return [];
  if ('index' in step) return value.slice(step.index).slice(0, 1);
  if ('every' in step) return value;
  return value.filter((item) => isRecord(item) && String(item[step.where]) === step.equals);
}

function parse(path: string): Step[] {
  const steps: Step[] = [];
  let rest = path
    .trim()
    .replace(/^\{(.*)\}$/, '$1')
    .replace(/^\$/, '');
  while (rest !== '') {
    const filter = /^\[\?\(\s*@\.([\w-]+)\s*==\s*["']([^"']*)["']\s*\)\]/.exec(rest);
    const index = /^\[(-?\d+)\]/.exec(rest);
    const every = /^\[\*\]/.exec(rest);
    const quoted = /^\[['"]([^'"]+)['"]\]/.exec(rest);
    const field = /^\.?((?:\\.|[^.[\\])+)/.exec(rest);
    const match = filter ?? index ?? every ?? quoted ?? field;
    if (!match) return [{ field: '' }];
    if (filter) steps.push({ where: filter[1] ?? '', equals: filter[2] ?? '' });
    else if (index) steps.push({ index: Number(index[1]) });
    else if (every) steps.push({ every: true });
    else steps.push({ field: (match[1] ?? '').replace(/\\(.)/g, '$1') });
    rest = rest.slice(match[0].length);
  }
  return steps;
}
