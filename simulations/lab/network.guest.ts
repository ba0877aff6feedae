/**
 * Three nodes with the tunnel and the encryption that LAB_ROUTING and LAB_ENCRYPTION name, in a guest whose kernel has them: everybody
 * reaches everybody, and whoever listens between the nodes reads nothing of what pods say to each other, from before the first agent
 * is there, over agents that are killed, keys that are replaced, and a node that comes back with new ones.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ipsecKeyLine } from '../../cli/up/ipsec-secret.ts';
import { fabricNetns, netnsPath, nodeNetns, stateDirOf } from '../../cli/up/names.ts';
import { WireguardKeys } from '../../datapath/wireguard-keys.ts';
import type { StatusView } from '../../observe/status.ts';
import type { RowView } from '../../reconcilers/inspect.ts';
import { PoliciesInForce } from '../stories/connectivity/policies.ts';
import { leftovers, until } from '../stories/embedded.ts';
import { Country, type End, hosts, PORT, pods } from '../stories/many-nodes/country.ts';
import { differences, peerQuestions, serviceQuestions } from '../stories/many-nodes/matrix.ts';
import { policyCases } from '../stories/many-nodes/policies.ts';
import { associate } from '../stories/many-nodes/sctp.ts';
import { UnderlayCapture } from '../stories/many-nodes/underlay-capture.ts';

const routing = process.env['LAB_ROUTING'] ?? 'native';
const encryption = process.env['LAB_ENCRYPTION'] ?? 'none';
/** Each round kills every agent. */
const rounds = Number(process.env['LAB_KILL_ROUNDS'] ?? 2);
const rotations = Number(process.env['LAB_ROTATIONS'] ?? 2);

const name = `axt-${process.pid}-lab`;
const dir = mkdtempSync(join(tmpdir(), `${name}-`));
const MINUTE = 60_000;
/** Emulated, and perhaps not alone: the verifier reads every program of every agent. */
const START_MS = 14 * MINUTE;
const ROTATION_GRACE_MS = 30_000;
/** WireGuard keeps 128 packets for a node until there is a session with its new key: four flows to it fill that in six seconds. */
const FLOW_EVERY_MS = 200;
const isEncrypted = encryption !== 'none';
const nodes = ['node-1', 'node-2', 'node-3'];

/** The cluster begins with 1. */
let ipsecKeyId = 1;
const keysOf = (node: string) => new WireguardKeys(join(stateDirOf(name), 'nodes', node));

let country: Country;
let policies: PoliciesInForce | undefined;
let capture: Promise<UnderlayCapture>;
const started = performance.now();
const say = (what: string): void =>
  void process.stderr.write(`lab: ${what} at ${Math.round((performance.now() - started) / 1000)} s\n`);

beforeAll(async () => {
  const config = join(dir, 'agent.json');
  const strict = { encryption: { strict: true, rotationGraceMs: ROTATION_GRACE_MS }, resyncIntervalMs: 10_000 };
  writeFileSync(config, JSON.stringify(isEncrypted ? strict : {}));
  // From before there is any node.
  capture = until('the fabric', START_MS, () => existsSync(netnsPath(fabricNetns(name))) || undefined).then(() =>
    until('its bridge', START_MS, () =>
      UnderlayCapture.start(netnsPath(fabricNetns(name)), join(dir, 'underlay.pcap')).catch(() => undefined),
    ),
  );
  const flags = ['--routing', routing, '--encryption', encryption, '--agent-config', config];
  country = await Country.build(name, dir, flags, START_MS);
  say('three nodes are up');
}, START_MS + MINUTE);

afterAll(async () => {
  policies?.close();
  await country?.down();
  rmSync(dir, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 3 * MINUTE);

const othersOf = (from: (typeof pods)[number]) =>
  pods
    .filter((to) => to !== from)
    .flatMap((to) => country.addresses.of[to].map((address) => ({ address, port: PORT })));
/** A connection from each pod to each other pod, over each family, with something echoed over it all the time. */
const holdAll = () => Promise.all(pods.map((from) => country.peer(from).hold(othersOf(from))));
const broken = async (): Promise<string[]> => {
  const all = await Promise.all(
    pods.map(async (pod) => (await country.peer(pod).held()).map((held) => ({ pod, held }))),
  );
  return all.flat().flatMap(({ pod, held }) => (held.error ? [`${pod} to ${held.address}: ${held.error}`] : []));
};
/** Datagrams from each pod to each other pod over each family. */
const flowAll = () => Promise.all(pods.map((from) => country.peer(from).flow(othersOf(from), FLOW_EVERY_MS)));
/** Each flow has had answers to so many more. */
async function flowingOn(what: string, more: number): Promise<void> {
  const answers = async () =>
    (await Promise.all(pods.map((pod) => country.peer(pod).flowing()))).flat().map(({ answered }) => answered);
  const before = await answers();
  await until(
    what,
    3 * MINUTE,
    async () => (await answers()).every((count, i) => count >= (before[i] ?? 0) + more) || undefined,
  );
}
/** Every held connection has an echo after now. */
async function beating(what: string): Promise<void> {
  const beats = async () =>
    (await Promise.all(pods.map((pod) => country.peer(pod).held()))).flat().map((held) => held.beats);
  const before = await beats();
  await until(what, 3 * MINUTE, async () => (await beats()).every((beat, i) => beat > (before[i] ?? 0)) || undefined);
}

describe(`${routing} routing, encryption ${encryption}`, () => {
  test(
    'pods and nodes reach each other, packets of one and of several fragments',
    async () => {
      expect(await differences(country, peerQuestions(country))).toEqual([]);
      say('the matrix of ends is done');
    },
    6 * MINUTE,
  );

  test(
    'services are reached at their addresses and at the ports of each node',
    async () => {
      const choice = { sizes: [1400], askers: ['a', hosts[1]] } as const;
      expect(await differences(country, serviceQuestions(country, choice))).toEqual([]);
      say('the matrix of services is done');
    },
    4 * MINUTE,
  );

  test(
    'associations come to be between pods, and at the ports of each node',
    async () => {
      await associate(country, dir, 3 * MINUTE);
      say('the matrix of associations is done');
    },
    4 * MINUTE,
  );

  test.each(policyCases)(
    'policy: $name',
    async ({ yaml, allowed }) => {
      policies ??= new PoliciesInForce(country.cluster, 2 * MINUTE);
      await policies.replace(yaml);
      try {
        const about = peerQuestions(country, { sizes: [1400] }).filter(({ from, to }) => from === 'a' || to === 'a');
        const questions = about.map((question) => {
          const mayPass = allowed(question.from as End, question.to as End, question.probe.protocol);
          return mayPass ? question : { ...question, by: [] };
        });
        expect(questions.filter(({ by }) => by.length === 0).length).toBeGreaterThan(0);
        expect(await differences(country, questions)).toEqual([]);
      } finally {
        await policies.replace('');
      }
    },
    4 * MINUTE,
  );

  test(
    'no datagram is lost while keys are replaced and an agent is killed in each node',
    async () => {
      await flowAll();
      await flowingOn('datagrams', 5);
      if (encryption === 'wireguard') keysOf(nodes[0] as string).rotate();
      if (encryption === 'ipsec') {
        await writeSecret(ipsecKeyLine(++ipsecKeyId));
        await onlyKey(ipsecKeyId);
      }
      await flowingOn('datagrams after a new key', 20);
      await killAll();
      await flowingOn('datagrams after a kill', 20);
      const flows = await Promise.all(pods.map((pod) => country.peer(pod).flowed(MINUTE)));
      say(`${flows.flat().reduce((sum, { sent }) => sum + sent, 0)} datagrams were sent`);
      expect(flows.flat().filter(({ sent, answered }) => answered !== sent)).toEqual([]);
    },
    2 * START_MS,
  );

  test(
    'connections live on while agents are killed',
    async () => {
      await holdAll();
      for (let round = 0; round < rounds; round++) {
        // The last ones end in good order.
        await killAll(round === rounds - 1 ? 'SIGTERM' : 'SIGKILL');
        await beating(`echoes after kill ${round + 1}`);
        // Mostly they die again while they start.
        if (round === rounds >> 1) await agentsSettled();
      }
      await agentsSettled();
      await beating('echoes once agents go on');
      expect(await broken()).toEqual([]);
      say(`${rounds} rounds of kills are done`);
    },
    2 * START_MS,
  );

  test.runIf(encryption === 'wireguard')(
    'connections live on while WireGuard keys are replaced',
    async () => {
      for (let round = 0; round < rotations; round++) {
        const node = nodes[round % nodes.length] as string;
        const key = keysOf(node).rotate();
        // The agent whose key it is, or one that is to hear of it, dies in the middle of it.
        if (round === 0) for (const pid of country.cluster.agentPids().slice(0, 1)) process.kill(pid, 'SIGKILL');
        for (const other of nodes.filter((one) => one !== node))
          await until(`${other} has the key of ${node}`, START_MS, async () => {
            return (await peersOf(other).catch(() => [])).some((peer) => peer.includes(key)) || undefined;
          });
        await beating(`echoes after rotation ${round + 1}`);
      }
      expect(await broken()).toEqual([]);
      say(`${rotations} rotations are done`);
    },
    2 * START_MS,
  );

  test.runIf(encryption === 'ipsec')(
    'connections live on while IPsec keys are rotated, and while the Secret is wrong',
    async () => {
      for (let round = 0; round < rotations; round++) {
        await writeSecret(ipsecKeyLine(++ipsecKeyId));
        // An agent that dies in the middle of it goes on with it.
        if (round === 0) for (const pid of country.cluster.agentPids().slice(0, 1)) process.kill(pid, 'SIGKILL');
        await onlyKey(ipsecKeyId);
        await beating(`echoes after rotation ${round + 1}`);
      }
      await writeSecret('4 rfc4106(gcm(aes)) not-a-key 128');
      await until('a word on the Secret', START_MS, () => {
        return country.cluster.output.includes('a key that is not hexadecimal') || undefined;
      }).catch((error: Error) => {
        throw new Error(`${error.message}; the cluster said: ${country.cluster.output.slice(-3_000)}`);
      });
      await beating('echoes with a wrong Secret');
      expect(country.cluster.output).not.toContain('not-a-key');
      expect(await broken()).toEqual([]);
      say(`${rotations} rotations are done`);
    },
    2 * START_MS,
  );

  test.runIf(encryption === 'wireguard')(
    'a node that comes back with another key is reached again',
    async () => {
      const [one = '', other = '', replaced = ''] = nodes;
      const file = join(stateDirOf(name), 'nodes', replaced, 'wireguard.key');
      rmSync(file);
      for (const node of [one, replaced])
        for (const pid of country.cluster.agentPids(node)) process.kill(pid, 'SIGKILL');
      await until('a new key', START_MS, () => existsSync(file) || undefined);
      for (const node of [one, other])
        await until(`${node} has the new key of ${replaced}`, START_MS, async () => {
          const key = keysOf(replaced).publicKey();
          return (await peersOf(node).catch(() => [])).some((peer) => peer.includes(key)) || undefined;
        });
      await beating('echoes after a node has another key');
      const questions = peerQuestions(country, { sizes: [1400], askers: ['a', 'c'] });
      expect(await differences(country, questions)).toEqual([]);
      say('the node with another key is reached');
    },
    2 * START_MS,
  );

  test(
    'whoever listened between the nodes has read nothing of what pods said',
    async () => {
      await Promise.all(pods.map((pod) => country.peer(pod).release()));
      const addresses = pods.flatMap((pod) => country.addresses.of[pod]);
      const podCidrs = addresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`);
      const seen = await (await capture).stop(podCidrs);
      say(`seen: ${JSON.stringify({ ...seen, vnis: [...seen.vnis] })}`);
      expect(seen.dropped, 'packets that the capture missed').toBe(0);
      if (isEncrypted) {
        expect(seen.readable).toEqual([]);
        expect(seen.packets[encryption === 'ipsec' ? 'esp' : 'wireguard']).toBeGreaterThan(100);
      } else {
        expect(seen.packets[routing === 'geneve' ? 'geneve' : 'vxlan']).toBeGreaterThan(100);
        expect(seen.packets.clear).toBe(0);
        // Pods' identities, those of nodes and of their health endpoints: never a host's, which would say nothing on another node.
        expect([...seen.vnis.keys()].filter((vni) => ![2, 4, 6].includes(vni) && vni < 256)).toEqual([]);
      }
    },
    2 * MINUTE,
  );
});

async function killAll(signal: 'SIGKILL' | 'SIGTERM' = 'SIGKILL'): Promise<void> {
  const before = country.cluster.agentPids();
  for (const pid of before) process.kill(pid, signal);
  await until('agents are back', 3 * MINUTE, () => {
    const now = country.cluster.agentPids();
    return (now.length === nodes.length && !now.some((pid) => before.includes(pid))) || undefined;
  });
}

/** Agents that were killed go on where they were, which takes the longer the slower the verifier is. */
async function agentsSettled(): Promise<void> {
  await Promise.all(
    nodes.map((node) =>
      until(`the agent of ${node} is settled`, START_MS, async () => {
        const status = await country.cluster.debug<StatusView>('/v1/status', node).catch(() => undefined);
        return (status?.engine.pending === 0 && status.sources.every(({ synced }) => synced)) || undefined;
      }),
    ),
  );
}

/** Names of the peers in a node's kernel, which have their public keys in them. */
async function peersOf(node: string): Promise<string[]> {
  const { rows } = await country.cluster.debug<{ rows: RowView[] }>('/v1/tables/wireguard.peers?view=actual', node);
  return rows.map(({ key }) => key);
}

const onlyKey = (id: number) =>
  until(
    `only key ${id} is in use`,
    START_MS,
    () => (spis().length > 0 && spis().every((spi) => spi === id)) || undefined,
  );

/** Numbers of the keys in all associations of all nodes. */
const spis = (): number[] =>
  nodes.flatMap((node) => {
    const list = ['ip', 'xfrm', 'state', 'list'];
    const text = execFileSync('nsenter', [`--net=${netnsPath(nodeNetns(name, node))}`, ...list], { encoding: 'utf8' });
    return [...text.matchAll(/\bspi 0x([0-9a-f]+)/g)].map(([, digits = '']) => Number.parseInt(digits, 16));
  });

async function writeSecret(line: string): Promise<void> {
  const keys = Buffer.from(line).toString('base64');
  const path = ['patch', 'secret', '--namespace', 'kube-system', 'cilium-ipsec-keys', '--type', 'merge'];
  const { code, stderr } = await country.cluster.kubectl(...path, '--patch', JSON.stringify({ data: { keys } }));
  if (code !== 0) throw new Error(stderr);
}
