/** Sections `services` and `policy` of the agent's configuration: what may be in them, and what it means. */
import type { ServiceFacts } from '../cluster/events.ts';
import { cgroup2Mount } from '../datapath/cgroup2.ts';
import { maglevSizes } from '../datapath/maglev.ts';
import { canonicalCidr } from '../machines/cidr.ts';

/** As written: in mode partial the parts that are wanted; strict has all of them and off none. */
export type ServicesConfig = Omit<ServiceFacts, 'sockHooks'>;

export interface PolicyConfig {
  enforcement: 'default' | 'always' | 'never';
  /** What policy would deny passes, with an event that says so. */
  audit: boolean;
  /** Rules with a nodeSelector are about this node. */
  hostFirewall: boolean;
  /** The node reaches its pods unless a rule denies it. */
  allowLocalhost: boolean;
  /** fromNodes and toNodes select by labels of nodes: each other node has an identity of its own. */
  nodeSelectorLabels: boolean;
  /** A pod whose labels change keeps its identity until the new one is this old: other nodes know it by then. */
  identityChangeGraceMs: number;
  /** Labels that make up identities, beside the built-in patterns: `app`, or `!version` for one that does not. */
  labels: string[];
}

export const servicesDefaults: ServicesConfig = {
  mode: 'strict',
  socketLB: true,
  nodePort: true,
  externalIPs: true,
  hostPort: true,
  healthPorts: true,
  xdp: 'off',
  forwarding: 'snat',
  algorithm: 'random',
  maglevTableSize: 16_381,
  nodePortAddresses: [],
  loadBalancerClasses: ['io.cilium/bgp-control-plane', 'io.cilium/l2-announcer'],
  /** Empty: where cgroup v2 is mounted. */
  cgroupRoot: '',
};

export const policyDefaults: PolicyConfig = {
  enforcement: 'default',
  audit: false,
  hostFirewall: false,
  allowLocalhost: true,
  nodeSelectorLabels: false,
  identityChangeGraceMs: 5_000,
  labels: [],
};

/** The only values that a field may have, by `section.field`. */
export const choices: Readonly<Record<string, readonly (string | number)[]>> = {
  'services.mode': ['strict', 'partial', 'off'],
  'services.xdp': ['off', 'generic', 'native', 'best-effort'],
  'services.forwarding': ['snat', 'dsr'],
  'services.algorithm': ['random', 'maglev'],
  'services.maglevTableSize': maglevSizes,
  'policy.enforcement': ['default', 'always', 'never'],
};

/** `hooks` are those of sockets that this kernel has. */
export function serviceFacts(config: ServicesConfig, hooks: readonly string[]): ServiceFacts {
  const { mode } = config;
  const part = (asked: boolean): boolean => mode === 'strict' || (mode === 'partial' && asked);
  return {
    ...config,
    socketLB: part(config.socketLB),
    nodePort: part(config.nodePort),
    externalIPs: part(config.externalIPs),
    hostPort: part(config.hostPort),
    healthPorts: part(config.healthPorts),
    xdp: mode === 'off' ? 'off' : config.xdp,
    sockHooks: part(config.socketLB) ? hooks : [],
    cgroupRoot: mode === 'off' ? '' : config.cgroupRoot || cgroup2Mount() || '',
  };
}

/** What is wrong in lists, in words. */
export function servicesTrouble({ nodePortAddresses, loadBalancerClasses }: ServicesConfig): string | undefined {
  const wrong = (nodePortAddresses as unknown[]).find(
    (place) => place !== 'primary' && (typeof place !== 'string' || canonicalCidr(place) === undefined),
  );
  if (wrong !== undefined)
    return `field services.nodePortAddresses has ${JSON.stringify(wrong)}, expected CIDRs or "primary"`;
  const nameless = (loadBalancerClasses as unknown[]).find((name) => typeof name !== 'string' || name === '');
  return nameless === undefined
    ? undefined
    : `field services.loadBalancerClasses has ${JSON.stringify(nameless)}, expected names of classes`;
}
