/**
 * Policy objects as they are watched, made into rules; all that is wrong with one is told at once.
 *
 * - An object with a problem has no policy at all: what it said before stays in force, which is its reader's to see to.
 * - `needsL7` tells what of it waits for a proxy; that part denies until then.
 */
import type { KubeObject } from '../cluster/events.ts';
import type { CidrGroup } from './change.ts';
import { Reader } from './fields.ts';
import { readCiliumPolicy } from './parse-cilium.ts';
import { readNetworkPolicy } from './parse-network-policy.ts';
import { readCidr } from './parse-peers.ts';
import { directions, type Policy, type Problem, policyKey, type Rule } from './rule.ts';

export interface ParsedPolicy {
  policy?: Policy;
  problems: Problem[];
  /** What is accepted, but does not mean what it says. */
  warnings: Problem[];
  /** `http`, `toFQDNs`, …: sorted, each once. */
  needsL7: string[];
}

/** Manifests may leave it out. */
const DEFAULT_NAMESPACE = 'default';

export function parsePolicy(object: KubeObject): ParsedPolicy {
  const reader = new Reader();
  const { name } = object.metadata;
  const isClusterwide = object.kind === 'CiliumClusterwideNetworkPolicy';
  const namespace = isClusterwide ? '' : object.metadata.namespace || DEFAULT_NAMESPACE;
  const rules = readRules(reader, object, namespace);
  const { problems, warnings } = reader;
  if (problems.length > 0) return { problems, warnings, needsL7: [] };
  const elements = rules.flatMap((rule) => directions.flatMap((direction) => rule[direction]?.elements ?? []));
  return {
    policy: { key: policyKey(object.kind, namespace, name), rules },
    problems,
    warnings,
    needsL7: [...new Set(elements.flatMap(({ needsL7 }) => needsL7))].sort(),
  };
}

function readRules(reader: Reader, object: KubeObject, namespace: string): Rule[] {
  switch (object.kind) {
    case 'NetworkPolicy':
      return readNetworkPolicy(reader, object, namespace);
    case 'CiliumNetworkPolicy':
    case 'CiliumClusterwideNetworkPolicy':
      return readCiliumPolicy(reader, object, namespace);
    default:
      reader.bad('kind', object.kind, 'must be NetworkPolicy, CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy');
      return [];
  }
}

export function parseCidrGroup(object: KubeObject): { group?: CidrGroup; problems: Problem[] } {
  const reader = new Reader();
  const spec = reader.fields(object.spec, 'spec', ['externalCIDRs']);
  const at = 'spec.externalCIDRs';
  const cidrs = spec && reader.each(spec.externalCIDRs, at, (cidr, of) => readCidr(reader, cidr, of));
  if (spec && !cidrs && reader.problems.length === 0) reader.bad(at, undefined, 'must be a list of prefixes');
  if (!cidrs || reader.problems.length > 0) return { problems: reader.problems };
  const { name, labels = {} } = object.metadata;
  return { group: { name, labels, cidrs: [...new Set(cidrs)].sort() }, problems: [] };
}
