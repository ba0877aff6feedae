/** Who is at the other end of an element of a Cilium policy. */
import { type Fields, isFields, type Reader } from './fields.ts';
import { readFqdn } from './parse-l7.ts';
import { readSelector, scoped } from './parse-selectors.ts';
import { containsPrefix, parsePrefix, prefixText } from './prefix.ts';
import { type Direction, entities, type Peer, type Requirement } from './rule.ts';

/** What of the rule around decides how peers are read. */
export interface Scope {
  /** Of the policy; empty for a clusterwide one. */
  namespace: string;
  subjectIsInit: boolean;
}

const members = ['Endpoints', 'CIDR', 'CIDRSet', 'Entities', 'Nodes', 'Groups'] as const;
type Member = (typeof members)[number] | 'Services' | 'FQDNs';

const prefixOf = (direction: Direction): string => (direction === 'ingress' ? 'from' : 'to');

export function peerFields(direction: Direction, deny: boolean): string[] {
  const own = direction === 'egress' ? ['toServices', ...(deny ? [] : ['toFQDNs'])] : [];
  return [...members, 'Requires'].map((member) => `${prefixOf(direction)}${member}`).concat(own);
}

/** Undefined: the element says nothing of peers. */
export function readPeers(
  reader: Reader,
  element: Fields,
  path: string,
  direction: Direction,
  scope: Scope,
): Peer[] | undefined {
  const from = prefixOf(direction);
  const requires = `${from}Requires`;
  if ((reader.list(element[requires], `${path}.${requires}`)?.length ?? 0) > 0)
    reader.bad(`${path}.${requires}`, element[requires], 'was removed in Cilium 1.19 and must be empty');
  const all: Member[] = direction === 'egress' ? [...members, 'Services', 'FQDNs'] : [...members];
  const found = all.filter((member) => reader.present(element, [`${from}${member}`]).length > 0);
  if (found.length > 1)
    reader.bad(
      path,
      found.map((member) => `${from}${member}`),
      'only one of these may be in an element: use one element for each',
    );
  const [member] = found;
  if (member === undefined) return undefined;
  const at = `${path}.${from}${member}`;
  return reader.each(element[`${from}${member}`], at, (value, of) => readPeer(reader, member, value, of, scope));
}

function readPeer(reader: Reader, member: Member, value: unknown, path: string, scope: Scope): Peer | undefined {
  switch (member) {
    case 'Endpoints': {
      const requirements = readSelector(reader, value, path);
      return requirements && { kind: 'labels', ...scoped(requirements, scope.namespace, scope.subjectIsInit) };
    }
    case 'Nodes': {
      const requirements = readSelector(reader, value, path);
      return requirements && { kind: 'labels', requirements: [isRemoteNode, ...requirements], localCluster: false };
    }
    case 'CIDR': {
      const cidr = readCidr(reader, value, path);
      return cidr === undefined ? undefined : { kind: 'cidr', cidr, except: [] };
    }
    case 'CIDRSet':
      return readCidrRule(reader, value, path);
    case 'Entities': {
      const entity = entities.find((known) => known === value);
      return entity ? { kind: 'entity', entity } : reader.bad(path, value, `must be one of ${entities.join(', ')}`);
    }
    case 'Groups':
      // To accept it and select nobody would let a denial pass what it names.
      return reader.bad(
        path,
        value,
        'groups of a cloud are not resolved here: name a CiliumCIDRGroup by cidrGroupRef instead',
      );
    case 'Services':
      return readService(reader, value, path);
    case 'FQDNs': {
      const fqdn = readFqdn(reader, value, path);
      return fqdn && { kind: 'fqdn', ...fqdn };
    }
  }
}

const isRemoteNode: Requirement = { source: 'reserved', key: 'remote-node', operator: 'Exists', values: [] };

/** An address is the prefix of itself alone. */
export function readCidr(reader: Reader, value: unknown, path: string): string | undefined {
  const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
  if (prefix) return prefixText(prefix);
  return reader.bad(path, value, 'must be an address or a prefix, such as 10.0.0.0/8 or fd00::/64');
}

function readCidrRule(reader: Reader, value: unknown, path: string): Peer | undefined {
  const fields = reader.fields(value, path, ['cidr', 'cidrGroupRef', 'cidrGroupSelector', 'except']);
  const which = fields && reader.exactlyOne(fields, path, ['cidr', 'cidrGroupRef', 'cidrGroupSelector']);
  if (!fields || !which) return undefined;
  const except = reader.each(fields.except, `${path}.except`, (hole, at) => readCidr(reader, hole, at)) ?? [];
  if (which === 'cidrGroupRef') {
    const { cidrGroupRef: name } = fields;
    if (typeof name === 'string' && name !== '') return { kind: 'cidr-group', name, except };
    return reader.bad(`${path}.cidrGroupRef`, name, 'must name a CiliumCIDRGroup');
  }
  if (which === 'cidrGroupSelector') {
    const requirements = readSelector(reader, fields.cidrGroupSelector, `${path}.cidrGroupSelector`);
    return requirements && { kind: 'cidr-groups', requirements, except };
  }
  const cidr = readCidr(reader, fields.cidr, `${path}.cidr`);
  return cidr === undefined
    ? undefined
    : { kind: 'cidr', cidr, except: inside(reader, cidr, except, `${path}.except`) };
}

export function inside(reader: Reader, cidr: string, except: readonly string[], path: string): string[] {
  const outer = parsePrefix(cidr);
  return except.filter((hole, i) => {
    const prefix = parsePrefix(hole);
    if (outer && prefix && containsPrefix(outer, prefix)) return true;
    return reader.bad(`${path}[${i}]`, hole, `must lie inside ${cidr}`);
  });
}

function readService(reader: Reader, value: unknown, path: string): Peer | undefined {
  const fields = reader.fields(value, path, ['k8sService', 'k8sServiceSelector']);
  const which = fields && reader.exactlyOne(fields, path, ['k8sService', 'k8sServiceSelector']);
  if (!fields || !which) return undefined;
  const at = `${path}.${which}`;
  const service = reader.fields(
    fields[which],
    at,
    which === 'k8sService' ? ['serviceName', 'namespace'] : ['selector', 'namespace'],
  );
  if (!service || !isFields(service)) return undefined;
  const namespace = reader.text(service.namespace, `${at}.namespace`) ?? '';
  if (which === 'k8sService') {
    const name = reader.text(service.serviceName, `${at}.serviceName`);
    return name ? { kind: 'service', name, namespace } : reader.bad(`${at}.serviceName`, name, 'must name a Service');
  }
  const requirements = readSelector(reader, service.selector, `${at}.selector`);
  return requirements && { kind: 'services', requirements, namespace };
}
