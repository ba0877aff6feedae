/**
 * Faults of the network between the embedded nodes, on the ports of its bridge: loss, delay, and nodes that are cut off.
 *
 * - The kernel holds all state: what is shown is what is there, and it goes with the fabric's namespace.
 * - Loss and delay are of packets towards a node, so each packet between two nodes meets them once.
 * - A node that is cut off keeps its carrier, as it does behind a real switch.
 */
import { command } from './command.ts';
import { type Faults, faultsText, lossOnly } from './faults.ts';
import { fabricNetns, netnsPath } from './names.ts';

/** Bridge ports are named after their nodes: `node-3` is plugged to `node3`. */
export const portOf = (node: string): string => node.replace('-', '');
const nodeOfPort = (port: string): string => port.replace('node', 'node-');

export interface PortState {
  node: string;
  faults: Faults;
  partitioned: boolean;
}

const LAB =
  'node_modules/.bin/node simulations/lab/run.ts 6.12 -- cli/axoneme up --nodes 2 --underlay loss=1%,delay=5ms';

export class Underlay {
  readonly #netns: string;

  constructor(cluster: string) {
    this.#netns = fabricNetns(cluster);
  }

  #run(program: string, args: readonly string[], input?: string): Promise<{ stdout: string }> {
    return command('nsenter', [`--net=${netnsPath(this.#netns)}`, program, ...args], input);
  }

  /** Replaces what was set for these nodes; `{}`: no faults. */
  async set(nodes: readonly string[], faults: Faults): Promise<void> {
    const hasNetem = await this.#netem(nodes, faults);
    await this.#drop(nodes, hasNetem ? undefined : faults.lossPercent);
  }

  async partition(nodes: readonly string[], isCut: boolean): Promise<void> {
    for (const node of nodes)
      await this.#run('bridge', ['link', 'set', 'dev', portOf(node), 'state', isCut ? 'disabled' : 'forwarding']);
  }

  async show(): Promise<PortState[]> {
    const [ports, qdiscs, drops] = await Promise.all([this.#ports(), this.#qdiscs(), this.#drops()]);
    return ports.map(({ ifname, state }) => ({
      node: nodeOfPort(ifname),
      faults: qdiscs.get(ifname) ?? (drops.has(ifname) ? { lossPercent: drops.get(ifname) ?? 0 } : {}),
      partitioned: state === 'disabled',
    }));
  }

  /** False where loss alone is wanted and the kernel has no netem; throws where it is needed and not there. */
  async #netem(nodes: readonly string[], faults: Faults): Promise<boolean> {
    const there = await this.#qdiscs();
    for (const port of nodes.map(portOf)) {
      if (faultsText(faults) === '') {
        if (there.has(port)) await this.#run('tc', ['qdisc', 'del', 'dev', port, 'root']);
        continue;
      }
      try {
        await this.#run('tc', ['qdisc', 'replace', 'dev', port, 'root', 'netem', ...netemArguments(faults)]);
      } catch (error) {
        if (!/qdisc kind is unknown|No such file/.test(String(error))) throw error;
        if (lossOnly(faults)) return false;
        throw new Error(
          `this kernel is without netem (CONFIG_NET_SCH_NETEM), which ${faultsText(faults)} needs; without it there is only loss\na kernel with it, in the lab: ${LAB}`,
        );
      }
    }
    return true;
  }

  /** Random drops by nftables, where netem cannot. */
  async #drop(nodes: readonly string[], lossPercent: number | undefined): Promise<void> {
    const drops = await this.#drops();
    if (lossPercent === undefined && drops.size === 0) return;
    for (const port of nodes.map(portOf)) {
      if (lossPercent === undefined) drops.delete(port);
      else drops.set(port, lossPercent);
    }
    const rules = [...drops].map(
      ([port, percent]) =>
        `add rule ${TABLE} post oifname "${port}" numgen random mod ${DRAWS} < ${(percent * DRAWS) / 100} counter drop comment "loss=${percent}%"`,
    );
    const chain = `add chain ${TABLE} post { type filter hook postrouting priority 0 ; policy accept ; }`;
    const script = [`add table ${TABLE}`, `delete table ${TABLE}`, `add table ${TABLE}`, chain, ...rules];
    await this.#run('nft', ['-f', '-'], `${script.join('\n')}\n`);
  }

  async #ports(): Promise<{ ifname: string; state: string }[]> {
    const { stdout } = await this.#run('bridge', ['-json', 'link', 'show']);
    const ports = JSON.parse(stdout || '[]') as { ifname: string; state: string }[];
    return ports.sort((a, b) => a.ifname.localeCompare(b.ifname, 'en', { numeric: true }));
  }

  async #qdiscs(): Promise<Map<string, Faults>> {
    const { stdout } = await this.#run('tc', ['-json', 'qdisc', 'show']);
    interface Qdisc {
      kind: string;
      dev: string;
      options?: { delay?: { delay: number; jitter?: number }; 'loss-random'?: { loss: number } };
    }
    const shown = (JSON.parse(stdout || '[]') as Qdisc[]).filter(({ kind }) => kind === 'netem');
    return new Map(
      shown.map(({ dev, options: { delay, 'loss-random': random } = {} }): [string, Faults] => [
        dev,
        {
          ...(random && { lossPercent: Number((random.loss * 100).toPrecision(4)) }),
          ...(delay && { delayMs: Number((delay.delay * 1_000).toPrecision(4)) }),
          ...(delay?.jitter && { jitterMs: Number((delay.jitter * 1_000).toPrecision(4)) }),
        },
      ]),
    );
  }

  async #drops(): Promise<Map<string, number>> {
    const { stdout } = await this.#run('nft', ['list', 'tables', 'bridge']).catch(() => ({ stdout: '' }));
    if (!stdout.includes(`table ${TABLE}`)) return new Map();
    const { stdout: rules } = await this.#run('nft', ['list', 'table', ...TABLE.split(' ')]);
    const found = [...rules.matchAll(/oifname "([^"]+)".*comment "loss=([\d.]+)%"/g)];
    return new Map(found.map(([, port = '', percent]) => [port, Number(percent)]));
  }
}

const TABLE = 'bridge axoneme';
/** So many tickets in the draw: a thousandth of a percent is the least. */
const DRAWS = 100_000;

function netemArguments({ lossPercent, delayMs, jitterMs }: Faults): string[] {
  return [
    ...(delayMs === undefined ? [] : ['delay', `${delayMs}ms`, ...(jitterMs === undefined ? [] : [`${jitterMs}ms`])]),
    ...(lossPercent === undefined ? [] : ['loss', 'random', `${lossPercent}%`]),
  ];
}
