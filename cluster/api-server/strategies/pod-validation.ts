/** What makes a pod invalid: each cause names the field, the value and what was expected. */
import { duplicate, forbiddenField, invalidValue, notSupported, required } from '../errors.ts';
import { dnsLabel, dnsSubdomain, ipAddress, portNumber, portNumberOrName } from '../names.ts';
import { type ApiObject, arrayAt, type Cause, fieldAt, isRecord, stringAt } from '../types.ts';

const protocols = ['TCP', 'UDP', 'SCTP'];

export function validatePod(pod: ApiObject): Cause[] {
  if (!isRecord(pod.spec)) return [required('spec')];
  const causes: Cause[] = [];
  const restart = stringAt(pod, 'spec', 'restartPolicy');
  if (!['Always', 'OnFailure', 'Never'].includes(restart))
    causes.push(notSupported('spec.restartPolicy', restart, ['Always', 'OnFailure', 'Never']));
  const dns = stringAt(pod, 'spec', 'dnsPolicy');
  const dnsPolicies = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'];
  if (!dnsPolicies.includes(dns)) causes.push(notSupported('spec.dnsPolicy', dns, dnsPolicies));
  const grace = fieldAt(pod, 'spec', 'terminationGracePeriodSeconds');
  if (typeof grace === 'number' && grace < 0)
    causes.push(invalidValue('spec.terminationGracePeriodSeconds', grace, 'must be greater than or equal to 0'));
  const node = stringAt(pod, 'spec', 'nodeName');
  if (node !== '') causes.push(...dnsSubdomain(node, 'spec.nodeName'));
  const hostname = fieldAt(pod, 'spec', 'hostname');
  if (hostname !== undefined && hostname !== '') causes.push(...dnsLabel(hostname, 'spec.hostname'));
  causes.push(...validVolumes(pod));
  if (arrayAt(pod, 'spec', 'containers').length === 0) causes.push(required('spec.containers'));
  const names = new Set<string>();
  for (const list of ['initContainers', 'containers']) {
    arrayAt(pod, 'spec', list).forEach((container, i) =>
      causes.push(...validContainer(pod, container, `spec.${list}[${i}]`, names)),
    );
  }
  arrayAt(pod, 'spec', 'hostAliases').forEach((alias, i) =>
    causes.push(...ipAddress(fieldAt(alias, 'ip'), `spec.hostAliases[${i}].ip`)),
  );
  arrayAt(pod, 'status', 'podIPs').forEach((entry, i) =>
    causes.push(...ipAddress(fieldAt(entry, 'ip'), `status.podIPs[${i}].ip`)),
  );
  return causes;
}

function validVolumes(pod: ApiObject): Cause[] {
  const seen = new Set<string>();
  return arrayAt(pod, 'spec', 'volumes').flatMap((volume, i) => {
    const name = stringAt(volume, 'name');
    const causes = dnsLabel(fieldAt(volume, 'name'), `spec.volumes[${i}].name`);
    if (seen.has(name)) causes.push(duplicate(`spec.volumes[${i}].name`, name));
    seen.add(name);
    return causes;
  });
}

function validContainer(pod: ApiObject, container: unknown, at: string, names: Set<string>): Cause[] {
  const causes: Cause[] = [];
  const name = stringAt(container, 'name');
  causes.push(...dnsLabel(fieldAt(container, 'name'), `${at}.name`));
  if (name !== '' && names.has(name)) causes.push(duplicate(`${at}.name`, name));
  names.add(name);
  const image = fieldAt(container, 'image');
  if (image === undefined || image === '') causes.push(required(`${at}.image`));
  else if (typeof image === 'string' && image.trim() !== image)
    causes.push(invalidValue(`${at}.image`, image, 'must not have leading or trailing whitespace'));
  const policy = fieldAt(container, 'imagePullPolicy');
  const policies = ['Always', 'IfNotPresent', 'Never'];
  if (!policies.includes(String(policy))) causes.push(notSupported(`${at}.imagePullPolicy`, policy, policies));
  causes.push(...validPorts(pod, container, at));
  arrayAt(container, 'env').forEach((env, i) => {
    const variable = stringAt(env, 'name');
    if (variable === '') causes.push(required(`${at}.env[${i}].name`));
    else if (variable.includes('='))
      causes.push(
        invalidValue(`${at}.env[${i}].name`, variable, "a valid environment variable name must not contain '='"),
      );
    if (fieldAt(env, 'value') && fieldAt(env, 'valueFrom') !== undefined)
      causes.push(forbiddenField(`${at}.env[${i}].valueFrom`, 'may not be specified when `value` is not empty'));
  });
  const volumes = new Set(arrayAt(pod, 'spec', 'volumes').map((volume) => stringAt(volume, 'name')));
  arrayAt(container, 'volumeMounts').forEach((mount, i) => {
    const volume = stringAt(mount, 'name');
    if (!volumes.has(volume))
      causes.push({
        reason: 'FieldValueInvalid',
        message: `Not found: ${JSON.stringify(volume)}`,
        field: `${at}.volumeMounts[${i}].name`,
      });
    if (stringAt(mount, 'mountPath') === '') causes.push(required(`${at}.volumeMounts[${i}].mountPath`));
  });
  for (const probe of ['livenessProbe', 'readinessProbe', 'startupProbe'])
    causes.push(...validProbe(fieldAt(container, probe), `${at}.${probe}`));
  return causes;
}

function validPorts(pod: ApiObject, container: unknown, at: string): Cause[] {
  const names = new Set<string>();
  return arrayAt(container, 'ports').flatMap((port, i) => {
    const field = `${at}.ports[${i}]`;
    const name = stringAt(port, 'name');
    const number = fieldAt(port, 'containerPort');
    const hostPort = fieldAt(port, 'hostPort');
    const causes =
      number === undefined ? [required(`${field}.containerPort`)] : portNumber(number, `${field}.containerPort`);
    if (!protocols.includes(stringAt(port, 'protocol')))
      causes.push(notSupported(`${field}.protocol`, fieldAt(port, 'protocol'), protocols));
    if (name !== '') {
      causes.push(...portNumberOrName(name, `${field}.name`));
      if (names.has(name)) causes.push(duplicate(`${field}.name`, name));
      names.add(name);
    }
    if (hostPort !== undefined && hostPort !== 0) causes.push(...portNumber(hostPort, `${field}.hostPort`));
    if (fieldAt(pod, 'spec', 'hostNetwork') === true && hostPort !== number)
      causes.push(invalidValue(`${field}.hostPort`, hostPort, 'must match `containerPort` when `hostNetwork` is true'));
    return causes;
  });
}

const handlers = ['exec', 'httpGet', 'tcpSocket', 'grpc'];

function validProbe(probe: unknown, at: string): Cause[] {
  if (probe === undefined) return [];
  const given = handlers.filter((handler) => fieldAt(probe, handler) !== undefined);
  if (given.length === 0) return [required(at, 'must specify a handler type')];
  if (given.length > 1) return [forbiddenField(`${at}.${given[1]}`, 'may not specify more than 1 handler type')];
  const handler = given[0] ?? '';
  if (handler === 'httpGet' || handler === 'tcpSocket')
    return portNumberOrName(fieldAt(probe, handler, 'port'), `${at}.${handler}.port`);
  return [];
}
