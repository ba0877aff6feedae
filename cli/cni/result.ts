/** The result of ADD in the words of each version of the CNI spec. */
import type { CniAddResult } from '../../cluster/cni-types.ts';
import { supportedVersions, type Version } from './config.ts';

export interface ResultContext {
  cniVersion: Version;
  ifname: string;
  netns: string;
  dns: Record<string, unknown>;
}

const reached = (version: Version, since: Version): boolean =>
  supportedVersions.indexOf(version) >= supportedVersions.indexOf(since);

export function addResult(result: CniAddResult, context: ResultContext): Record<string, unknown> {
  return reached(context.cniVersion, '0.3.0') ? withInterfaces(result, context) : withFamilies(result, context);
}

/** Index of the container's interface in `interfaces`: the host's end comes first. */
const CONTAINER = 1;

function withInterfaces(
  result: CniAddResult,
  { cniVersion, ifname, netns, dns }: ResultContext,
): Record<string, unknown> {
  const version = reached(cniVersion, '1.0.0')
    ? () => ({})
    : (address: string) => ({ version: isIpv6(address) ? '6' : '4' });
  const mtu = reached(cniVersion, '1.1.0') ? (value: number) => ({ mtu: value }) : () => ({});
  return {
    cniVersion,
    interfaces: [
      { name: result.link, mac: result.hostMac, ...mtu(result.mtu) },
      { name: ifname, mac: result.mac, ...mtu(result.mtu), sandbox: netns },
    ],
    ips: result.ips.map(({ address, gateway }) => ({ ...version(address), interface: CONTAINER, address, gateway })),
    routes: result.routes.map((route) => ({ dst: route.dst, gw: route.gw, ...mtu(route.mtu) })),
    dns,
  };
}

/** 0.1.0 and 0.2.0: one address of each family. */
function withFamilies(result: CniAddResult, { cniVersion, dns }: ResultContext): Record<string, unknown> {
  const family = (field: 'ip4' | 'ip6', mine: (address: string) => boolean) => {
    const ip = result.ips.find(({ address }) => mine(address));
    const routes = result.routes.filter(({ dst }) => mine(dst)).map(({ dst, gw }) => ({ dst, gw }));
    return ip ? { [field]: { ip: ip.address, gateway: ip.gateway, routes } } : {};
  };
  return { cniVersion, ...family('ip4', (text) => !isIpv6(text)), ...family('ip6', isIpv6), dns };
}

function isIpv6(text: string): boolean {
  return text.includes(':');
}
