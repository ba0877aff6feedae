/**
 * Allocates cluster addresses for services, and has service-ports.ts allocate their node ports.
 *
 * - The first addresses of a range are for static use: the search starts after them and returns to them last.
 */
import ipaddr from 'ipaddr.js';
import { invalidValue, notSupported } from './errors.ts';
import { isAddress } from './names.ts';
import { nodePorts } from './service-ports.ts';
import { TakenIndex } from './service-taken.ts';
import type { Storage } from './storage.ts';
import { type ApiObject, arrayAt, type Cause, fieldAt, type ServiceAllocator, stringAt } from './types.ts';

type Family = 'IPv4' | 'IPv6';

/** Addresses tried from a range; more services than this share no embedded cluster. */
const searchMax = 65_536;
/** Reserved for services that ask for a certain address, such as the DNS service at .10. */
const staticMax = 16;

export interface ServiceRange {
  family: Family;
  network: bigint;
  size: bigint;
  text: string;
  /** How many dynamic addresses have been given: the search goes on from there, so that freed ones rest. */
  given: number;
}

export function parseServiceRange(text: string): ServiceRange {
  const [address, length] = ipaddr.parseCIDR(text);
  const bits = address.kind() === 'ipv4' ? 32 : 128;
  const host = BigInt(bits - length);
  const network = (toBigInt(address.toByteArray()) >> host) << host;
  return { family: address.kind() === 'ipv4' ? 'IPv4' : 'IPv6', network, size: 1n << host, text, given: 0 };
}

/** The first address of the range: the `kubernetes` service. */
export function firstAddress(range: ServiceRange): string {
  return addressText(range, 1n);
}

export function serviceAllocator(ranges: readonly ServiceRange[], storage: Storage): ServiceAllocator {
  const taken = new TakenIndex(storage);
  return {
    allocate(service, old) {
      const spec = service.spec as Record<string, unknown>;
      const { uid } = (old ?? service).metadata;
      const causes: Cause[] = [];
      if (spec.type === 'ExternalName') {
        for (const field of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy']) delete spec[field];
        return causes;
      }
      causes.push(...families(spec, old, ranges));
      if (causes.length === 0)
        causes.push(...clusterIps(spec, old, ranges, (address) => taken.hasAddress(address, uid)));
      causes.push(...nodePorts(spec, old, (port) => taken.hasPort(port, uid)));
      return causes;
    },
  };
}

function families(spec: Record<string, unknown>, old: ApiObject | undefined, ranges: readonly ServiceRange[]): Cause[] {
  const served = ranges.map((range) => range.family);
  const wanted = Array.isArray(spec.ipFamilies) ? (spec.ipFamilies as Family[]) : undefined;
  const policies = ['SingleStack', 'PreferDualStack', 'RequireDualStack'];
  const policy =
    String(spec.ipFamilyPolicy ?? stringAt(old, 'spec', 'ipFamilyPolicy') ?? '') ||
    (wanted && wanted.length > 1 ? 'RequireDualStack' : 'SingleStack');
  if (!policies.includes(policy)) return [notSupported('spec.ipFamilyPolicy', policy, policies)];
  for (const [i, family] of (wanted ?? []).entries())
    if (!served.includes(family))
      return [
        invalidValue(`spec.ipFamilies[${i}]`, family, `not configured on this cluster, which has ${served.join(', ')}`),
      ];
  if (policy === 'RequireDualStack' && served.length < 2)
    return [invalidValue('spec.ipFamilyPolicy', policy, 'this cluster is not configured for dual-stack services')];
  const requested = String(spec.clusterIP ?? '');
  const first =
    wanted?.[0] ??
    (fieldAt(old, 'spec', 'ipFamilies', 0) as Family | undefined) ??
    (isAddress(requested) ? (requested.includes(':') ? 'IPv6' : 'IPv4') : served[0]);
  const rest = policy === 'SingleStack' ? [] : served.filter((family) => family !== first);
  spec.ipFamilyPolicy = policy;
  spec.ipFamilies = [first, ...rest];
  return [];
}

function clusterIps(
  spec: Record<string, unknown>,
  old: ApiObject | undefined,
  ranges: readonly ServiceRange[],
  isTaken: (address: string) => boolean,
): Cause[] {
  if (spec.clusterIP === 'None') {
    spec.clusterIPs = ['None'];
    return [];
  }
  const before = arrayAt(old, 'spec', 'clusterIPs').map(String);
  const requested = arrayAt(spec, 'clusterIPs').map(String);
  if (typeof spec.clusterIP === 'string' && spec.clusterIP !== '') requested[0] = spec.clusterIP;
  const assigned: string[] = [];
  for (const [i, family] of (spec.ipFamilies as Family[]).entries()) {
    const range = ranges.find((candidate) => candidate.family === family);
    if (!range) continue;
    const wish = requested[i] || before[i] || '';
    if (wish !== '') {
      if (!isAddress(wish) || !contains(range, wish))
        return [
          invalidValue(
            `spec.clusterIPs[${i}]`,
            wish,
            `failed to allocate IP: the provided IP is not in the valid range ${range.text}`,
          ),
        ];
      if (isTaken(wish))
        return [invalidValue(`spec.clusterIPs[${i}]`, wish, 'failed to allocate IP: provided IP is already allocated')];
      assigned.push(wish);
      continue;
    }
    const free = freeAddress(range, isTaken);
    if (!free) return [invalidValue(`spec.clusterIPs[${i}]`, '', `failed to allocate IP: range ${range.text} is full`)];
    assigned.push(free);
  }
  spec.clusterIPs = assigned;
  spec.clusterIP = assigned[0];
  return [];
}

function freeAddress(range: ServiceRange, isTaken: (address: string) => boolean): string | undefined {
  // IPv4 leaves out the broadcast address.
  const usable = Number(
    range.size - (range.family === 'IPv4' ? 2n : 1n) < BigInt(searchMax)
      ? range.size - (range.family === 'IPv4' ? 2n : 1n)
      : BigInt(searchMax),
  );
  const skipped = Math.min(staticMax, usable >> 1);
  // On from the last one given; static ones come last, when the others have all been tried.
  const dynamic = usable - skipped;
  for (let i = 0; i < usable; i++) {
    const at = i < dynamic ? skipped + ((range.given + i) % dynamic) : i - dynamic;
    const address = addressText(range, BigInt(at + 1));
    if (isTaken(address)) continue;
    if (i < dynamic) range.given = at - skipped + 1;
    return address;
  }
  return undefined;
}

function contains(range: ServiceRange, text: string): boolean {
  const address = ipaddr.parse(text);
  if ((address.kind() === 'ipv4' ? 'IPv4' : 'IPv6') !== range.family) return false;
  const offset = toBigInt(address.toByteArray()) - range.network;
  return offset > 0n && offset < range.size;
}

function addressText(range: ServiceRange, offset: bigint): string {
  const bytes: number[] = [];
  let value = range.network + offset;
  for (let i = 0; i < (range.family === 'IPv4' ? 4 : 16); i++) {
    bytes.unshift(Number(value & 255n));
    value >>= 8n;
  }
  return ipaddr.fromByteArray(bytes).toString();
}

const toBigInt = (bytes: readonly number[]): bigint => bytes.reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
