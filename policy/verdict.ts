/**
 * The verdict on one flow at one end, from the rules themselves and in words; map entries play no part, so that the two can be compared.
 */
import type { MatchedRule, NamedPort, Verdict, VerdictQuestion } from './change.ts';
import { allowsByDefault, isEnforced } from './groups.ts';
import { isProtocol } from './ports.ts';
import type { Element, Peer, PortMatch } from './rule.ts';
import { matches, type Prepared, type Selector, selectorsOf } from './selectors.ts';
import { namesOf, type PolicyState, type SubjectRecord } from './state.ts';
import { isSubject, namespaceOf } from './subject-policy.ts';

const HOST_IDENTITY = 1;
const PORT_LAST = 65_535;

export function verdictOf(state: PolicyState, question: VerdictQuestion): Verdict {
  const { direction } = question;
  const record = state.tables.subjects.get(question.endpointId);
  const { audit, enforcement: mode } = state.tables.config;
  const open = { verdict: 'allowed', enforced: false, audited: false, matched: [], selecting: [] } as const;
  if (!record) return { ...open, reason: `endpoint ${question.endpointId} is not known here` };
  if (!isEnforced(state, record, direction)) {
    const why =
      mode === 'never' ? 'policy is never enforced (mode never)' : `no policy selects the endpoint for ${direction}`;
    return { ...open, reason: why };
  }
  const { matched, selecting } = rulesFor(state, record, question);
  const outcome = decide(state, record, question, matched, selecting);
  const audited = outcome.verdict === 'denied' && audit;
  return {
    verdict: audited ? 'allowed' : outcome.verdict,
    enforced: true,
    audited,
    matched,
    selecting,
    reason: audited ? `${outcome.reason}; let through, since denials are only logged (audit)` : outcome.reason,
  };
}

function decide(
  state: PolicyState,
  record: SubjectRecord,
  { direction, identity }: VerdictQuestion,
  matched: readonly MatchedRule[],
  selecting: readonly string[],
): Pick<Verdict, 'verdict' | 'reason'> {
  const denial = matched.find(({ deny }) => deny);
  if (denial) return { verdict: 'denied', reason: `denied by ${named(denial)}: a denial beats every allowance` };
  const allowance = matched.find(({ needsL7 }) => needsL7.length === 0);
  if (allowance) return { verdict: 'allowed', reason: `allowed by ${named(allowance)}` };
  if (allowsByDefault(state, record, direction))
    return { verdict: 'allowed', reason: 'no policy that selects the endpoint denies by default' };
  const isLocalhost = direction === 'ingress' && identity === HOST_IDENTITY && !record.subject.host;
  if (isLocalhost && state.tables.config.allowLocalhost)
    return { verdict: 'allowed', reason: 'the node reaches its own pods, unless a rule denies it' };
  const [waiting] = matched;
  if (waiting)
    return {
      verdict: 'denied',
      reason: `only ${named(waiting)} would allow it, which needs L7: ${waiting.needsL7.join(', ')}`,
    };
  const by = selecting.length > 0 ? `default deny by ${selecting.join(', ')}` : 'everything is denied by default here';
  return { verdict: 'denied', reason: `no rule allows it: ${by}` };
}

const named = ({ policy, at }: MatchedRule): string => `${policy} ${at}`;

/** Denials first, then what waits for a proxy last; otherwise by policy. */
function rulesFor(state: PolicyState, record: SubjectRecord, question: VerdictQuestion) {
  const { tables } = state;
  const matched: MatchedRule[] = [];
  const selecting: string[] = [];
  const namespaces = new Set(['', namespaceOf(record.prepared)]);
  const keys = [...namespaces].flatMap((namespace) => tables.policiesByNamespace.get(namespace)?.keys() ?? []);
  for (const key of [...new Set(keys)].sort()) {
    for (const { rule } of tables.policies.get(key)?.rules ?? []) {
      const section = rule[question.direction];
      if (!section || !isSubject(rule, record.subject, record.prepared, tables.config.clusterName)) continue;
      if (!selecting.includes(key)) selecting.push(key);
      for (const element of section.elements) {
        const why = matchOf(state, record, question, element);
        if (why === undefined) continue;
        matched.push({ policy: key, at: element.at, deny: element.deny, needsL7: element.needsL7, why });
      }
    }
  }
  const order = ({ deny, needsL7 }: MatchedRule): number => (deny ? 0 : needsL7.length === 0 ? 1 : 2);
  return { matched: matched.sort((a, b) => order(a) - order(b)), selecting };
}

/** Why the element matches; undefined if it does not. */
function matchOf(
  state: PolicyState,
  record: SubjectRecord,
  question: VerdictQuestion,
  { peers, ports }: Element,
): string | undefined {
  const peer = state.tables.identities.get(question.identity);
  const { namedPorts = [] } = (question.direction === 'ingress' ? record.subject : peer?.identity) ?? {};
  const port =
    ports === undefined ? 'any port and protocol' : firstOf(ports, (match) => portMatch(match, question, namedPorts));
  if (port === undefined) return undefined;
  const who =
    peers === undefined ? 'any peer' : firstOf(peers, (candidate) => peerMatch(state, candidate, peer?.prepared));
  return who === undefined ? undefined : `${who}; ${port}`;
}

function firstOf<T>(all: readonly T[], match: (one: T) => string | undefined): string | undefined {
  for (const one of all) {
    const why = match(one);
    if (why !== undefined) return why;
  }
  return undefined;
}

function portMatch(
  match: PortMatch,
  { protocol, port }: VerdictQuestion,
  named: readonly NamedPort[],
): string | undefined {
  switch (match.kind) {
    case 'range':
      if (!isProtocol(match.protocol, protocol) || port < match.first || port > match.last) return undefined;
      return `${rangeText(match.first, match.last)}/${match.protocol}`;
    case 'named': {
      const isThat = (own: NamedPort) => own.name === match.name && own.protocol === protocol && own.port === port;
      const isIt = isProtocol(match.protocol, protocol) && named.some(isThat);
      return isIt ? `port ${match.name} (${port})/${protocol}` : undefined;
    }
    case 'icmp':
      return match.protocol === protocol && match.type === port ? `${protocol} type ${port}` : undefined;
  }
}

const rangeText = (first: number, last: number): string =>
  first === 0 && last === PORT_LAST ? 'any port' : first === last ? `port ${first}` : `ports ${first}-${last}`;

function peerMatch(state: PolicyState, candidate: Peer, peer: Prepared | undefined): string | undefined {
  const { config } = state.tables;
  const selectors = selectorsOf(candidate, namesOf(state.tables));
  if (selectors === 'any') return 'any peer';
  const found = peer && selectors.find((selector) => matches(selector, peer, config.clusterName));
  return found && selectorText(found);
}

/** A selector as people write it. */
export function selectorText(selector: Selector): string {
  switch (selector.kind) {
    case 'labels':
      return selector.requirements.length === 0
        ? 'every endpoint'
        : `peer with ${selector.requirements.map(requirementText).join(', ')}`;
    case 'entity':
      return `entity ${selector.entity}`;
    case 'cidr':
      return `${selector.cidr}${selector.except.length > 0 ? ` except ${selector.except.join(', ')}` : ''}`;
    case 'named-port':
      return `peer with a port ${selector.name}`;
  }
}

function requirementText({
  source,
  key,
  operator,
  values,
}: {
  source: string;
  key: string;
  operator: string;
  values: readonly string[];
}): string {
  const name = source === 'any' ? key : `${source}:${key}`;
  switch (operator) {
    case 'Exists':
      return name;
    case 'DoesNotExist':
      return `no ${name}`;
    case 'In':
      return values.length === 1
        ? values[0] === ''
          ? name
          : `${name}=${values[0]}`
        : `${name} in (${values.join(', ')})`;
    default:
      return `${name} not in (${values.join(', ')})`;
  }
}
