/** Columns of services and what stands behind and around them. */
import { age, ageColumn, column, equalities, listed, nameColumn } from './columns-shared.ts';
import { type ApiObject, arrayAt, type Column, fieldAt, stringAt } from './types.ts';

function externalIps(service: ApiObject): string {
  const own = arrayAt(service, 'spec', 'externalIPs').map(String);
  const balanced = arrayAt(service, 'status', 'loadBalancer', 'ingress').map(
    (entry) => stringAt(entry, 'ip') || stringAt(entry, 'hostname'),
  );
  switch (stringAt(service, 'spec', 'type')) {
    case 'LoadBalancer':
      return listed([...balanced, ...own], Number.POSITIVE_INFINITY, '<pending>');
    case 'ExternalName':
      return stringAt(service, 'spec', 'externalName');
    default:
      return listed(own);
  }
}

const servicePorts = (service: ApiObject): string =>
  listed(
    arrayAt(service, 'spec', 'ports').map((port) => {
      const nodePort = Number(fieldAt(port, 'nodePort') ?? 0);
      return `${String(fieldAt(port, 'port'))}${nodePort > 0 ? `:${nodePort}` : ''}/${stringAt(port, 'protocol')}`;
    }),
  );

function endpointAddresses(endpoints: ApiObject): string {
  const pairs = arrayAt(endpoints, 'subsets').flatMap((subset) => {
    const addresses = arrayAt(subset, 'addresses').map((address) => stringAt(address, 'ip'));
    const ports = arrayAt(subset, 'ports').map((port) => String(fieldAt(port, 'port')));
    if (ports.length === 0) return addresses;
    return ports.flatMap((port) =>
      addresses.map((address) => (address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`)),
    );
  });
  return listed(pairs, 3);
}

const slicePorts = (slice: ApiObject): string =>
  listed(
    arrayAt(slice, 'ports').map((port) => String(fieldAt(port, 'port') ?? '*')),
    3,
    '<unset>',
  );

const sliceEndpoints = (slice: ApiObject): string =>
  listed(
    arrayAt(slice, 'endpoints').map((endpoint) => arrayAt(endpoint, 'addresses').map(String).join(',')),
    3,
    '<unset>',
  );

/** A LabelSelector as kubectl prints it. */
function selectorText(selector: unknown): string {
  const equal = Object.entries((fieldAt(selector, 'matchLabels') ?? {}) as Record<string, string>)
    .sort()
    .map(([key, value]) => `${key}=${value}`);
  const expressions = arrayAt(selector, 'matchExpressions').map((expression) => {
    const key = stringAt(expression, 'key');
    const values = arrayAt(expression, 'values').map(String).join(',');
    const words: Record<string, string> = {
      In: `${key} in (${values})`,
      NotIn: `${key} notin (${values})`,
      Exists: key,
      DoesNotExist: `!${key}`,
    };
    return words[stringAt(expression, 'operator')] ?? key;
  });
  return listed([...equal, ...expressions]);
}

const ingressAddress = (ingress: ApiObject): string =>
  arrayAt(ingress, 'status', 'loadBalancer', 'ingress')
    .map((entry) => stringAt(entry, 'ip') || stringAt(entry, 'hostname'))
    .join(',');

export const serviceColumns: Record<string, readonly Column[]> = {
  Service: [
    nameColumn,
    column('Type', (service) => stringAt(service, 'spec', 'type')),
    column('Cluster-IP', (service) => stringAt(service, 'spec', 'clusterIP') || '<none>'),
    column('External-IP', externalIps),
    column('Port(s)', servicePorts),
    ageColumn,
    column('Selector', (service) => equalities(fieldAt(service, 'spec', 'selector')), { wide: true }),
  ],
  Endpoints: [nameColumn, column('Endpoints', endpointAddresses), ageColumn],
  EndpointSlice: [
    nameColumn,
    column('AddressType', (slice) => stringAt(slice, 'addressType')),
    column('Ports', slicePorts),
    column('Endpoints', sliceEndpoints),
    ageColumn,
  ],
  NetworkPolicy: [
    nameColumn,
    column('Pod-Selector', (policy) => selectorText(fieldAt(policy, 'spec', 'podSelector'))),
    ageColumn,
  ],
  Ingress: [
    nameColumn,
    column(
      'Class',
      (ingress) =>
        stringAt(ingress, 'spec', 'ingressClassName') ||
        ingress.metadata.annotations?.['kubernetes.io/ingress.class'] ||
        '<none>',
    ),
    column('Hosts', (ingress) =>
      listed(
        arrayAt(ingress, 'spec', 'rules')
          .map((rule) => stringAt(rule, 'host'))
          .filter((host) => host !== ''),
        3,
        '*',
      ),
    ),
    column('Address', ingressAddress),
    column('Ports', (ingress) => (arrayAt(ingress, 'spec', 'tls').length > 0 ? '80, 443' : '80')),
    ageColumn,
  ],
  IngressClass: [
    nameColumn,
    column('Controller', (item) => stringAt(item, 'spec', 'controller')),
    column('Parameters', (item) => stringAt(item, 'spec', 'parameters', 'name') || '<none>'),
    ageColumn,
  ],
  Lease: [nameColumn, column('Holder', (lease) => stringAt(lease, 'spec', 'holderIdentity')), ageColumn],
  CoreV1Event: [
    column('Last Seen', (event, now) =>
      age(stringAt(event, 'lastTimestamp') || stringAt(event, 'eventTime') || event.metadata.creationTimestamp, now),
    ),
    column('Type', (event) => stringAt(event, 'type')),
    column('Reason', (event) => stringAt(event, 'reason')),
    column(
      'Object',
      (event) =>
        `${stringAt(event, 'involvedObject', 'kind').toLowerCase()}/${stringAt(event, 'involvedObject', 'name')}`,
    ),
    column('Message', (event) => stringAt(event, 'message').trim()),
  ],
  EventsV1Event: [
    column('Last Seen', (event, now) =>
      age(
        stringAt(event, 'deprecatedLastTimestamp') || stringAt(event, 'eventTime') || event.metadata.creationTimestamp,
        now,
      ),
    ),
    column('Type', (event) => stringAt(event, 'type')),
    column('Reason', (event) => stringAt(event, 'reason')),
    column(
      'Object',
      (event) => `${stringAt(event, 'regarding', 'kind').toLowerCase()}/${stringAt(event, 'regarding', 'name')}`,
    ),
    column('Message', (event) => stringAt(event, 'note').trim()),
  ],
};
