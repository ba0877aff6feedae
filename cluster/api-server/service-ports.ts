/**
 * Allocates node ports, and the health check node ports of load balancers with externalTrafficPolicy Local.
 *
 * - A number belongs to one service; within it several protocols may share the number.
 */
import { forbiddenField, invalidValue } from './errors.ts';
import { type ApiObject, arrayAt, type Cause, fieldAt, isRecord, stringAt } from './types.ts';

export const nodePortRange = { first: 30_000, last: 32_767 };

type Spec = Record<string, unknown>;
type IsTaken = (port: number) => boolean;

const numberAt = (value: unknown, ...path: (string | number)[]): number => Number(fieldAt(value, ...path) ?? 0) || 0;
const portsOf = (service: unknown): unknown[] => arrayAt(service, 'spec', 'ports');

/** `isTaken`: by another service. */
export function nodePorts(spec: Spec, old: ApiObject | undefined, isTaken: IsTaken): Cause[] {
  return [...portNumbers(spec, old, isTaken), ...healthCheckNodePort(spec, old, isTaken)];
}

function portNumbers(spec: Spec, old: ApiObject | undefined, isTaken: IsTaken): Cause[] {
  const isBalanced = spec.type === 'LoadBalancer';
  const isAllocated = spec.type === 'NodePort' || (isBalanced && spec.allocateLoadBalancerNodePorts !== false);
  const causes: Cause[] = [];
  /** Of this service, by protocol and number, and by the port they are for. */
  const own = new Set<string>();
  const ofPort = new Map<unknown, number>();
  arrayAt(spec, 'ports').forEach((port, i) => {
    if (!isRecord(port)) return;
    const before = portsOf(old).find(
      (was) => isRecord(was) && was.port === port.port && was.protocol === port.protocol,
    );
    if (!isAllocated && !isBalanced) return;
    const kept = numberAt(port, 'nodePort') || (isAllocated ? numberAt(before, 'nodePort') : 0);
    if (kept === 0 && !isAllocated) return;
    const at = `spec.ports[${i}].nodePort`;
    const number = kept || ofPort.get(port.port) || free(isTaken, own, String(port.protocol));
    if (number === undefined) {
      causes.push(invalidValue(at, 0, 'failed to allocate a nodePort: range is full'));
      return;
    }
    causes.push(...objections(at, number, isTaken(number) || own.has(`${number}/${String(port.protocol)}`)));
    port.nodePort = number;
    own.add(`${number}/${String(port.protocol)}`);
    ofPort.set(port.port, number);
  });
  return causes;
}

export const needsHealthPort = (spec: unknown): boolean =>
  stringAt(spec, 'type') === 'LoadBalancer' && stringAt(spec, 'externalTrafficPolicy') === 'Local';

function healthCheckNodePort(spec: Spec, old: ApiObject | undefined, isTaken: IsTaken): Cause[] {
  const at = 'spec.healthCheckNodePort';
  const before = numberAt(old, 'spec', 'healthCheckNodePort');
  const asked = numberAt(spec, 'healthCheckNodePort');
  if (!needsHealthPort(spec)) {
    if (asked === before) delete spec.healthCheckNodePort;
    else if (asked !== 0)
      return [
        forbiddenField(at, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"),
      ];
    return [];
  }
  if (before !== 0 && asked !== 0 && asked !== before && needsHealthPort(old?.spec))
    return [invalidValue(at, asked, 'field is immutable')];
  const own = new Set(
    arrayAt(spec, 'ports').flatMap((port) =>
      ['TCP', 'UDP', 'SCTP'].map((name) => `${numberAt(port, 'nodePort')}/${name}`),
    ),
  );
  const number = asked || before || free(isTaken, own, 'TCP');
  if (number === undefined) return [invalidValue(at, 0, 'failed to allocate a health check node port: range is full')];
  spec.healthCheckNodePort = number;
  return objections(at, number, isTaken(number) || own.has(`${number}/TCP`));
}

function objections(at: string, number: number, isTaken: boolean): Cause[] {
  const { first, last } = nodePortRange;
  if (number < first || number > last)
    return [
      invalidValue(at, number, `provided port is not in the valid range. The range of valid ports is ${first}-${last}`),
    ];
  return isTaken ? [invalidValue(at, number, 'provided port is already allocated')] : [];
}

function free(isTaken: IsTaken, own: ReadonlySet<string>, protocol: string): number | undefined {
  for (let number = nodePortRange.first; number <= nodePortRange.last; number++)
    if (!isTaken(number) && !own.has(`${number}/${protocol}`)) return number;
  return undefined;
}
