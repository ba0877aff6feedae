/** Kubernetes' label selectors over labels with a source, `k8s:app=web`: a key without a source is that of any. */
import { matchesAll, parseLabelSelector, type Requirement, SelectorError } from '../../cluster/selectors.ts';
import type { Flow } from './types.ts';

/** A requirement's key with its source: `any.` where the selector names none. */
function sourced(text: string): Requirement[] {
  const terms = text.match(/(?:\([^)]*\)|[^,(])+/g) ?? [];
  if (terms.join(',') !== text)
    throw new SelectorError(`label selector "${text}": its commas or parentheses do not match`);
  return terms.flatMap((term) => {
    const match = /^(\s*!?\s*)(?:([a-z0-9-]+):)?(.*)$/s.exec(term);
    if (!match) throw new SelectorError(`"${term}" is no requirement`);
    const source = match[2] ?? 'any';
    try {
      return parseLabelSelector(`${match[1]}${source}.${match[3]}`);
    } catch (error) {
      // The source is ours: the selector is named as it was given.
      if (error instanceof SelectorError) error.message = error.message.replace(`${source}.`, '');
      throw error;
    }
  });
}

export function labelled(text: string, of: (flow: Flow) => readonly string[]): (flow: Flow) => boolean {
  const requirements = sourced(text);
  return (flow) => {
    const labels: Record<string, string> = {};
    for (const label of of(flow)) {
      // A node's labels have no source.
      const colon = label.indexOf(':');
      const equal = label.indexOf('=', colon);
      const key = label.slice(colon + 1, equal < 0 ? undefined : equal);
      const value = equal < 0 ? '' : label.slice(equal + 1);
      if (colon >= 0) labels[`${label.slice(0, colon)}.${key}`] = value;
      labels[`any.${key}`] = value;
    }
    return matchesAll(requirements, labels);
  };
}
