/** Kubernetes' own NetworkPolicy as rules: it only allows, and denies by default. */
import type { Fields, Reader } from './fields.ts';
import { inside, readCidr } from './parse-peers.ts';
import { equals, hasNamespace, readSelector } from './parse-selectors.ts';
import type { Direction, Element, Peer, PortMatch, Requirement, Rule, Section } from './rule.ts';
import { NAMESPACE_LABEL, NAMESPACE_LABELS_PREFIX } from './selectors.ts';

const PORT_LAST = 65_535;
const PORT_NAME = /^(?=.{1,15}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$/;

export function readNetworkPolicy(reader: Reader, object: Fields, namespace: string): Rule[] {
  const spec = reader.fields(object.spec, 'spec', ['podSelector', 'policyTypes', 'ingress', 'egress']);
  if (!spec) return [];
  const requirements = readSelector(reader, spec.podSelector ?? {}, 'spec.podSelector', 'k8s') ?? [];
  const types = policyTypes(reader, spec);
  const rule: Rule = {
    at: 'spec',
    subject: { kind: 'endpoints', requirements, localCluster: false },
    namespace,
    log: '',
  };
  // Also what a type leaves out is checked.
  const ingress = readSection(reader, spec, 'ingress', namespace);
  const egress = readSection(reader, spec, 'egress', namespace);
  return [{ ...rule, ...(types.has('Ingress') && { ingress }), ...(types.has('Egress') && { egress }) }];
}

function policyTypes(reader: Reader, spec: Fields): Set<unknown> {
  const types = reader.each(spec.policyTypes, 'spec.policyTypes', (type, at) =>
    type === 'Ingress' || type === 'Egress' ? type : reader.bad(at, type, 'must be Ingress or Egress'),
  );
  if (types && types.length > 0) return new Set(types);
  return new Set(reader.present(spec, ['egress']).length > 0 ? ['Ingress', 'Egress'] : ['Ingress']);
}

function readSection(reader: Reader, spec: Fields, direction: Direction, namespace: string): Section {
  const elements = reader.each(spec[direction], `spec.${direction}`, (value, at) =>
    readElement(reader, value, at, direction === 'ingress' ? 'from' : 'to', namespace),
  );
  return { defaultDeny: true, elements: elements ?? [] };
}

/** No peers and no ports are all of them. */
function readElement(
  reader: Reader,
  value: unknown,
  path: string,
  from: 'from' | 'to',
  namespace: string,
): Element | undefined {
  const fields = reader.fields(value, path, [from, 'ports']);
  if (!fields) return undefined;
  const peers = reader.each(fields[from], `${path}.${from}`, (peer, at) => readPeer(reader, peer, at, namespace));
  const ports = reader.each(fields.ports, `${path}.ports`, (port, at) => readPort(reader, port, at));
  const isAll = (list: unknown) => (reader.list(list, path)?.length ?? 0) === 0;
  return {
    at: path,
    deny: false,
    peers: isAll(fields[from]) ? undefined : peers,
    ports: isAll(fields.ports) ? undefined : ports,
    needsL7: [],
  };
}

function readPeer(reader: Reader, value: unknown, path: string, namespace: string): Peer | undefined {
  const fields = reader.fields(value, path, ['podSelector', 'namespaceSelector', 'ipBlock']);
  if (!fields) return undefined;
  const selectors = reader.present(fields, ['podSelector', 'namespaceSelector']);
  if (reader.present(fields, ['ipBlock']).length > 0) {
    if (selectors.length > 0) return reader.bad(path, Object.keys(fields), 'ipBlock cannot go with another peer');
    return readBlock(reader, fields.ipBlock, `${path}.ipBlock`);
  }
  if (selectors.length === 0) return reader.bad(path, value, 'must have podSelector, namespaceSelector or ipBlock');
  const pods = selectors.includes('podSelector')
    ? readSelector(reader, fields.podSelector, `${path}.podSelector`, 'k8s')
    : [];
  if (!selectors.includes('namespaceSelector'))
    return pods && { kind: 'labels', requirements: [equals(NAMESPACE_LABEL, namespace), ...pods], localCluster: true };
  const namespaces = readSelector(reader, fields.namespaceSelector, `${path}.namespaceSelector`, 'k8s')?.map(
    (requirement): Requirement => ({ ...requirement, key: `${NAMESPACE_LABELS_PREFIX}${requirement.key}` }),
  );
  return (
    pods && namespaces && { kind: 'labels', requirements: [hasNamespace, ...namespaces, ...pods], localCluster: true }
  );
}

function readBlock(reader: Reader, value: unknown, path: string): Peer | undefined {
  const block = reader.fields(value, path, ['cidr', 'except']);
  if (!block) return undefined;
  const cidr = readCidr(reader, block.cidr, `${path}.cidr`);
  const except = reader.each(block.except, `${path}.except`, (hole, at) => readCidr(reader, hole, at)) ?? [];
  return cidr === undefined
    ? undefined
    : { kind: 'cidr', cidr, except: inside(reader, cidr, except, `${path}.except`) };
}

function readPort(reader: Reader, value: unknown, path: string): PortMatch | undefined {
  const fields = reader.fields(value, path, ['port', 'endPort', 'protocol']);
  if (!fields) return undefined;
  const { port, endPort, protocol = 'TCP' } = fields;
  if (protocol !== 'TCP' && protocol !== 'UDP' && protocol !== 'SCTP')
    return reader.bad(`${path}.protocol`, protocol, 'must be TCP, UDP or SCTP');
  const hasEnd = reader.present(fields, ['endPort']).length > 0;
  if (hasEnd && typeof port !== 'number')
    return reader.bad(`${path}.endPort`, endPort, 'needs a port that is a number');
  if (port === undefined || port === null) return { kind: 'range', protocol, first: 0, last: PORT_LAST };
  if (typeof port === 'string') {
    if (PORT_NAME.test(port)) return { kind: 'named', protocol, name: port };
    return reader.bad(
      `${path}.port`,
      port,
      'must be a number, or a name of at most 15 lower case letters, digits and single "-"',
    );
  }
  if (!isPort(port)) return reader.bad(`${path}.port`, port, 'must be a whole number from 1 to 65535');
  if (!hasEnd) return { kind: 'range', protocol, first: port, last: port };
  if (!isPort(endPort) || endPort < port)
    return reader.bad(`${path}.endPort`, endPort, `must be a whole number from ${port}, the port, to ${PORT_LAST}`);
  return { kind: 'range', protocol, first: port, last: endPort };
}

const isPort = (value: unknown): value is number =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= PORT_LAST;
