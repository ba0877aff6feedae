/** What Kubernetes accepts as names, label keys and values, ports and addresses; each check returns causes. */
import ipaddr from 'ipaddr.js';
import { invalidValue, required } from './errors.ts';
import type { Cause, ObjectMeta } from './types.ts';

const labelPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const subdomainPattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const qualifiedPattern = /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/;

const subdomainRule =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com')";
const labelRule =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name')";

export function dnsLabel(value: unknown, field: string): Cause[] {
  if (typeof value !== 'string' || value === '') return [required(field)];
  if (value.length > 63) return [invalidValue(field, value, 'must be no more than 63 characters')];
  return labelPattern.test(value) ? [] : [invalidValue(field, value, labelRule)];
}

export function dnsSubdomain(value: unknown, field: string): Cause[] {
  if (typeof value !== 'string' || value === '') return [required(field)];
  if (value.length > 253) return [invalidValue(field, value, 'must be no more than 253 characters')];
  return subdomainPattern.test(value) ? [] : [invalidValue(field, value, subdomainRule)];
}

export function labelKey(key: string, field: string): Cause[] {
  const parts = key.split('/');
  const bare = parts.at(-1) ?? '';
  if (parts.length > 2) return [invalidValue(field, key, 'a qualified name has at most one "/"')];
  if (parts.length === 2 && (parts[0] === '' || !subdomainPattern.test(parts[0] ?? '')))
    return [invalidValue(field, key, `prefix part ${subdomainRule}`)];
  if (bare.length > 63) return [invalidValue(field, key, 'name part must be no more than 63 characters')];
  return qualifiedPattern.test(bare)
    ? []
    : [
        invalidValue(
          field,
          key,
          "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        ),
      ];
}

export function labelValue(value: unknown, field: string): Cause[] {
  if (typeof value !== 'string') return [invalidValue(field, value, 'a label value must be a string')];
  if (value.length > 63) return [invalidValue(field, value, 'must be no more than 63 characters')];
  return value === '' || qualifiedPattern.test(value)
    ? []
    : [
        invalidValue(
          field,
          value,
          "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
        ),
      ];
}

export function labels(map: unknown, field: string): Cause[] {
  return Object.entries((map ?? {}) as Record<string, unknown>).flatMap(([key, value]) => [
    ...labelKey(key, field),
    ...labelValue(value, `${field}.${key}`),
  ]);
}

export function portNumber(value: unknown, field: string): Cause[] {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 65535) return [];
  return [invalidValue(field, value, 'must be between 1 and 65535, inclusive')];
}

/** A port number, or the name of a container port. */
export function portNumberOrName(value: unknown, field: string): Cause[] {
  if (typeof value !== 'string') return portNumber(value, field);
  if (value.length <= 15 && labelPattern.test(value) && /[a-z]/.test(value) && !value.includes('--')) return [];
  return [
    invalidValue(
      field,
      value,
      'a port name has at most 15 lower case alphanumeric characters or single "-", and at least one letter',
    ),
  ];
}

export function ipAddress(value: unknown, field: string): Cause[] {
  if (typeof value === 'string' && isAddress(value)) return [];
  return [invalidValue(field, value, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)')];
}

export function cidr(value: unknown, field: string): Cause[] {
  if (typeof value === 'string' && isCidr(value)) return [];
  return [invalidValue(field, value, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')];
}

/** Four dotted decimals or IPv6; not the looser forms that the parser also takes. */
export function isAddress(text: string): boolean {
  return text.includes(':')
    ? ipaddr.IPv6.isValid(text) && !text.includes('%')
    : ipaddr.IPv4.isValidFourPartDecimal(text);
}

export function isCidr(text: string): boolean {
  const [address = '', length = '', more] = text.split('/');
  if (more !== undefined || !/^\d{1,3}$/.test(length) || !isAddress(address)) return false;
  return Number(length) <= (address.includes(':') ? 128 : 32);
}

/** Everything that holds for the metadata of every kind. */
export function validateMetadata(
  metadata: ObjectMeta,
  namespaced: boolean,
  name: (value: unknown, field: string) => Cause[],
): Cause[] {
  const causes: Cause[] = [];
  if (metadata.generateName && !metadata.name)
    causes.push(required('metadata.name', 'name or generateName is required'));
  else causes.push(...name(metadata.name, 'metadata.name'));
  if (namespaced) causes.push(...dnsLabel(metadata.namespace, 'metadata.namespace'));
  causes.push(...labels(metadata.labels, 'metadata.labels'));
  for (const key of Object.keys(metadata.annotations ?? {}))
    causes.push(...labelKey(key.toLowerCase(), 'metadata.annotations'));
  for (const [i, finalizer] of (metadata.finalizers ?? []).entries())
    causes.push(...labelKey(finalizer, `metadata.finalizers[${i}]`));
  return causes;
}
