/** How the nodes of an embedded cluster reach each other, as flags and configuration say; pure. */
import { UsageError } from '../usage.ts';

export const ROUTINGS = ['native', 'vxlan', 'geneve'] as const;
export type Routing = (typeof ROUTINGS)[number];
export const ENCRYPTIONS = ['none', 'wireguard', 'ipsec'] as const;
export type Encryption = (typeof ENCRYPTIONS)[number];

export type Fields = Readonly<Record<string, unknown>>;

/** As much of a network as the embedded cluster acts upon. */
export interface Network {
  routing: Routing;
  encryption: Encryption;
  /** The network between the nodes knows where pods are, as a cloud's does. */
  knowsPods: boolean;
}

export function oneOf<T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((one) => one === value);
  if (found === undefined)
    throw new UsageError(`flag --${flag} is ${JSON.stringify(value)}, expected ${allowed.join(' | ')}`);
  return found;
}

const isObject = (value: unknown): value is Fields =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** Sections are joined field by field; the later one wins. */
export function merged(...configs: readonly Fields[]): Fields {
  const result: Record<string, unknown> = {};
  for (const config of configs) {
    for (const [field, value] of Object.entries(config)) {
      const before = result[field];
      result[field] = isObject(before) && isObject(value) ? { ...before, ...value } : value;
    }
  }
  return result;
}

/** Of agents' configuration; what is not there or makes no sense is as the agent has it, which will say so. */
export function networkOf(config: Fields): Network {
  const section = (name: string): Fields => (isObject(config[name]) ? config[name] : {});
  const { mode, autoDirectNodeRoutes } = section('routing');
  const { type } = section('encryption');
  const routing = ROUTINGS.find((one) => one === mode) ?? 'native';
  return {
    routing,
    encryption: ENCRYPTIONS.find((one) => one === type) ?? 'none',
    knowsPods: routing === 'native' && autoDirectNodeRoutes !== true,
  };
}

/** Each node asks every other, so the whole cluster's probes grow with the square of it, and this keeps them even. */
const PROBES_PER_NODE_MS = 500;
const PROBE_MIN_MS = 2_000;

/** A node alone has nobody to probe. */
export const healthOf = (nodes: number): Fields => ({
  enabled: nodes > 1,
  intervalMs: Math.max(PROBE_MIN_MS, nodes * PROBES_PER_NODE_MS),
});
