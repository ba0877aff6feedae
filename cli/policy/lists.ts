/** `policy get` and `policy selectors`: what there is on a live node. */
import type { PolicyNodeView, PolicyView } from '../../observe/policy.ts';
import type { IdentityLabels, PolicyInputs, Subject } from '../../policy/change.ts';
import type { Peer, Requirement, Rule } from '../../policy/rule.ts';
import { selectorsOf as concrete, matches, matchesLabels, NAMESPACE_LABEL, prepare } from '../../policy/selectors.ts';
import type { DebugClient } from '../output/debug-client.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { World } from './world.ts';

/** `name` undefined: all. */
export async function runGet(client: DebugClient, name: string | undefined, isJson: boolean): Promise<number> {
  const [{ policies, known, overflowing }, world] = await Promise.all([
    client.get<PolicyNodeView>('/v1/policy'),
    World.of(client),
  ]);
  const found = policies.filter(
    ({ key, ...one }) => name === undefined || [key, one.name, `${one.namespace}/${one.name}`].includes(name),
  );
  if (name !== undefined && found.length === 0)
    throw new Error(`no policy is named ${name}; there are ${policies.map(({ key }) => key).join(', ') || 'none'}`);
  const { subjects, config } = world.facts.inputs;
  const { clusterName } = config;
  const answer = found.map((policy) => ({
    ...policy,
    endpoints: subjects
      .filter((one) => policy.rules.some((rule) => isSelected(rule, one, clusterName)))
      .map(({ endpointId }) => endpointId),
  }));
  if (isJson) {
    printJson(name === undefined ? answer : answer[0]);
    return 0;
  }
  if (!known) print('policies are still being listed\n');
  const nameOf = (id: number): string =>
    world.facts.pods.find(({ endpointId }) => endpointId === id)?.pod ?? String(id);
  const rows = answer.map((policy): Cell[] => [
    policy.key,
    statusText(policy),
    policy.rules.length === 0 ? '' : sectionsText(policy),
    policy.endpoints.map(nameOf),
  ]);
  print(formatTable(['POLICY', 'STATUS', 'RULES', 'ENDPOINTS'], rows));
  for (const id of overflowing)
    print(`endpoint ${nameOf(Number(id))}: its entries exceed its map, what was in force before stays\n`);
  return 0;
}

function statusText({ status, problems, needsL7, outdated }: PolicyView): string[] {
  switch (status) {
    case 'valid':
      return ['valid'];
    case 'needs L7':
      return ['valid', `needs L7: ${needsL7.join(', ')}`];
    case 'invalid':
      return [
        outdated ? 'invalid; its last valid version stays in force' : 'invalid; nothing of it is in force',
        ...problems,
      ];
  }
}

function sectionsText({ rules }: PolicyView): string[] {
  return rules.flatMap((rule) =>
    (['ingress', 'egress'] as const).flatMap((direction) => {
      const section = rule[direction];
      if (!section) return [];
      const denials = section.elements.filter(({ deny }) => deny).length;
      const allowances = section.elements.length - denials;
      const parts = [
        `${allowances} allow`,
        ...(denials > 0 ? [`${denials} deny`] : []),
        ...(section.defaultDeny ? [] : ['no default deny']),
      ];
      return [`${direction}: ${parts.join(', ')}`];
    }),
  );
}

export interface SelectorView {
  selector: string;
  /** Policies that use it. */
  users: string[];
  identities: number[];
}

export async function runSelectors(client: DebugClient, isJson: boolean): Promise<number> {
  const { inputs } = (await World.of(client)).facts;
  const selectors = selectorsOf(inputs);
  if (isJson) printJson(selectors);
  else
    print(
      formatTable(
        ['SELECTOR', 'USERS', 'IDENTITIES'],
        selectors.map(({ selector, users, identities }): Cell[] => [selector, users, identities.join(' ')]),
      ),
    );
  return 0;
}

export function selectorsOf({
  policies,
  identities,
  subjects,
  groups,
  services,
  config,
}: PolicyInputs): SelectorView[] {
  const { clusterName } = config;
  const found = new Map<string, SelectorView>();
  const note = (selector: string, user: string, select: () => number[]): void => {
    const known = found.get(selector) ?? {
      selector,
      users: [],
      identities: [...new Set(select())].sort((a, b) => a - b),
    };
    if (!known.users.includes(user)) known.users.push(user);
    found.set(selector, known);
  };
  const identitiesOf = (peer: Peer): number[] => {
    const selectors = concrete(peer, { groups, services });
    const isMeant = (labels: IdentityLabels): boolean =>
      selectors === 'any' || selectors.some((selector) => matches(selector, prepare({ labels }), clusterName));
    return identities.filter(({ labels }) => isMeant(labels)).map(({ identity }) => identity);
  };
  for (const { key, rules } of policies) {
    for (const rule of rules) {
      const isSubject = (one: Subject): boolean => isSelected(rule, one, clusterName);
      note(`subject ${ruleText(rule)}`, key, () => subjects.filter(isSubject).map(({ identity }) => identity));
      for (const { peers } of [...(rule.ingress?.elements ?? []), ...(rule.egress?.elements ?? [])])
        for (const peer of peers ?? []) note(peerText(peer), key, () => identitiesOf(peer));
    }
  }
  return [...found.values()].sort((a, b) => (a.selector < b.selector ? -1 : 1));
}

function isSelected({ subject, namespace }: Rule, { labels, host }: Subject, clusterName: string): boolean {
  if (host !== (subject.kind === 'nodes')) return false;
  if (namespace && labels[`k8s:${NAMESPACE_LABEL}`] !== namespace) return false;
  return matchesLabels(subject, prepare({ labels }), clusterName);
}

const ruleText = ({ subject, namespace }: Rule): string =>
  [subject.kind, ...(namespace ? [`in ${namespace}`] : []), requirementsText(subject.requirements)].join(' ');

export function peerText(peer: Peer): string {
  switch (peer.kind) {
    case 'labels':
      return `labels ${requirementsText(peer.requirements)}`;
    case 'entity':
      return `entity ${peer.entity}`;
    case 'cidr':
      return `cidr ${peer.cidr}${exceptText(peer.except)}`;
    case 'cidr-group':
      return `cidr group ${peer.name}${exceptText(peer.except)}`;
    case 'cidr-groups':
      return `cidr groups ${requirementsText(peer.requirements)}${exceptText(peer.except)}`;
    case 'service':
      return `service ${peer.namespace || '*'}/${peer.name}`;
    case 'services':
      return `services ${peer.namespace || '*'} ${requirementsText(peer.requirements)}`;
    case 'fqdn':
      return `name ${peer.matchName || peer.matchPattern} (needs DNS)`;
  }
}

const exceptText = (except: readonly string[]): string => (except.length > 0 ? ` except ${except.join(', ')}` : '');

function requirementsText(requirements: readonly Requirement[]): string {
  if (requirements.length === 0) return '(all)';
  return requirements
    .map(({ source, key, operator, values }) => {
      const name = source === 'any' ? key : `${source}:${key}`;
      switch (operator) {
        case 'In':
          return values.length === 1 ? `${name}=${values[0]}` : `${name} in (${values.join(', ')})`;
        case 'NotIn':
          return `${name} not in (${values.join(', ')})`;
        case 'Exists':
          return name;
        case 'DoesNotExist':
          return `!${name}`;
      }
    })
    .join(', ');
}
