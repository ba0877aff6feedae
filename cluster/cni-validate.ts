/**
 * The edge where CNI requests enter: every field has a type, a length and an alphabet.
 *
 * - A bad request becomes an error that names field, value and what was expected; nothing of it reaches a machine.
 * - The plugin uses the same checks, so that a bad environment is refused even when the agent is down.
 */
import type { CniAddRequest, CniAttachment, CniCheckRequest, CniGcRequest } from './cni-types.ts';

export interface FieldError {
  field: string;
  value: string;
  expected: string;
}

export class CniInvalid extends Error {
  readonly error: FieldError;
  constructor(error: FieldError) {
    super(`${error.field} is ${error.value}, expected ${error.expected}`);
    this.error = error;
  }
}

interface Rule {
  test(value: string): boolean;
  expected: string;
}

const CONTAINER_ID_MAX = 128;
/** IFNAMSIZ - 1. */
const IFNAME_MAX = 15;
const PATH_MAX = 4096;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/;
const ADDRESSES_MAX = 16;
const ATTACHMENTS_MAX = 16_384;

/** CNI spec 1.1, "Parameters", and what the kernel and Kubernetes allow. */
export const rules = {
  containerId: {
    test: (value) => value.length <= CONTAINER_ID_MAX && /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(value),
    expected: `at most ${CONTAINER_ID_MAX} letters, digits, "_", "." or "-", starting with a letter or digit`,
  },
  ifname: {
    test: (value) => value.length <= IFNAME_MAX && value !== '.' && value !== '..' && /^[!-.0-9;-~]+$/.test(value),
    expected: `a link name: 1 to ${IFNAME_MAX} printable characters without "/", ":" and spaces`,
  },
  netns: {
    test: (value) => value.startsWith('/') && value.length < PATH_MAX && !value.includes('\0'),
    expected: 'the absolute path of a network namespace',
  },
  podNamespace: {
    test: (value) => DNS_LABEL.test(value),
    expected: 'a Kubernetes namespace: a DNS label of at most 63 characters',
  },
  podName: {
    test: (value) => value.length <= 253 && value.split('.').every((label) => DNS_LABEL.test(label)),
    expected: 'a pod name: a DNS subdomain of at most 253 characters',
  },
  podUid: {
    test: (value) => value === '' || /^[a-zA-Z0-9-]{1,64}$/.test(value),
    expected: 'a UID of at most 64 letters, digits and "-", or nothing',
  },
} satisfies Record<string, Rule>;

/** A value as people see it in an error: JSON, cut. */
export function shown(value: unknown): string {
  const text = value === undefined ? 'missing' : (JSON.stringify(value) ?? String(value));
  return text.length > 80 ? `${text.slice(0, 80)}…` : text;
}

/** Throws `CniInvalid` unless `value` is text that `rule` accepts. `field` is the name that the caller knows it by. */
export function checked(field: string, value: unknown, rule: Rule): string {
  if (typeof value !== 'string' || !rule.test(value)) {
    throw new CniInvalid({ field, value: shown(value), expected: rule.expected });
  }
  return value;
}

function fieldsOf(body: unknown, field: string): Record<string, unknown> {
  if (body === null || typeof body !== 'object' || Array.isArray(body)) {
    throw new CniInvalid({ field, value: shown(body), expected: 'a JSON object' });
  }
  return body as Record<string, unknown>;
}

function listOf(value: unknown, field: string, entriesMax: number): unknown[] {
  if (!Array.isArray(value) || value.length > entriesMax) {
    const got = Array.isArray(value) ? `a list of ${value.length}` : shown(value);
    throw new CniInvalid({ field, value: got, expected: `a list of at most ${entriesMax} entries` });
  }
  return value;
}

export function parseAttachment(body: unknown, field = 'body'): CniAttachment {
  const { containerId, ifname } = fieldsOf(body, field);
  const prefix = field === 'body' ? '' : `${field}.`;
  return {
    containerId: checked(`${prefix}containerId`, containerId, rules.containerId),
    ifname: checked(`${prefix}ifname`, ifname, rules.ifname),
  };
}

export function parseAdd(body: unknown): CniAddRequest {
  const fields = fieldsOf(body, 'body');
  return {
    ...parseAttachment(body),
    netns: checked('netns', fields.netns, rules.netns),
    podNamespace: checked('podNamespace', fields.podNamespace, rules.podNamespace),
    podName: checked('podName', fields.podName, rules.podName),
    podUid: checked('podUid', fields.podUid ?? '', rules.podUid),
  };
}

export function parseCheck(body: unknown): CniCheckRequest {
  const fields = fieldsOf(body, 'body');
  const text: Rule = {
    test: (value) => value.length > 0 && value.length <= 64,
    expected: 'an address with prefix length',
  };
  return {
    ...parseAttachment(body),
    netns: checked('netns', fields.netns, rules.netns),
    addresses: listOf(fields.addresses, 'addresses', ADDRESSES_MAX).map((entry, i) =>
      checked(`addresses[${i}]`, entry, text),
    ),
  };
}

export function parseGc(body: unknown): CniGcRequest {
  const entries = listOf(fieldsOf(body, 'body').validAttachments, 'validAttachments', ATTACHMENTS_MAX);
  return { validAttachments: entries.map((entry, i) => parseAttachment(entry, `validAttachments[${i}]`)) };
}
