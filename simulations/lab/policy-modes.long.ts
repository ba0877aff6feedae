/** How a node enforces policy, by the configuration of its agent: always, never, audit, with real packets of both families. */
import { readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { PolicyNodeView } from '../../observe/policy.ts';
import {
  AXONEME,
  commandPod,
  EmbeddedCluster,
  leftovers,
  namespaceOf,
  run,
  serverPod,
  until,
} from '../stories/embedded.ts';

const name = `axt-${process.pid}-modes`;
const policy = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: closed}
spec: {podSelector: {matchLabels: {app: closed}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]}
---
`;
let cluster: EmbeddedCluster;
const addresses = new Map<string, string[]>();

beforeAll(async () => {
  const clients = ['friend', 'stranger'].map((pod) => commandPod('shop', pod, ['sleep', 'infinity']));
  const servers = ['closed', 'open'].map((pod) => serverPod('shop', pod));
  cluster = await EmbeddedCluster.up(name, namespaceOf('shop') + [...servers, ...clients].join('') + policy);
  const { items } = await cluster.core.listNamespacedPod({ namespace: 'shop' });
  for (const { metadata, status } of items)
    addresses.set(
      metadata?.name ?? '',
      (status?.podIPs ?? []).map(({ ip = '' }) => (ip.includes(':') ? `[${ip}]` : ip)),
    );
}, 120_000);
afterAll(async () => {
  await cluster?.down();
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

/** With this section `policy` in the configuration, from the agent's next start on. */
async function restartedWith(section: object): Promise<void> {
  const file = `/run/axoneme/${name}/nodes/node-1/agent.json`;
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), policy: section }));
  const killed = cluster.agentPids();
  for (const pid of killed) process.kill(pid, 'SIGKILL');
  await until('the next agent', 60_000, async () => {
    const now = cluster.agentPids();
    if (now.length === 0 || now.some((pid) => killed.includes(pid))) return undefined;
    const view = await cluster.debug<PolicyNodeView>('/v1/policy').catch(() => undefined);
    return view?.settled || undefined;
  });
}

/** Who reaches whom, over both families or none. */
async function reached(): Promise<string[]> {
  const pairs = ['friend', 'stranger'].flatMap((from) => ['closed', 'open'].map((to) => [from, to] as const));
  const found = await Promise.all(
    pairs.map(async ([from, to]) => {
      const answers = await Promise.all(
        (addresses.get(to) ?? []).map((address) =>
          cluster.exec(`shop/${from}`, ['curl', '-sS', '-m', '2', `http://${address}:8080/`]),
        ),
      );
      const passing = answers.filter(({ code }) => code === 0).length;
      return passing === 0 ? [] : [`${from} → ${to}${passing === answers.length ? '' : ' (one family)'}`];
    }),
  );
  return found.flat();
}

const usual = ['friend → closed', 'friend → open', 'stranger → open'];
const all = ['friend → closed', 'friend → open', 'stranger → closed', 'stranger → open'];

it.each([
  ['default', {}, usual],
  ['always: what no policy selects is closed', { enforcement: 'always' }, []],
  ['never', { enforcement: 'never' }, all],
  ['audit: what would be denied passes', { audit: true }, all],
  ['audit of always', { enforcement: 'always', audit: true }, all],
  ['default again', {}, usual],
])(
  '%s',
  async (_, section, expected) => {
    await restartedWith(section);
    expect(await reached()).toEqual(expected);
    if (!('audit' in section)) return;
    const { stdout } = await run(AXONEME, ['observe', '--name', name, '--verdict', 'AUDIT', '--last', '50']);
    expect(stdout).toMatch(/shop\/stranger.*shop\/closed.*AUDITED/);
  },
  120_000,
);
