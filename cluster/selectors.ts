/** Label selectors and field selectors of the Kubernetes API: parsing of their text forms, and matching. Pure. */

export interface Requirement {
  key: string;
  operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'GreaterThan' | 'LessThan';
  values: readonly string[];
}

/** A LabelSelector as objects carry it. */
export interface LabelSelector {
  matchLabels?: Readonly<Record<string, string>>;
  matchExpressions?: readonly { key: string; operator: string; values?: readonly string[] }[];
}

export type Labels = Readonly<Record<string, string>>;

/** NotIn and DoesNotExist also match when the key is absent. */
export function matchesRequirement(requirement: Requirement, labels: Labels): boolean {
  const value = Object.hasOwn(labels, requirement.key) ? labels[requirement.key] : undefined;
  switch (requirement.operator) {
    case 'In':
      return value !== undefined && requirement.values.includes(value);
    case 'NotIn':
      return value === undefined || !requirement.values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'GreaterThan':
      return value !== undefined && Number(value) > Number(requirement.values[0]);
    case 'LessThan':
      return value !== undefined && Number(value) < Number(requirement.values[0]);
  }
}

export function matchesAll(requirements: readonly Requirement[], labels: Labels): boolean {
  return requirements.every((requirement) => matchesRequirement(requirement, labels));
}

/** An object's selector as requirements. `{}` selects everything. */
export function selectorRequirements(selector: LabelSelector): Requirement[] {
  const equal = Object.entries(selector.matchLabels ?? {}).map(
    ([key, value]): Requirement => ({ key, operator: 'In', values: [value] }),
  );
  const expressions = (selector.matchExpressions ?? []).map(({ key, operator, values = [] }): Requirement => {
    switch (operator) {
      case 'In':
      case 'NotIn':
        if (values.length === 0)
          throw new SelectorError(`matchExpressions key "${key}": operator ${operator} needs at least one value`);
        return { key, operator, values };
      case 'Exists':
      case 'DoesNotExist':
        if (values.length > 0)
          throw new SelectorError(`matchExpressions key "${key}": operator ${operator} takes no values`);
        return { key, operator, values };
      default:
        throw new SelectorError(
          `matchExpressions key "${key}": operator "${operator}" is none of In, NotIn, Exists, DoesNotExist`,
        );
    }
  });
  return [...equal, ...expressions];
}

export class SelectorError extends Error {}

const name = /^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)$/;

/** `a=b,c in (d,e),!f,g`: the query parameter `labelSelector`. */
export function parseLabelSelector(text: string): Requirement[] {
  const requirements: Requirement[] = [];
  let rest = text.trim();
  while (rest !== '') {
    const { requirement, length } = oneRequirement(rest, text);
    requirements.push(requirement);
    rest = rest.slice(length).trimStart();
    if (rest === '') break;
    if (!rest.startsWith(',')) throw new SelectorError(`label selector "${text}": expected "," before "${rest}"`);
    rest = rest.slice(1).trimStart();
    if (rest === '') throw new SelectorError(`label selector "${text}": nothing after the last ","`);
  }
  return requirements;
}

function oneRequirement(rest: string, whole: string): { requirement: Requirement; length: number } {
  const fail = (why: string): never => {
    throw new SelectorError(`label selector "${whole}": ${why}`);
  };
  const checked = (requirement: Requirement, length: number): { requirement: Requirement; length: number } => {
    const bare = requirement.key.split('/').at(-1) ?? '';
    if (!name.test(bare)) fail(`"${requirement.key}" is not a label key`);
    for (const value of requirement.values)
      if (value !== '' && !name.test(value)) fail(`"${value}" is not a label value`);
    return { requirement, length };
  };
  const absent = /^!\s*([^\s,=!()]+)/.exec(rest);
  if (absent) return checked({ key: absent[1] ?? '', operator: 'DoesNotExist', values: [] }, absent[0].length);
  const set = /^([^\s,=!()]+)\s+(in|notin)\s*\(([^()]*)\)/.exec(rest);
  if (set) {
    const values = (set[3] ?? '').split(',').map((value) => value.trim());
    return checked({ key: set[1] ?? '', operator: set[2] === 'in' ? 'In' : 'NotIn', values }, set[0].length);
  }
  const compared = /^([^\s,=!()<>]+)\s*(==|=|!=|>|<)\s*([^\s,=!()]*)/.exec(rest);
  if (compared) {
    const operator =
      compared[2] === '!=' ? 'NotIn' : compared[2] === '>' ? 'GreaterThan' : compared[2] === '<' ? 'LessThan' : 'In';
    return checked({ key: compared[1] ?? '', operator, values: [compared[3] ?? ''] }, compared[0].length);
  }
  const exists = /^([^\s,=!()]+)/.exec(rest);
  if (exists) return checked({ key: exists[1] ?? '', operator: 'Exists', values: [] }, exists[0].length);
  return fail(`cannot read "${rest}"`);
}

export interface FieldRequirement {
  field: string;
  equal: boolean;
  value: string;
}

/** `metadata.name=a,status.phase!=Failed`; `\,` and `\=` are escapes. */
export function parseFieldSelector(text: string): FieldRequirement[] {
  const terms = text.match(/(?:\\.|[^,\\])+/g) ?? [];
  return terms.map((term) => {
    const match = /^\s*([A-Za-z0-9_.[\]/-]+)\s*(==|=|!=)(.*)$/.exec(term);
    if (!match) throw new SelectorError(`field selector "${text}": "${term}" is neither field=value nor field!=value`);
    return { field: match[1] ?? '', equal: match[2] !== '!=', value: (match[3] ?? '').replace(/\\(.)/g, '$1') };
  });
}
