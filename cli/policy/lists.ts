/** `policy get` and `policy selectors`: what there is on live nodes. */
import type { PolicyNodeView, PolicyView, PolicyWorld } from '../../observe/policy.ts';
import type { IdentityLabels, PolicyInputs, Subject } from '../../policy/change.ts';
import type { Peer, Requirement, Rule } from '../../policy/rule.ts';
import { isSelected } from '../../policy/selected.ts';
import { selectorsOf as concrete, matches, prepare } from '../../policy/selectors.ts';
import type { DebugClient } from '../output/debug-client.ts';
import type { NodeClient } from '../output/debug-target.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { ClusterWorld } from './cluster-world.ts';
import type { World } from './world.ts';

/** One policy, and the endpoints that it selects on each node. */
export interface PolicyAnswer extends PolicyView {
  endpoints: { node: string; id: number; pod: string }[];
  /** Nodes that have not heard of it yet, or of this generation. */
  behind: string[];
}

/** `name` undefined: all. */
export async function runGet(
  clients: readonly NodeClient[],
  name: string | undefined,
  isJson: boolean,
): Promise<number> {
  const [views, world] = await Promise.all([
    Promise.all(clients.map(({ client }) => client.get<PolicyNodeView>('/v1/policy'))),
    ClusterWorld.of(clients),
  ]);
  const all = answersOf(views, world);
  const found = all.filter(
    ({ key, ...one }) => name === undefined || [key, one.name, `${one.namespace}/${one.name}`].includes(name),
  );
  if (name !== undefined && found.length === 0)
    throw new Error(`no policy is named ${name}; there are ${all.map(({ key }) => key).join(', ') || 'none'}`);
  if (isJson) {
    printJson(name === undefined ? found : found[0]);
    return 0;
  }
  const isMany = clients.length > 1;
  views.forEach(({ known }, i) => {
    if (!known) print(`policies are still being listed${isMany ? ` on ${clients[i]?.node}` : ''}\n`);
  });
  if (all.length === 0 && views.every(({ known }) => known)) print('there are no policies\n');
  else print(tableOf(found, world));
  views.forEach(({ overflowing }, i) => {
    for (const id of overflowing)
      print(
        `endpoint ${podName(world.worlds[i], Number(id))}${isMany ? ` on ${clients[i]?.node}` : ''}: its entries exceed its map, what was in force before stays\n`,
      );
  });
  return 0;
}

/** The newest generation that a node knows stands for the policy. */
function answersOf(views: readonly PolicyNodeView[], { nodes, worlds }: ClusterWorld): PolicyAnswer[] {
  const newest = new Map<string, PolicyView>();
  for (const one of views.flatMap(({ policies }) => policies))
    if (one.generation > (newest.get(one.key)?.generation ?? -1)) newest.set(one.key, one);
  return [...newest.values()]
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .map((policy) => ({
      ...policy,
      endpoints: worlds.flatMap((world, i) =>
        endpointsOf(world, policy).map((id) => ({ node: nodes[i] ?? '', id, pod: podName(world, id) })),
      ),
      behind: nodes.filter((_, i) => {
        const here = views[i]?.policies.find(({ key }) => key === policy.key);
        return here?.generation !== policy.generation;
      }),
    }));
}

const endpointsOf = ({ facts: { inputs } }: World, { rules }: PolicyView): number[] =>
  inputs.subjects
    .filter((one) => rules.some((rule) => isSelected(rule, one, inputs.config.clusterName)))
    .map(({ endpointId }) => endpointId);

const podName = (world: World | undefined, id: number): string =>
  id === world?.facts.hostEndpoint
    ? 'host'
    : (world?.facts.pods.find(({ endpointId }) => endpointId === id)?.pod ?? String(id));

function tableOf(policies: readonly PolicyAnswer[], { worlds }: ClusterWorld): string {
  const isMany = worlds.length > 1;
  const isFirewalled = worlds.some(({ facts }) => facts.inputs.subjects.some(({ host }) => host));
  const rows = policies.map((policy): Cell[] => [
    policy.key,
    [
      ...statusText(policy),
      ...(policy.behind.length > 0 ? [`not yet on ${policy.behind.join(', ')}`] : []),
      ...(policy.rules.some(({ subject }) => subject.kind === 'nodes') && !isFirewalled
        ? ['nowhere in force: policies of nodes are off (policy.hostFirewall of the agent)']
        : []),
    ],
    policy.rules.length === 0 ? '' : sectionsText(policy),
    policy.endpoints.map(({ node, pod }) => (isMany ? `${pod} on ${node}` : pod)),
  ]);
  return formatTable(['POLICY', 'STATUS', 'RULES', 'ENDPOINTS'], rows);
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
  const selectors = selectorsOf((await client.get<PolicyWorld>('/v1/policy/world')).inputs);
  if (isJson) printJson(selectors);
  else if (selectors.length === 0) print('there are no policies, so no selectors\n');
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
