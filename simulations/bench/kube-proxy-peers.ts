/**
 * kube-proxy's layouts in a namespace: loaded whole and changed by the tools that kube-proxy runs, within a time.
 *
 * - nftables is loaded in transactions of 1,000 services, which kube-proxy does not do; a single one takes minutes for 10,000.
 * - What does not end in time is given up, and said so; progress is told on standard error.
 */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  iptablesAll,
  iptablesChange,
  nftablesBase,
  nftablesChange,
  nftablesServices,
  type Services,
} from './kube-proxy-rules.ts';

export const layouts = ['nftables', 'iptables-legacy', 'iptables-nft'] as const;
export type Layout = (typeof layouts)[number];

const NFT_TRANSACTION = 1_000;
const packages = { nftables: 'nftables', 'iptables-legacy': 'iptables', 'iptables-nft': 'iptables' };
const toolOf = (layout: Layout): string => (layout === 'nftables' ? 'nft' : `${layout}-restore`);

/** Why this layout cannot be had here; undefined: it can. */
export function missing(layout: Layout): string | undefined {
  if (spawnSync('sh', ['-c', `command -v ${toolOf(layout)}`]).status === 0) return undefined;
  return `there is no ${toolOf(layout)} (apt-get install ${packages[layout]})`;
}

export class OutOfTime extends Error {}

/** How long the tool took, in milliseconds. */
async function feed(netns: string, tool: string, args: string[], text: string, timeoutMs: number): Promise<number> {
  const began = performance.now();
  const child = spawn('nsenter', [`--net=${netns}`, tool, ...args], {
    stdio: ['pipe', 'ignore', 'pipe'],
    timeout: Math.max(1, Math.ceil(timeoutMs)),
    killSignal: 'SIGKILL',
  });
  let errors = '';
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => {
    errors += chunk;
  });
  child.stdin.on('error', () => {}); // it has ended before it read everything: its exit tells why
  child.stdin.end(text);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  if (signal === 'SIGKILL') throw new OutOfTime(`${tool} was not done in ${(timeoutMs / 1_000).toFixed(0)} s`);
  if (code !== 0) throw new Error(`${tool}: ${errors.slice(0, 400)}`);
  return performance.now() - began;
}

/** How long it took, in milliseconds; throws OutOfTime. */
export async function loadRules(layout: Layout, netns: string, services: Services, timeoutMs: number): Promise<number> {
  const began = performance.now();
  const left = (): number => timeoutMs - (performance.now() - began);
  const tell = (loaded: number): void => {
    if (services.count > NFT_TRANSACTION)
      process.stderr.write(
        `  ${layout}: ${loaded} of ${services.count} services after ${((performance.now() - began) / 1_000).toFixed(0)} s\n`,
      );
  };
  tell(0);
  if (layout !== 'nftables') {
    const ms = await feed(netns, toolOf(layout), [], iptablesAll(services), timeoutMs);
    tell(services.count);
    return ms;
  }
  let ms = await feed(netns, 'nft', ['-f', '-'], nftablesBase(), left());
  for (let from = 0; from < services.count; from += NFT_TRANSACTION) {
    const to = Math.min(services.count, from + NFT_TRANSACTION);
    if (left() <= 0)
      throw new OutOfTime(`${from} of ${services.count} services after ${(timeoutMs / 1_000).toFixed(0)} s`);
    ms += await feed(netns, 'nft', ['-f', '-'], nftablesServices(services, from, to), left());
    tell(to);
  }
  return ms;
}

/** The first endpoint of a service moves. */
export function changeRules(
  layout: Layout,
  netns: string,
  { services, i, moved }: { services: Services; i: number; moved: Services },
  timeoutMs: number,
): Promise<number> {
  if (layout === 'nftables') return feed(netns, 'nft', ['-f', '-'], nftablesChange(services, i, moved), timeoutMs);
  return feed(netns, toolOf(layout), ['--noflush', '--counters'], iptablesChange(services, i, moved), timeoutMs);
}
