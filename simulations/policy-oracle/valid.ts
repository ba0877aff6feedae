/** Whether a Cilium rule is one: the oracle's own short list of what makes an object void. */
import { isNetwork } from './ip.ts';
import { keysOf, parseKey, type Selector } from './labels.ts';
import type { CiliumSpec } from './policies.ts';
import type { CidrSet, Element, PortRule } from './rules.ts';

const OPERATORS = ['In', 'NotIn', 'Exists', 'DoesNotExist'];
const PORTS_MAX = 40;
const lists = ['ingress', 'egress', 'ingressDeny', 'egressDeny'] as const;

export function isValid(spec: CiliumSpec, isClusterwide: boolean): boolean {
  const { endpointSelector, nodeSelector } = spec;
  if ((endpointSelector === undefined) === (nodeSelector === undefined)) return false;
  if (nodeSelector && !isClusterwide) return false;
  if (!isSelector(endpointSelector ?? nodeSelector ?? {})) return false;
  if (lists.every((list) => spec[list] === undefined)) return false;
  return lists.every((list) =>
    (spec[list] ?? []).every((element) =>
      isElement(element, list.startsWith('ingress') ? 'from' : 'to', list.endsWith('Deny')),
    ),
  );
}

function isSelector(selector: Selector): boolean {
  const isExpression = ({ operator, values = [] }: NonNullable<Selector['matchExpressions']>[number]): boolean =>
    OPERATORS.includes(operator) && (operator === 'In' || operator === 'NotIn') === values.length > 0;
  return (
    keysOf(selector).every((key) => parseKey(key).key !== '') && (selector.matchExpressions ?? []).every(isExpression)
  );
}

function isElement(element: Element, prefix: 'from' | 'to', isDeny: boolean): boolean {
  const members = Object.keys(element).filter((name) => /^(from|to)[A-Z]/.test(name) && name !== 'toPorts');
  if (members.length > 1 || members.some((name) => !name.startsWith(prefix))) return false;
  if (element.toPorts?.length && element.icmps?.length) return false;
  if (isDeny && (element.toFQDNs !== undefined || element.authentication !== undefined)) return false;
  const cidrs = (element[`${prefix}CIDR`] ?? []) as string[];
  const sets = (element[`${prefix}CIDRSet`] ?? []) as CidrSet[];
  const selectors = [...list(element, `${prefix}Endpoints`), ...list(element, `${prefix}Nodes`)];
  return (
    cidrs.every(isNetwork) &&
    sets.every(isCidrSet) &&
    selectors.every(isSelector) &&
    (element.toPorts ?? []).every((rule) => isPortRule(rule, isDeny))
  );
}

const list = (element: Element, name: string): Selector[] => (element[name] ?? []) as Selector[];

function isCidrSet({ cidr, cidrGroupRef, cidrGroupSelector, except = [] }: CidrSet): boolean {
  const given = [cidr, cidrGroupRef, cidrGroupSelector].filter((one) => one !== undefined);
  return given.length === 1 && (cidr === undefined || isNetwork(cidr)) && except.every(isNetwork);
}

function isPortRule({ ports = [], rules, listener, terminatingTLS, originatingTLS }: PortRule, isDeny: boolean) {
  const hasProxy = [rules, listener, terminatingTLS, originatingTLS].some((part) => part !== undefined);
  if (ports.length > PORTS_MAX || (isDeny && hasProxy)) return false;
  return ports.every(({ port = '' }) => !/^\d+$/.test(port) || Number(port) <= 65_535);
}
