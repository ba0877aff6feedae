/** What flags of filters take: words for people as the values of Hubble's API; each throws what was expected. */
import { dropReasons } from '../../state/drop-reasons.ts';

export const identity = (value: string): number => {
  const reserved = RESERVED.indexOf(value.replace(/^reserved:/, ''));
  const number = reserved >= 0 ? reserved : Number(value);
  if (!Number.isInteger(number) || number < 0)
    throw new Error(`expected a number or one of ${RESERVED.slice(1).join(', ')}`);
  return number;
};
const RESERVED = [
  'unknown',
  'host',
  'world',
  'unmanaged',
  'health',
  'init',
  'remote-node',
  'kube-apiserver',
  'ingress',
  'world-ipv4',
  'world-ipv6',
];

const EVENT_TYPES: Readonly<Record<string, number>> = {
  drop: 1,
  debug: 2,
  capture: 3,
  trace: 4,
  'policy-verdict': 5,
  'trace-sock': 7,
  l7: 129,
};
const POINTS = [
  'to-endpoint',
  'to-proxy',
  'to-host',
  'to-stack',
  'to-overlay',
  'from-endpoint',
  'from-proxy',
  'from-host',
  'from-stack',
  'from-overlay',
  'from-network',
  'to-network',
  'from-crypto',
  'to-crypto',
];

export function eventType(value: string): unknown {
  const [kind = '', sub] = value.split(':');
  const type = EVENT_TYPES[kind];
  if (type === undefined) throw new Error(`expected ${Object.keys(EVENT_TYPES).join(', ')}, or trace:POINT`);
  if (sub === undefined) return { type };
  const point = POINTS.indexOf(sub);
  const number = type === EVENT_TYPES['trace'] && point >= 0 ? point : Number(sub);
  if (!Number.isInteger(number)) throw new Error(`expected trace:POINT with ${POINTS.join(', ')}`);
  return { type, match_sub_type: true, sub_type: number };
}

export const VERDICTS = ['FORWARDED', 'DROPPED', 'ERROR', 'AUDIT', 'REDIRECTED', 'TRACED', 'TRANSLATED'];
export const oneOf =
  (words: readonly string[]) =>
  (value: string): string => {
    const word = value.toUpperCase().replaceAll('-', '_');
    if (!words.includes(word)) throw new Error(`expected ${words.join(', ')}`);
    return word;
  };
const TCP_FLAGS = ['FIN', 'SYN', 'RST', 'PSH', 'ACK', 'URG', 'ECE', 'CWR', 'NS'];
export const tcpFlags = (value: string): unknown =>
  Object.fromEntries(value.split(',').map((flag) => [oneOf(TCP_FLAGS)(flag.trim()), true]));
export const DROP_REASONS = [...dropReasons.values()].flatMap(({ kind, proto }) =>
  kind === 'drop' && proto ? [proto] : [],
);
export const workload = (value: string): unknown => {
  const [kind, name] = value.includes('/') ? value.split('/') : ['', value];
  return { kind, name };
};

export const header = (value: string): unknown => {
  const colon = value.indexOf(':');
  if (colon < 1) throw new Error('expected NAME:VALUE');
  return { key: value.slice(0, colon), value: value.slice(colon + 1) };
};
export const whole = (value: string): number => {
  if (!/^[0-9]{1,15}$/.test(value)) throw new Error('expected a number');
  return Number(value);
};
export const ipVersion = (value: string): string => {
  const family = /^(?:ip)?v?([46])$/i.exec(value)?.[1];
  if (family === undefined) throw new Error('expected 4 or 6');
  return `IPv${family}`;
};
