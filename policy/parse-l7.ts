/** What only a proxy can enforce: its syntax is checked, and its presence is told. */
import type { Fields, Reader } from './fields.ts';
import type { PortMatch } from './rule.ts';

const FQDN_NAME = /^[-a-zA-Z0-9_]+(\.[-a-zA-Z0-9_]+)*\.?$/;
const FQDN_PATTERN = /^[-a-zA-Z0-9_*]+(\.[-a-zA-Z0-9_*]+)*\.?$/;
const FQDN_MAX = 255;

interface Around {
  ports: readonly PortMatch[] | undefined;
  egress: boolean;
}

/** Of one member of toPorts: what it needs a proxy for, or nothing. */
export function readL7(reader: Reader, fields: Fields, path: string, around: Around): string[] {
  const needs: string[] = [];
  const names = reader.each(fields.serverNames, `${path}.serverNames`, (name, at) => readPattern(reader, name, at));
  if (names && names.length > 0) needs.push('serverNames');
  for (const tls of ['terminatingTLS', 'originatingTLS']) {
    if (!reader.present(fields, [tls]).length) continue;
    readTls(reader, fields[tls], `${path}.${tls}`);
    needs.push(tls);
  }
  if (reader.present(fields, ['listener']).length > 0) {
    if (!around.egress) reader.bad(`${path}.listener`, fields.listener, 'only egress rules can have a listener');
    if (reader.present(fields, ['rules']).length > 0)
      reader.bad(`${path}.listener`, fields.listener, 'cannot go with rules');
    readListener(reader, fields.listener, `${path}.listener`);
    needs.push('listener');
  }
  if (reader.present(fields, ['rules']).length > 0) {
    const rules = readRules(reader, fields.rules, `${path}.rules`, around);
    if (rules && names && names.length > 0 && !reader.present(fields, ['terminatingTLS']).length)
      reader.bad(`${path}.serverNames`, fields.serverNames, 'with rules only if there is terminatingTLS');
    if (rules) needs.push(rules);
  }
  return needs;
}

const kinds = ['http', 'kafka', 'dns', 'l7'] as const;

function readRules(reader: Reader, value: unknown, path: string, { ports, egress }: Around): string | undefined {
  const rules = reader.fields(value, path, [...kinds, 'l7proto']);
  if (!rules) return undefined;
  const read = {
    http: (member: unknown, at: string) => readHttp(reader, member, at),
    kafka: (member: unknown, at: string) => readKafka(reader, member, at),
    dns: (member: unknown, at: string) => readFqdn(reader, member, at),
    l7: (member: unknown, at: string) => reader.fields(member, at),
  };
  const filled = kinds.filter((kind) => (reader.each(rules[kind], `${path}.${kind}`, read[kind])?.length ?? 0) > 0);
  const proto = reader.text(rules.l7proto, `${path}.l7proto`);
  if (filled.includes('l7') && !proto) reader.bad(`${path}.l7proto`, rules.l7proto, 'must name the protocol of l7');
  const present = [...filled.filter((kind) => kind !== 'l7'), ...(proto ? ['l7proto'] : [])];
  if (present.length > 1) reader.bad(path, present, 'must have at most one of http, kafka, dns, l7proto');
  const [kind] = present;
  // An empty list asks for nothing that a proxy would do.
  if (kind === undefined) return undefined;
  if (!ports || ports.length === 0) reader.bad(path, kind, 'needs ports');
  for (const port of ports ?? []) {
    if (port.kind === 'range' && port.first === 0) reader.bad(path, kind, 'cannot go with port "0"');
    if (kind === 'http' && port.protocol !== 'TCP')
      reader.bad(path, port.protocol, 'http needs protocol TCP, said explicitly');
    if (kind === 'kafka' && port.protocol !== 'TCP')
      reader.bad(path, port.protocol, 'kafka needs protocol TCP, said explicitly');
    if (kind === 'dns' && port.kind === 'range' && port.first !== port.last)
      reader.bad(path, kind, 'cannot go with a port range');
    if (kind === 'dns' && !['TCP', 'UDP', 'ANY'].includes(port.protocol))
      reader.bad(path, port.protocol, 'dns needs UDP, TCP or ANY');
  }
  if (kind === 'dns' && !egress) reader.bad(path, kind, 'only egress rules can have dns');
  return kind;
}

function readHttp(reader: Reader, value: unknown, path: string): Fields | undefined {
  const http = reader.fields(value, path, ['path', 'method', 'host', 'headers', 'headerMatches']);
  if (!http) return undefined;
  for (const name of ['path', 'method', 'host']) {
    const text = reader.text(http[name], `${path}.${name}`);
    if (text !== undefined) readRegex(reader, text, `${path}.${name}`);
  }
  reader.each(http.headers, `${path}.headers`, (header, at) =>
    typeof header === 'string' && header.trim() !== ''
      ? header
      : reader.bad(at, header, 'must be "Name" or "Name value"'),
  );
  reader.each(http.headerMatches, `${path}.headerMatches`, (match, at) => {
    const fields = reader.fields(match, at, ['name', 'value', 'secret', 'mismatch']);
    if (fields && (typeof fields.name !== 'string' || fields.name === ''))
      reader.bad(`${at}.name`, fields.name, 'must name a header');
    const { mismatch } = fields ?? {};
    if (mismatch !== undefined && mismatch !== '' && !['LOG', 'ADD', 'DELETE', 'REPLACE'].includes(String(mismatch)))
      reader.bad(`${at}.mismatch`, mismatch, 'must be LOG, ADD, DELETE or REPLACE');
    return fields;
  });
  return http;
}

/** RE2 knows neither look-around nor references back, and JavaScript not its flags in the middle; the rest they share. */
function readRegex(reader: Reader, text: string, path: string): void {
  if (/\(\?<?[=!]|\\[1-9]/.test(text)) {
    reader.bad(path, text, 'must be an RE2 expression: without look-around and references back');
    return;
  }
  const plain = text
    .replace(/\(\?[imsU-]+\)/g, '')
    .replace(/\(\?[imsU-]+:/g, '(?:')
    .replaceAll('(?P<', '(?<');
  try {
    new RegExp(plain.replace(/\[:\w+:\]/g, 'a'));
  } catch (error) {
    reader.bad(path, text, `must be a regular expression: ${error instanceof Error ? error.message : ''}`);
  }
}

function readKafka(reader: Reader, value: unknown, path: string): Fields | undefined {
  const kafka = reader.fields(value, path, ['apiKey', 'apiVersion', 'clientID', 'role', 'topic']);
  if (kafka && reader.present(kafka, ['role', 'apiKey']).length > 1)
    reader.bad(path, kafka, 'must have only one of role, apiKey');
  if (kafka && kafka.role !== undefined && kafka.role !== 'produce' && kafka.role !== 'consume')
    reader.bad(`${path}.role`, kafka.role, 'must be produce or consume');
  return kafka;
}

export function readFqdn(
  reader: Reader,
  value: unknown,
  path: string,
): { matchName: string; matchPattern: string } | undefined {
  const fields = reader.fields(value, path, ['matchName', 'matchPattern']);
  const which = fields && reader.exactlyOne(fields, path, ['matchName', 'matchPattern']);
  if (!fields || !which) return undefined;
  if (which === 'matchPattern') {
    const matchPattern = readPattern(reader, fields.matchPattern, `${path}.matchPattern`);
    return matchPattern === undefined ? undefined : { matchName: '', matchPattern };
  }
  const { matchName } = fields;
  if (typeof matchName === 'string' && matchName.length <= FQDN_MAX && FQDN_NAME.test(matchName))
    return { matchName, matchPattern: '' };
  return reader.bad(`${path}.matchName`, matchName, 'must be a domain name of at most 255 characters');
}

function readPattern(reader: Reader, value: unknown, path: string): string | undefined {
  if (typeof value === 'string' && value.length <= FQDN_MAX && FQDN_PATTERN.test(value)) return value;
  return reader.bad(
    path,
    value,
    'must be a domain name of at most 255 characters, in which "*" may stand for part of a label',
  );
}

function readTls(reader: Reader, value: unknown, path: string): void {
  const tls = reader.fields(value, path, ['secret', 'certificate', 'privateKey', 'trustedCA']);
  const secret = tls && reader.fields(tls.secret, `${path}.secret`, ['name', 'namespace']);
  if (secret && (typeof secret.name !== 'string' || secret.name === ''))
    reader.bad(`${path}.secret.name`, secret.name, 'must name a Secret');
}

function readListener(reader: Reader, value: unknown, path: string): void {
  const listener = reader.fields(value, path, ['envoyConfig', 'name', 'priority']);
  if (!listener) return;
  if (typeof listener.name !== 'string' || listener.name === '')
    reader.bad(`${path}.name`, listener.name, 'must name a listener');
  const { priority } = listener;
  if (priority !== undefined && !(Number.isInteger(priority) && Number(priority) >= 1 && Number(priority) <= 100))
    reader.bad(`${path}.priority`, priority, 'must be a whole number from 1 to 100');
  const config = reader.fields(listener.envoyConfig, `${path}.envoyConfig`, ['kind', 'name']);
  if (config && (typeof config.name !== 'string' || config.name === ''))
    reader.bad(`${path}.envoyConfig.name`, config.name, 'must name an Envoy configuration');
}
