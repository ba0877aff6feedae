/**
 * What this node does of services: the configuration against what the kernel can.
 *
 * - strict starts with everything or not at all; partial does what was asked for as far as it can, and says what is off.
 */
import { statSync } from 'node:fs';
import type { ServiceFacts } from '../../cluster/events.ts';
import { type Features, NotSupported, requireSockHooks, SOCK_HOOK, sockHooksOf } from '../../datapath/features.ts';
import { type ServicesConfig, serviceFacts } from '../services-config.ts';

export interface NodeServices {
  facts: ServiceFacts;
  /** What an operator should know: which parts are off. */
  notices: string[];
}

const parts = ['socketLB', 'nodePort', 'externalIPs', 'hostPort'] as const;

/** Throws with what strict mode misses, and what to do. */
export function nodeServices(config: ServicesConfig, features: Features): NodeServices {
  const facts = serviceFacts(config, sockHooksOf(features));
  if (facts.mode === 'strict') requireAll(facts, features);
  const off = parts.filter((part) => !facts[part]);
  const notices = facts.mode !== 'off' && off.length > 0 ? [`services.mode is partial: ${off.join(', ')} off`] : [];
  if (facts.socketLB) {
    const missing = cgroupFault(facts.cgroupRoot);
    if (missing)
      return { facts: { ...facts, socketLB: false, sockHooks: [] }, notices: [...notices, `socketLB off: ${missing}`] };
  }
  // Their order is that of the hooks: the first ones matter most.
  const lacking = facts.socketLB ? features.missing.filter((line) => line.startsWith(SOCK_HOOK)) : [];
  return { facts, notices: [...notices, ...lacking] };
}

function requireAll({ cgroupRoot }: ServiceFacts, features: Features): void {
  const instead = 'services.mode partial does without';
  try {
    requireSockHooks(features);
  } catch (error) {
    if (error instanceof NotSupported) throw new Error(`services.mode is strict: ${error.message}; ${instead}`);
    throw error;
  }
  const missing = cgroupFault(cgroupRoot);
  if (missing) throw new Error(`services.mode is strict: ${missing}; ${instead}`);
}

function cgroupFault(root: string): string | undefined {
  if (root === '') return 'cgroup v2 is not mounted (mount -t cgroup2 none /sys/fs/cgroup)';
  // The root of cgroup v2 has no cgroup.type, but cgroup.procs; version 1 has no cgroup.controllers.
  const isCgroup2 = statSync(`${root}/cgroup.controllers`, { throwIfNoEntry: false })?.isFile();
  return isCgroup2 ? undefined : `services.cgroupRoot ${root} is no directory of cgroup v2`;
}
