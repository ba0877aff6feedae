/** Services: defaults, allocation of addresses and node ports, and what must not change. */
import { duplicate, forbiddenField, invalidValue, notSupported, required } from '../errors.ts';
import { cidr, dnsLabel, dnsSubdomain, ipAddress, labels, portNumber, portNumberOrName } from '../names.ts';
import { type ApiObject, arrayAt, type Cause, fieldAt, isRecord, type Strategy, sameJson, stringAt } from '../types.ts';

const types = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'];
const protocols = ['TCP', 'UDP', 'SCTP'];
const trafficPolicies = ['Cluster', 'Local'];
const distributions = ['PreferClose', 'PreferSameZone', 'PreferSameNode'];
const DAY_SECONDS = 86_400;

export const serviceStrategy: Strategy = {
  defaults(draft) {
    if (!isRecord(draft.spec)) draft.spec = {};
    const spec = draft.spec as Record<string, unknown>;
    spec.type ??= 'ClusterIP';
    spec.sessionAffinity ??= 'None';
    if (spec.sessionAffinity === 'ClientIP') spec.sessionAffinityConfig ??= { clientIP: { timeoutSeconds: 10800 } };
    if (spec.type !== 'ExternalName') spec.internalTrafficPolicy ??= 'Cluster';
    if (spec.type === 'NodePort' || spec.type === 'LoadBalancer') spec.externalTrafficPolicy ??= 'Cluster';
    if (spec.type === 'LoadBalancer') spec.allocateLoadBalancerNodePorts ??= true;
    for (const port of arrayAt(spec, 'ports')) {
      if (!isRecord(port)) continue;
      port.protocol ??= 'TCP';
      port.targetPort ??= port.port;
    }
  },
  prepareCreate(draft, context) {
    draft.status = { loadBalancer: {} };
    return shape(draft).length > 0 ? [] : context.services.allocate(draft, undefined);
  },
  prepareUpdate(draft, old, context) {
    dropOfOtherTypes(draft, old);
    return shape(draft).length > 0 ? [] : context.services.allocate(draft, old);
  },
  validate(draft, old) {
    const causes = shape(draft);
    const before = stringAt(old, 'spec', 'clusterIP');
    const after = stringAt(draft, 'spec', 'clusterIP');
    const external =
      stringAt(old, 'spec', 'type') === 'ExternalName' || stringAt(draft, 'spec', 'type') === 'ExternalName';
    if (old && before !== '' && before !== after && !external)
      causes.push(invalidValue('spec.clusterIPs[0]', after, 'may not change once set'));
    const [classBefore, classAfter] = [old, draft].map((service) => stringAt(service, 'spec', 'loadBalancerClass'));
    if (old && isBalanced(old) && isBalanced(draft) && classBefore !== classAfter)
      causes.push(invalidValue('spec.loadBalancerClass', classAfter, 'may not change once set'));
    return causes;
  },
};

const isBalanced = (service: unknown): boolean => stringAt(service, 'spec', 'type') === 'LoadBalancer';
const hasNodePorts = (service: unknown): boolean =>
  isBalanced(service) || stringAt(service, 'spec', 'type') === 'NodePort';
/** Reachable from outside the cluster. */
const isExternal = (service: unknown): boolean =>
  hasNodePorts(service) || arrayAt(service, 'spec', 'externalIPs').length > 0;

/** Fields that mean something for certain services only. */
const fieldsOf: readonly [string, (service: unknown) => boolean, string][] = [
  ['allocateLoadBalancerNodePorts', isBalanced, "may only be used when `type` is 'LoadBalancer'"],
  ['loadBalancerClass', isBalanced, "may only be used when `type` is 'LoadBalancer'"],
  ['loadBalancerSourceRanges', isBalanced, "may only be used when `type` is 'LoadBalancer'"],
  ['externalTrafficPolicy', isExternal, 'may only be set for externally-accessible services'],
];
const hasField = (service: unknown, field: string): boolean => {
  const value = fieldAt(service, 'spec', field);
  return value !== undefined && value !== '' && !(Array.isArray(value) && value.length === 0);
};

/** Who changes the type need not take out by hand what was filled in for the type before. */
function dropOfOtherTypes(draft: ApiObject, old: ApiObject): void {
  for (const [field, needs] of fieldsOf) {
    if (needs(draft) || !needs(old) || !sameJson(fieldAt(draft, 'spec', field), fieldAt(old, 'spec', field))) continue;
    delete (draft.spec as Record<string, unknown>)[field];
  }
  if (hasNodePorts(draft) || !hasNodePorts(old)) return;
  const before = new Set(arrayAt(old, 'spec', 'ports').map((port) => fieldAt(port, 'nodePort')));
  for (const port of arrayAt(draft, 'spec', 'ports'))
    if (isRecord(port) && before.has(port.nodePort)) delete port.nodePort;
}

/** Everything that can be said without knowing other services. */
function shape(service: ApiObject): Cause[] {
  const causes: Cause[] = [];
  const type = stringAt(service, 'spec', 'type');
  if (!types.includes(type)) causes.push(notSupported('spec.type', fieldAt(service, 'spec', 'type'), types));
  const headless = stringAt(service, 'spec', 'clusterIP') === 'None';
  if (type === 'ExternalName')
    causes.push(...dnsSubdomain(fieldAt(service, 'spec', 'externalName'), 'spec.externalName'));
  else if (arrayAt(service, 'spec', 'ports').length === 0 && !headless) causes.push(required('spec.ports'));
  if (headless && (type === 'NodePort' || type === 'LoadBalancer'))
    causes.push(invalidValue('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${type} services`));
  causes.push(...labels(fieldAt(service, 'spec', 'selector'), 'spec.selector'));
  causes.push(...ports(service));
  for (const [field, values] of [
    ['sessionAffinity', ['ClientIP', 'None']],
    ['externalTrafficPolicy', trafficPolicies],
    ['internalTrafficPolicy', trafficPolicies],
  ] as const) {
    const value = fieldAt(service, 'spec', field);
    if (value !== undefined && !(values as readonly unknown[]).includes(value))
      causes.push(notSupported(`spec.${field}`, value, values));
  }
  for (const [field, needs, why] of fieldsOf)
    if (hasField(service, field) && !needs(service)) causes.push(forbiddenField(`spec.${field}`, why));
  const distribution = fieldAt(service, 'spec', 'trafficDistribution');
  if (distribution !== undefined && !distributions.includes(distribution as string))
    causes.push(notSupported('spec.trafficDistribution', distribution, distributions));
  const seconds = fieldAt(service, 'spec', 'sessionAffinityConfig', 'clientIP', 'timeoutSeconds');
  if (seconds !== undefined && !(Number(seconds) > 0 && Number(seconds) <= DAY_SECONDS))
    causes.push(
      invalidValue(
        'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
        seconds,
        `must be greater than 0 and less than ${DAY_SECONDS}`,
      ),
    );
  arrayAt(service, 'spec', 'externalIPs').forEach((ip, i) => causes.push(...ipAddress(ip, `spec.externalIPs[${i}]`)));
  arrayAt(service, 'spec', 'loadBalancerSourceRanges').forEach((range, i) =>
    causes.push(...cidr(typeof range === 'string' ? range.trim() : range, `spec.LoadBalancerSourceRanges[${i}]`)),
  );
  return causes;
}

function ports(service: ApiObject): Cause[] {
  const causes: Cause[] = [];
  const all = arrayAt(service, 'spec', 'ports');
  const names = new Set<string>();
  const pairs = new Set<string>();
  all.forEach((port, i) => {
    const at = `spec.ports[${i}]`;
    const name = stringAt(port, 'name');
    const number = fieldAt(port, 'port');
    const pair = `${String(number)}/${stringAt(port, 'protocol')}`;
    if (name !== '') causes.push(...dnsLabel(name, `${at}.name`));
    else if (all.length > 1) causes.push(required(`${at}.name`));
    if (name !== '' && names.has(name)) causes.push(duplicate(`${at}.name`, name));
    names.add(name);
    causes.push(...portNumber(number, `${at}.port`));
    if (pairs.has(pair)) causes.push(duplicate(at, { port: number, protocol: stringAt(port, 'protocol') }));
    pairs.add(pair);
    if (!protocols.includes(stringAt(port, 'protocol')))
      causes.push(notSupported(`${at}.protocol`, fieldAt(port, 'protocol'), protocols));
    if (fieldAt(port, 'targetPort') !== undefined)
      causes.push(...portNumberOrName(fieldAt(port, 'targetPort'), `${at}.targetPort`));
    const nodePort = fieldAt(port, 'nodePort');
    const type = stringAt(service, 'spec', 'type');
    if (nodePort !== undefined && nodePort !== 0 && type === 'ClusterIP')
      causes.push(forbiddenField(`${at}.nodePort`, "may not be used when `type` is 'ClusterIP'"));
  });
  return causes;
}
