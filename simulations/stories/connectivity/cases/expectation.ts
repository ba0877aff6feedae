/**
 * What a policy should do, as written by hand: one line for each direction of a subject.
 *
 * - `in red/web: red/* 8080/TCP, outside` — into red/web comes only that; lines of one subject add up. The node always gets in.
 * - `out blue/*:` — blue's pods reach nobody.
 * - `never in red/web: blue/*` — whatever else is allowed.
 * - An end is `red/web`, `red/*`, `x/db` with a star for x, `pods`, `host`, `outside` or `*`; after it may come a port, a protocol (`8080/TCP`, `8080`, `TCP`) and `v4` or `v6`.
 */
import type { Pair } from '../town.ts';

interface Line {
  isNever: boolean;
  direction: 'in' | 'out';
  subject: string;
  peers: string[];
}

export interface Case {
  name: string;
  /** Policies, and whatever they refer to. */
  yaml: string;
  /** Lines; undefined: only the oracle knows. */
  expect?: readonly string[];
}

const parsed = new Map<string, Line>();

function parse(line: string): Line {
  const known = parsed.get(line);
  if (known) return known;
  const found = /^(never )?(in|out) ([^:]+):(.*)$/.exec(line);
  if (!found) throw new TypeError(`${line} is no expectation`);
  const [, never, direction, subject = '', peers = ''] = found;
  const read: Line = {
    isNever: never !== undefined,
    direction: direction === 'in' ? 'in' : 'out',
    subject: subject.trim(),
    peers: peers.split(',').flatMap((peer) => peer.trim() || []),
  };
  parsed.set(line, read);
  return read;
}

function isEnd(pattern: string, end: string): boolean {
  if (pattern === '*' || pattern === end) return true;
  if (pattern === 'pods') return end.includes('/');
  const [namespace, role] = pattern.split('/');
  const [ofNamespace, ofRole] = end.split('/');
  if (role === undefined || ofRole === undefined) return false;
  return (namespace === '*' || namespace === ofNamespace) && (role === '*' || role === ofRole);
}

function isMeant(text: string, end: string, [protocol, address, port]: Pair['probe']): boolean {
  const [pattern = '', ...words] = text.split(/\s+/);
  const family = address.includes(':') ? 'v6' : 'v4';
  return (
    isEnd(pattern, end) &&
    words.every((word) => {
      if (word === 'v4' || word === 'v6') return word === family;
      const [first, second] = word.split('/');
      if (second !== undefined) return (first === '*' || Number(first) === port) && second === protocol;
      return first === protocol || Number(first) === port;
    })
  );
}

export function isExpected(lines: readonly string[], pair: Pair): boolean {
  const { from, to, probe } = pair;
  const ends = { in: { subject: to, peer: from }, out: { subject: from, peer: to } };
  return (['in', 'out'] as const).every((direction) => {
    const { subject, peer } = ends[direction];
    const mine = lines.map(parse).filter((line) => line.direction === direction && isEnd(line.subject, subject));
    const meets = ({ peers }: Line): boolean => peers.some((text) => isMeant(text, peer, probe));
    if (mine.some((line) => line.isNever && meets(line))) return false;
    const closing = mine.filter(({ isNever }) => !isNever);
    const isNode = direction === 'in' && peer === 'host';
    return closing.length === 0 || isNode || closing.some(meets);
  });
}

const selectorOf = (app: string): string => (app === '*' ? '{}' : `{matchLabels: {app: ${app}}}`);

/** A CiliumNetworkPolicy about one app of a namespace, or about all of it. */
export const cnp = (namespace: string, app: string, rules: string, name = 'p'): string => `
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {namespace: ${namespace}, name: ${name}}
spec: {endpointSelector: ${app.startsWith('{') ? app : selectorOf(app)}, ${rules}}
---`;

export const ccnp = (selector: string, rules: string, name = 'p'): string => `
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: ${name}}
spec: {endpointSelector: ${selector}, ${rules}}
---`;

export const knp = (namespace: string, app: string, rules: string, name = 'p'): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: ${namespace}, name: ${name}}
spec: {podSelector: ${selectorOf(app)}, ${rules}}
---`;

export const group = (name: string, cidrs: readonly string[], labels = '{}'): string => `
apiVersion: cilium.io/v2
kind: CiliumCIDRGroup
metadata: {name: ${name}, labels: ${labels}}
spec: {externalCIDRs: ${JSON.stringify(cidrs)}}
---`;

export const from = (app: string): string => `fromEndpoints: [{matchLabels: {app: ${app}}}]`;
export const to = (app: string): string => `toEndpoints: [{matchLabels: {app: ${app}}}]`;
export const inNamespace = (namespace: string): string => `"k8s:io.kubernetes.pod.namespace": ${namespace}`;
/** `8080/TCP`, `8080` (any protocol), `8000-8443/TCP`, `http/TCP`. */
export const on = (...list: string[]): string => {
  const ports = list.map((text) => {
    const [port = '', protocol] = text.split('/');
    const [first, last] = /^\d/.test(port) ? port.split('-') : [port];
    return `{port: "${first}"${last ? `, endPort: ${last}` : ''}${protocol ? `, protocol: ${protocol}` : ''}}`;
  });
  return `toPorts: [{ports: [${ports.join(', ')}]}]`;
};
