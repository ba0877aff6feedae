/** CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy as rules. */
import type { Fields, Reader } from './fields.ts';
import { peerFields, readPeers, type Scope } from './parse-peers.ts';
import { type PortRule, readIcmps, readToPorts } from './parse-ports.ts';
import { isNamespaceKey, readSelector } from './parse-selectors.ts';
import { type Direction, directions, type Element, type Requirement, type Rule, type Section } from './rule.ts';

const LOG_MAX = 32;
const sections = ['ingress', 'ingressDeny', 'egress', 'egressDeny'] as const;

/** `namespace` empty: clusterwide. */
export function readCiliumPolicy(reader: Reader, object: Fields, namespace: string): Rule[] {
  const rules = reader.each(object.specs, 'specs', (spec, at) => readRule(reader, spec, at, namespace)) ?? [];
  if (reader.present(object, ['spec']).length > 0) {
    const rule = readRule(reader, object.spec, 'spec', namespace);
    if (rule) rules.unshift(rule);
  } else if (reader.present(object, ['specs']).length === 0) reader.bad('spec', undefined, 'must have spec or specs');
  return rules;
}

const ruleFields = [
  'endpointSelector',
  'nodeSelector',
  ...sections,
  'enableDefaultDeny',
  'labels',
  'description',
  'log',
];

function readRule(reader: Reader, value: unknown, path: string, namespace: string): Rule | undefined {
  const spec = reader.fields(value, path, ruleFields);
  const subject = spec && readSubject(reader, spec, path, namespace);
  if (!spec || !subject) return undefined;
  const filled = sections.filter((name) => (reader.list(spec[name], `${path}.${name}`)?.length ?? 0) > 0);
  if (filled.length === 0)
    reader.bad(path, undefined, `no rule section: one of ${sections.join(', ')} must have a member`);
  const defaults = reader.present(spec, ['enableDefaultDeny']).length
    ? (reader.fields(spec.enableDefaultDeny, `${path}.enableDefaultDeny`, directions) ?? {})
    : {};
  const rule: Rule = { at: path, subject, namespace, log: readLog(reader, spec, path) };
  const subjectIsInit = subject.requirements.some(({ source, key }) => source === 'reserved' && key === 'init');
  for (const direction of directions) {
    const section = readSection(reader, spec, path, direction, { namespace, subjectIsInit });
    const wants = reader.flag(defaults[direction], `${path}.enableDefaultDeny.${direction}`);
    if (section) rule[direction] = { ...section, defaultDeny: wants ?? true };
  }
  if (subject.kind === 'nodes') checkHostRule(reader, rule);
  return rule;
}

function readSubject(reader: Reader, spec: Fields, path: string, namespace: string): Rule['subject'] | undefined {
  const which = reader.exactlyOne(spec, path, ['endpointSelector', 'nodeSelector']);
  if (which === undefined) return undefined;
  const at = `${path}.${which}`;
  if (which === 'nodeSelector' && namespace !== '')
    return reader.bad(at, spec[which], 'only a CiliumClusterwideNetworkPolicy can select nodes');
  const requirements = readSelector(reader, spec[which], at);
  if (!requirements) return undefined;
  const kind = which === 'nodeSelector' ? 'nodes' : 'endpoints';
  const own = namespace === '' ? requirements : requirements.filter((requirement) => !isNamespaceKey(requirement));
  for (const dropped of requirements.filter((requirement) => !own.includes(requirement))) {
    if (!isOnly(dropped, namespace)) reader.warn(at, dropped.values, `is about namespace ${namespace} all the same`);
  }
  return { kind, requirements: own, localCluster: false };
}

const isOnly = ({ operator, values }: Requirement, namespace: string): boolean =>
  operator === 'In' && values.length === 1 && values[0] === namespace;

function readLog(reader: Reader, spec: Fields, path: string): string {
  if (reader.present(spec, ['log']).length === 0) return '';
  const log = reader.fields(spec.log, `${path}.log`, ['value']);
  const value = log && reader.text(log.value, `${path}.log.value`);
  if (value === undefined) return '';
  if (value.length <= LOG_MAX && /^[ -~]*$/.test(value)) return value;
  reader.bad(`${path}.log.value`, value, `must be at most ${LOG_MAX} printable ASCII characters`);
  return '';
}

/** Undefined: the rule has nothing to say of the direction. */
function readSection(
  reader: Reader,
  spec: Fields,
  path: string,
  direction: Direction,
  scope: Scope,
): Omit<Section, 'defaultDeny'> | undefined {
  const denyName = `${direction}Deny`;
  const allowed = reader.each(spec[direction], `${path}.${direction}`, (value, at) =>
    readElements(reader, value, at, direction, false, scope),
  );
  const denied = reader.each(spec[denyName], `${path}.${denyName}`, (value, at) =>
    readElements(reader, value, at, direction, true, scope),
  );
  if ((allowed?.length ?? 0) + (denied?.length ?? 0) === 0) return undefined;
  return { elements: [...(allowed ?? []), ...(denied ?? [])].flat() };
}

/** One member of a list: what needs a proxy becomes an element of its own. */
function readElements(
  reader: Reader,
  value: unknown,
  path: string,
  direction: Direction,
  deny: boolean,
  scope: Scope,
): Element[] {
  const known = [...peerFields(direction, deny), 'toPorts', 'icmps', ...(deny ? [] : ['authentication'])];
  const fields = reader.fields(value, path, known);
  if (!fields) return [];
  const named = readPeers(reader, fields, path, direction, scope);
  const rules = readToPorts(reader, fields.toPorts, `${path}.toPorts`, deny, direction === 'egress') ?? [];
  const icmps = readIcmps(reader, fields.icmps, `${path}.icmps`);
  const hasIcmps = (reader.list(fields.icmps, `${path}.icmps`)?.length ?? 0) > 0;
  const hasPorts = (reader.list(fields.toPorts, `${path}.toPorts`)?.length ?? 0) > 0;
  if (hasIcmps && hasPorts) reader.bad(path, ['toPorts', 'icmps'], 'only one of these may be in an element');
  const needs = readAuthentication(reader, fields, path);
  if (named?.some(({ kind }) => kind === 'fqdn')) needs.push('toFQDNs');
  // Neither peers nor ports: the element is about nobody.
  const peers = named ?? (hasIcmps || hasPorts ? undefined : []);
  const base: Element = { at: path, deny, peers, ports: hasIcmps ? icmps : undefined, needsL7: needs };
  return hasPorts ? splitPorts(base, rules) : [base];
}

function splitPorts(base: Element, rules: readonly PortRule[]): Element[] {
  const plain = rules.filter(({ needsL7 }) => needsL7.length === 0);
  const proxied = rules.filter(({ needsL7 }) => needsL7.length > 0);
  return [
    ...(plain.length > 0 ? [{ ...base, ports: plain.flatMap(({ ports }) => ports ?? []) }] : []),
    ...proxied.map(({ path, ports, needsL7 }) => ({
      ...base,
      at: path,
      ports: ports ?? [],
      needsL7: [...base.needsL7, ...needsL7],
    })),
  ];
}

function readAuthentication(reader: Reader, fields: Fields, path: string): string[] {
  if (reader.present(fields, ['authentication']).length === 0) return [];
  const authentication = reader.fields(fields.authentication, `${path}.authentication`, ['mode']);
  const mode = authentication?.mode;
  if (mode === 'disabled') return [];
  if (mode !== 'required' && mode !== 'test-always-fail')
    reader.bad(`${path}.authentication.mode`, mode, 'must be disabled, required or test-always-fail');
  return ['authentication'];
}

function checkHostRule(reader: Reader, rule: Rule): void {
  for (const { at, needsL7 } of directions.flatMap((direction) => rule[direction]?.elements ?? [])) {
    const wrong = needsL7.filter((need) => need === 'http' || need === 'kafka' || need === 'l7proto');
    if (wrong.length > 0) reader.bad(at, wrong, 'a rule with nodeSelector can have no L7 rules but dns');
  }
}
