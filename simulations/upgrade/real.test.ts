/**
 * The real kernel from one release to another and back, with connections held open and used all the while: within the node, through a
 * service, and masqueraded to outside. Policy lets nobody into the client, so that each answer needs its connection to be known.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterEach, expect, it } from 'vitest';
import { releases } from '../releases/release.ts';
import { Connections, type Held, inNetns, type Served } from '../stories/connections.ts';
import { CURRENT, Installed, OUTSIDE, PORT, SERVERS, SERVICE } from './installed.ts';

const [oldest = '', services = '', nodes = ''] = releases().map(({ version }) => version);
/** Of each kind and family. */
const COUNT = 20;
const USED_MS = 300;
const PAUSE_MS = 20;
/** Loading takes about a second: in the middle of it, while maps are copied, while programs are replaced. */
const KILLS_AFTER_MS = [200, 600, 1_000, 1_400];
/** Connections within the node, and those to outside with two translations each. */
const LEARNT_MIN = COUNT * 2 + COUNT * 2 * 3;
const TIMEOUT_MS = 120_000;

let number = 0;
let node: Installed | undefined;
const running: Connections<Held | Served>[] = [];
afterEach(async () => {
  await Promise.all(running.splice(0).map((one) => one.stop().catch(() => undefined)));
  node?.remove();
  node = undefined;
});

async function hold(installed: Installed, hasServices: boolean): Promise<Connections<Held>[]> {
  const servers = await Promise.all([
    ...[...SERVERS.map((index) => installed.pod(index).netns), installed.outside].map((netns) =>
      Connections.serve(inNetns(netns), PORT, COUNT),
    ),
  ]);
  running.push(...servers);
  const { ipv4, ipv6 } = installed.pod(SERVERS[0]);
  const held: Connections<Held>[] = [];
  for (const to of [
    ...[ipv4, ipv6, OUTSIDE.ipv4, OUTSIDE.ipv6].map((address) => ({ address, port: PORT })),
    ...(hasServices ? [SERVICE.ipv4, SERVICE.ipv6].map((address) => ({ address, port: SERVICE.port })) : []),
  ])
    held.push(await Connections.hold(inNetns(installed.client), { ...to, count: COUNT, pauseMs: PAUSE_MS }));
  running.push(...held);
  return held;
}

/** All connections are asked again and again after this, and none is lost at the end. */
const used = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, USED_MS));

async function lost(held: readonly Connections<Held>[]): Promise<{ broken: number; used: boolean }> {
  const results = (await Promise.all(held.map((one) => one.stop()))).flat();
  for (const one of held) running.splice(running.indexOf(one), 1);
  return {
    broken: results.reduce((sum, { broken }) => sum + broken, 0),
    used: results.every(({ rounds }) => rounds > 1),
  };
}

const prefixOf = (which: number): string => `axt-${process.pid}-up${which}-`;

it.each([
  [[oldest, CURRENT]],
  [[services, CURRENT]],
  [[oldest, services, nodes, CURRENT]],
  [[CURRENT, nodes, CURRENT]],
  [[services, oldest, services, CURRENT]],
])(
  'no connection is lost: %s',
  async (versions) => {
    node = Installed.create(prefixOf(++number));
    const [first = '', ...others] = versions;
    await node.install(first);
    const held = await hold(node, !versions.includes(oldest));
    const known = node.learnt();
    expect(Object.keys(known).length).toBeGreaterThanOrEqual(LEARNT_MIN);
    for (const version of others) {
      await used();
      await node.install(version);
    }
    await used();
    expect(node.learnt()).toMatchObject(known);
    expect(await lost(held)).toEqual({ broken: 0, used: true });
  },
  TIMEOUT_MS,
);

it(
  'no connection is lost when an upgrade is killed, again and again, and at last comes to its end',
  async () => {
    node = Installed.create(prefixOf(++number));
    await node.install(services);
    const held = await hold(node, true);
    const known = node.learnt();
    for (const afterMs of KILLS_AFTER_MS) await killedInstall(prefixOf(number), node, afterMs);
    await node.install(CURRENT);
    await used();
    expect(node.learnt()).toMatchObject(known);
    expect(await lost(held)).toEqual({ broken: 0, used: true });
  },
  TIMEOUT_MS,
);

/** Killed so long after it began to load. */
async function killedInstall(prefix: string, { node: wired }: Installed, afterMs: number): Promise<void> {
  const script = join(import.meta.dirname, 'install.ts');
  const child = spawn(process.execPath, [script, prefix, JSON.stringify(wired), CURRENT], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  const timer = setTimeout(() => child.kill('SIGKILL'), afterMs);
  await once(child, 'exit');
  clearTimeout(timer);
}
