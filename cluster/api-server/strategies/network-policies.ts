/** NetworkPolicies: policy types follow from the rules when absent; CIDRs, exceptions and ports are checked. */
import ipaddr from 'ipaddr.js';
import { type LabelSelector, SelectorError, selectorRequirements } from '../../selectors.ts';
import { forbiddenField, invalidValue, notSupported, required } from '../errors.ts';
import { cidr, isCidr, portNumberOrName } from '../names.ts';
import { arrayAt, type Cause, fieldAt, isRecord, type Strategy, stringAt } from '../types.ts';

const protocols = ['TCP', 'UDP', 'SCTP'];

export const networkPolicyStrategy: Strategy = {
  defaults(draft) {
    if (!isRecord(draft.spec)) return;
    const spec = draft.spec;
    if (spec.policyTypes === undefined || arrayAt(spec, 'policyTypes').length === 0) {
      spec.policyTypes = arrayAt(spec, 'egress').length > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
    }
    for (const rule of [...arrayAt(spec, 'ingress'), ...arrayAt(spec, 'egress')]) {
      for (const port of arrayAt(rule, 'ports')) if (isRecord(port)) port.protocol ??= 'TCP';
    }
  },
  validate(draft) {
    const causes: Cause[] = [...selector(fieldAt(draft, 'spec', 'podSelector'), 'spec.podSelector')];
    arrayAt(draft, 'spec', 'policyTypes').forEach((type, i) => {
      if (type !== 'Ingress' && type !== 'Egress')
        causes.push(notSupported(`spec.policyTypes[${i}]`, type, ['Ingress', 'Egress']));
    });
    for (const [direction, peers] of [
      ['ingress', 'from'],
      ['egress', 'to'],
    ] as const) {
      arrayAt(draft, 'spec', direction).forEach((rule, i) => {
        const at = `spec.${direction}[${i}]`;
        arrayAt(rule, 'ports').forEach((port, j) => causes.push(...validPort(port, `${at}.ports[${j}]`)));
        arrayAt(rule, peers).forEach((peer, j) => causes.push(...validPeer(peer, `${at}.${peers}[${j}]`)));
      });
    }
    return causes;
  },
};

export function selector(value: unknown, field: string): Cause[] {
  try {
    selectorRequirements((value ?? {}) as LabelSelector);
    return [];
  } catch (error) {
    if (error instanceof SelectorError) return [invalidValue(field, value, error.message)];
    throw error;
  }
}

function validPort(port: unknown, at: string): Cause[] {
  const causes: Cause[] = [];
  const number = fieldAt(port, 'port');
  const end = fieldAt(port, 'endPort');
  if (!protocols.includes(stringAt(port, 'protocol')))
    causes.push(notSupported(`${at}.protocol`, fieldAt(port, 'protocol'), protocols));
  if (number !== undefined) causes.push(...portNumberOrName(number, `${at}.port`));
  if (end !== undefined && typeof number !== 'number')
    causes.push(invalidValue(`${at}.endPort`, end, 'may not be specified when `port` is not a number'));
  else if (end !== undefined && Number(end) < Number(number))
    causes.push(invalidValue(`${at}.endPort`, end, 'must be greater than or equal to `port`'));
  return causes;
}

function validPeer(peer: unknown, at: string): Cause[] {
  const block = fieldAt(peer, 'ipBlock');
  const selectors = ['podSelector', 'namespaceSelector'].filter((field) => fieldAt(peer, field) !== undefined);
  const causes = selectors.flatMap((field) => selector(fieldAt(peer, field), `${at}.${field}`));
  if (block === undefined) return selectors.length > 0 ? causes : [required(at, 'must specify a peer')];
  if (selectors.length > 0) causes.push(forbiddenField(at, 'may not specify both ipBlock and another peer'));
  const range = stringAt(block, 'cidr');
  causes.push(...cidr(range, `${at}.ipBlock.cidr`));
  arrayAt(block, 'except').forEach((except, i) => {
    const field = `${at}.ipBlock.except[${i}]`;
    causes.push(...cidr(except, field));
    if (typeof except === 'string' && isCidr(except) && isCidr(range) && !inside(except, range))
      causes.push(invalidValue(field, except, `must be a strict subset of \`cidr\` ${range}`));
  });
  return causes;
}

function inside(inner: string, outer: string): boolean {
  const [address, length] = ipaddr.parseCIDR(inner);
  const [network, bits] = ipaddr.parseCIDR(outer);
  return address.kind() === network.kind() && length > bits && address.match(network, bits);
}
