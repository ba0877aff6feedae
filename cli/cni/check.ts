/** CNI CHECK: what ADD promised must still be there, in the agent's mind and in the pod's network namespace. */
import { execFileSync } from 'node:child_process';
import { type CniAddResult, cniCodes } from '../../cluster/cni-types.ts';
import { fail } from './failure.ts';

export interface Promised {
  ifname: string;
  mac: string;
  addresses: string[];
  routes: { dst: string; gw: string }[];
}

/** From the runtime's `prevResult` (0.4.0 and later all have this form). */
export function promisedBy(prevResult: Record<string, unknown>, ifname: string): Promised {
  const interfaces = list(prevResult.interfaces);
  const index = interfaces.findIndex((entry) => entry.name === ifname && text(entry.sandbox) !== '');
  if (index < 0) {
    fail(
      cniCodes.invalidConfig,
      `prevResult.interfaces has no ${ifname} with a sandbox, expected the interface that ADD reported`,
    );
  }
  const addresses = list(prevResult.ips).filter((ip) => (ip.interface ?? index) === index);
  return {
    ifname,
    mac: text(interfaces[index]?.mac),
    addresses: addresses.map((ip) => text(ip.address)),
    routes: list(prevResult.routes).map((route) => ({ dst: text(route.dst), gw: text(route.gw) })),
  };
}

export function requireEndpoint(promised: Promised, now: CniAddResult): void {
  const actual = now.ips.map((ip) => ip.address);
  for (const address of promised.addresses) {
    if (!actual.includes(address)) broken(`address ${address}`, `the agent knows ${actual.join(', ') || 'none'}`);
  }
  if (promised.mac && promised.mac !== now.mac) broken(`MAC ${promised.mac}`, `the agent knows ${now.mac}`);
}

interface IpLink {
  ifname: string;
  address: string;
  flags: string[];
  addr_info: { local: string; prefixlen: number }[];
}
interface IpRoute {
  dst: string;
  dev: string;
  gateway?: string;
}

export function requireInterface(promised: Promised, netns: string): void {
  const links = ip<IpLink>(netns, 'address', 'show');
  const link = links.find(({ ifname }) => ifname === promised.ifname);
  if (!link)
    broken(`interface ${promised.ifname}`, `in ${netns} there are ${links.map(({ ifname }) => ifname).join(', ')}`);
  if (!link.flags.includes('UP')) broken(`interface ${promised.ifname} up`, 'it is down');
  if (promised.mac && link.address !== promised.mac)
    broken(`MAC ${promised.mac}`, `${promised.ifname} has ${link.address}`);
  const addresses = link.addr_info.map(({ local, prefixlen }) => `${local}/${prefixlen}`);
  for (const address of promised.addresses) {
    if (!addresses.includes(address))
      broken(`address ${address}`, `${promised.ifname} has ${addresses.join(', ') || 'none'}`);
  }
  const routes = [...ip<IpRoute>(netns, '-4', 'route', 'show'), ...ip<IpRoute>(netns, '-6', 'route', 'show')];
  for (const { dst, gw } of promised.routes) {
    const family = gw.includes(':') || dst.includes(':');
    const found = routes.some((route) => sameDestination(route, dst, family) && (!gw || route.gateway === gw));
    if (!found) broken(`route to ${dst} via ${gw}`, `${promised.ifname} does not have it`);
  }
}

/** `ip` writes `default`, and host routes without their prefix length. */
function sameDestination(route: IpRoute, dst: string, v6: boolean): boolean {
  if (route.gateway?.includes(':') !== v6 && route.gateway !== undefined) return false;
  if (route.dst === 'default') return /\/0$/.test(dst);
  return route.dst === dst || route.dst === dst.replace(/\/(32|128)$/, '');
}

function ip<T>(netns: string, ...args: string[]): T[] {
  try {
    const out = execFileSync('nsenter', [`--net=${netns}`, '--', 'ip', '-json', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    return out.trim() ? (JSON.parse(out) as T[]) : [];
  } catch (error) {
    return fail(
      cniCodes.io,
      `cannot look into network namespace ${netns}`,
      error instanceof Error ? error.message : String(error),
    );
  }
}

/** 100 and up are the plugin's own: what ADD made is no longer whole. */
const BROKEN = 110;

function broken(missing: string, found: string): never {
  fail(BROKEN, `${missing} is missing`, found);
}

function list(value: unknown): Record<string, unknown>[] {
  return Array.isArray(value) ? value.filter((entry) => entry !== null && typeof entry === 'object') : [];
}
function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
