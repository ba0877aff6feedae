/** A policy as the resolver uses it: names of groups and services replaced, ports as map keys, one item for each selector. */
import { canonical } from '../state/tables.ts';
import type { Contribution } from './entries.ts';
import { ALL_TRAFFIC, keysOf } from './ports.ts';
import { type Direction, directions, type Element, type Policy, type PortMatch, type Rule } from './rule.ts';
import { type Names, type Selector, selectorsOf } from './selectors.ts';

/** A port by its name. */
export type NamedRef = Extract<PortMatch, { kind: 'named' }>;

export interface Item {
  /** Equal selectors have equal text; `any` is anybody, and has no selector. */
  text: string;
  selector: Selector | undefined;
  /** One object for all items of an element, so that what follows from it is worked out once. */
  said: Said;
}

/** `named`: ports by name, of the subject for ingress and of the peer for egress. */
export interface Said extends Contribution {
  named: readonly NamedRef[];
}

export interface CompiledSection {
  defaultDeny: boolean;
  items: readonly Item[];
}

export interface CompiledRule {
  rule: Rule;
  ingress: CompiledSection | undefined;
  egress: CompiledSection | undefined;
}

export interface CompiledPolicy {
  policy: Policy;
  rules: readonly CompiledRule[];
}

export const ANYBODY_TEXT = 'any';

export const compile = (policy: Policy, names: Names): CompiledPolicy => ({
  policy,
  rules: policy.rules.map((rule) => ({
    rule,
    ingress: sectionOf(policy.key, rule, 'ingress', names),
    egress: sectionOf(policy.key, rule, 'egress', names),
  })),
});

function sectionOf(origin: string, rule: Rule, direction: Direction, names: Names): CompiledSection | undefined {
  const section = rule[direction];
  if (!section) return undefined;
  const items = section.elements.flatMap((element) => itemsOf(origin, element, direction, names));
  return { defaultDeny: section.defaultDeny, items };
}

/** What waits for a proxy allows nothing. */
function itemsOf(origin: string, element: Element, direction: Direction, names: Names): Item[] {
  if (element.needsL7.length > 0 && !element.deny) return [];
  const ports = element.ports ?? [];
  const keys = element.ports === undefined ? [ALL_TRAFFIC] : ports.flatMap((match) => keysOf(match, []));
  const named = ports.filter((match) => match.kind === 'named');
  const said: Said = { origin, deny: element.deny, keys: [...new Set(keys)], named };
  if (keys.length === 0 && named.length === 0) return [];
  const found = new Map<string, Selector | undefined>();
  for (const peer of element.peers ?? [{ kind: 'entity', entity: 'all' } as const]) {
    const selectors = selectorsOf(peer, names);
    if (selectors === 'any') found.set(ANYBODY_TEXT, undefined);
    else for (const selector of selectors) found.set(canonical(selector), selector);
  }
  return [...found].flatMap(([text, selector]): Item[] => {
    if (selector || direction === 'ingress' || named.length === 0) return [{ text, selector, said }];
    // A named port of anybody is a port of those who have one of that name.
    const anybody: Item[] = keys.length > 0 ? [{ text, selector, said: { ...said, named: [] } }] : [];
    const having = named.map((ref): Item => {
      const havers: Selector = { kind: 'named-port', name: ref.name };
      return { text: canonical(havers), selector: havers, said: { ...said, keys: [], named: [ref] } };
    });
    return [...anybody, ...having];
  });
}

export const peersOf = (policy: Policy) =>
  policy.rules.flatMap((rule) =>
    directions.flatMap((direction) => (rule[direction]?.elements ?? []).flatMap(({ peers }) => peers ?? [])),
  );

/** In the same order. */
export const isSameSaid = (a: readonly Said[], b: readonly Said[]): boolean =>
  a.length === b.length && a.every((one, i) => isSame(one, b[i] as Said));

/** What was last found to be the same: two versions of an element meet once for each of its peers. */
const same = new WeakMap<Said, Said>();

function isSame(a: Said, b: Said): boolean {
  if (a === b || same.get(a) === b) return true;
  const isIt =
    a.origin === b.origin &&
    a.deny === b.deny &&
    a.keys.length === b.keys.length &&
    a.keys.every((key, i) => key === b.keys[i]) &&
    canonical(a.named) === canonical(b.named);
  if (isIt) same.set(a, b);
  return isIt;
}
