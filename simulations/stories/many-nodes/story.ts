/** The story of three nodes, told for each way in which nodes reach each other: a suite of tests in one cluster. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { PoliciesInForce } from '../connectivity/policies.ts';
import { leftovers, until } from '../embedded.ts';
import { Country, type End, fabricOf, isPod, nodeOf, POD_RANGES, pods } from './country.ts';
import {
  type Asked,
  brokenConnections,
  healthEndpoints,
  healthOf,
  holdConnections,
  holding,
  keysOf,
  killAgents,
  thinks,
  underlay,
} from './events.ts';
import { differences, outsideQuestions, peerQuestions, type Question, serviceQuestions } from './matrix.ts';
import { policyCases } from './policies.ts';
import { UnderlayCapture } from './underlay-capture.ts';

export interface StoryOptions {
  /** Of `axoneme up`. */
  flags?: string[];
  /** Of every agent, besides. */
  agentConfig?: object;
  /** What the network between the nodes sees of pods' packets. */
  onTheWire: 'clear' | 'vxlan';
  /**
   * Processes of nodes do not ask node ports of other nodes. Over a tunnel that is over IPv6 the answers' "packet too big" makes the
   * kernel believe that the way to that node is narrower than the tunnel's packets, and it drops those for ten minutes.
   */
  farByPodsOnly?: true;
  /** Without what takes long: the network is not cut, and no node leaves. */
  brief?: true;
  /** How often all agents are killed while connections are held. */
  kills: number;
  timeoutMs?: number;
}

/** Tests of one cluster, in order: each finds it as the one before left it. */
export function manyNodes(title: string, options: StoryOptions): void {
  const { flags = [], agentConfig, onTheWire, farByPodsOnly, brief, kills, timeoutMs = 120_000 } = options;
  const name = `axt-${process.pid}-${title}`;
  let dir: string;
  let country: Country;
  let policies: PoliciesInForce;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), `${name}-`));
    const config = join(dir, 'agent.json');
    if (agentConfig) writeFileSync(config, JSON.stringify(agentConfig));
    const all = [...flags, ...(agentConfig ? ['--agent-config', config] : [])];
    country = await Country.build(name, dir, all, timeoutMs);
    policies = new PoliciesInForce(country.cluster);
  }, timeoutMs);
  afterAll(async () => {
    policies?.close();
    await country?.down();
    rmSync(dir, { recursive: true, force: true });
    expect(await leftovers(name)).toEqual([]);
  }, timeoutMs);
  const wrong = (questions: readonly Question[]): Promise<string[]> => differences(country, questions);

  it(
    'pods and nodes reach each other',
    async () => {
      expect(await wrong(peerQuestions(country))).toEqual([]);
    },
    timeoutMs,
  );

  it(
    'an answer that should not be there is seen (canary)',
    async () => {
      const [question] = peerQuestions(country, { askers: ['b'], sizes: [1_400] });
      const asked = await wrong([{ ...(question as Question), by: [] }]);
      expect(asked).toEqual([expect.stringMatching(/^b → .* answers$/)]);
    },
    timeoutMs,
  );

  it(
    'pods’ packets are on the network as they should be, and a tunnel’s network number is the identity of who sent',
    async () => {
      const capture = await UnderlayCapture.start(fabricOf(name), join(dir, 'underlay.pcap'));
      const isOfPods = ({ from, to }: Question): boolean => isPod(from as End) && isPod(to as End);
      expect(await wrong(peerQuestions(country).filter(isOfPods))).toEqual([]);
      const { packets, vnis, dropped } = await capture.stop(POD_RANGES);
      expect(dropped).toBe(0);
      expect(packets[onTheWire]).toBeGreaterThan(100);
      expect(packets[onTheWire === 'clear' ? 'vxlan' : 'clear']).toBe(0);
      const identities = await Promise.all(pods.map((pod) => identityOf(country, pod)));
      if (onTheWire === 'vxlan') expect([...vnis.keys()]).toEqual(expect.arrayContaining(identities));
    },
    timeoutMs,
  );

  it(
    'a service is reached at its address and at its port of each node, by the pods that policies of traffic and zones say',
    async () => {
      expect(await wrong(serviceQuestions(country, farByPodsOnly ? { farByPodsOnly } : {}))).toEqual([]);
      expect(await wrong(outsideQuestions(country))).toEqual([]);
    },
    timeoutMs,
  );

  it.each(policyCases)(
    'policy: $name',
    async ({ yaml, allowed }) => {
      await policies.replace(yaml);
      try {
        const questions = peerQuestions(country).map((question) => {
          const mayPass = allowed(question.from as End, question.to as End, question.probe.protocol);
          return mayPass ? question : { ...question, by: [] };
        });
        // What is denied is silent, and silence takes long: one size of it is enough.
        expect(await wrong(questions.filter(({ by, probe }) => by.length > 0 || probe.bytes < 9_000))).toEqual([]);
      } finally {
        await policies.replace('');
      }
    },
    timeoutMs,
  );

  it(
    'every node’s health endpoint answers all others, and does so again when the agents have been killed',
    async () => {
      const asked = await healthEndpoints(country);
      expect(Object.keys(asked)).toHaveLength(3 * 2 * 2 * 2);
      await until('all health endpoints answer', timeoutMs, async () => isAll(await healthEndpoints(country)));
      for (const { identity } of Object.values(asked)) expect(identity).toBe(4);
      await killAgents(country);
      await until('all health endpoints answer again', timeoutMs, async () => isAll(await healthEndpoints(country)));
      expect(Object.keys(await healthEndpoints(country))).toEqual(Object.keys(asked));
    },
    timeoutMs,
  );

  it(
    'connections between nodes outlive their agents, and new ones come to be',
    async () => {
      const held = holding(country, ['a', 'c', 'host-2']);
      await holdConnections(held);
      for (let kill = 0; kill < kills; kill++) await killAgents(country);
      expect(await brokenConnections(held)).toEqual([]);
      expect(await wrong(peerQuestions(country, { sizes: [1_400] }))).toEqual([]);
    },
    timeoutMs,
  );

  if (brief) return;

  it(
    'a node that is cut off is found unreachable, and all goes on when the network heals',
    async () => {
      await Promise.all(['node-2', 'node-3'].map((other) => thinks(country, 'node-1', other, 'reachable')));
      const held = holding(country, ['a', 'c']);
      await holdConnections(held);
      await underlay(country, 'partition', 'node-3');
      await thinks(country, 'node-1', 'node-3', 'unreachable');
      await thinks(country, 'node-3', 'node-1', 'unreachable');
      expect(await healthOf(country, 'node-1')).toEqual({ code: 1, unreachable: ['node-3'] });
      const isNear = ({ from, to }: Question): boolean => ![from, to].some((end) => nodeOf(end as End) === 'node-3');
      expect(await wrong(peerQuestions(country, { sizes: [1_400] }).filter(isNear))).toEqual([]);
      await underlay(country, 'heal');
      await thinks(country, 'node-1', 'node-3', 'reachable');
      await thinks(country, 'node-3', 'node-1', 'reachable');
      expect(await healthOf(country, 'node-1')).toEqual({ code: 0, unreachable: [] });
      expect(await brokenConnections(held)).toEqual([]);
      expect(await wrong(peerQuestions(country, { sizes: [1_400] }))).toEqual([]);
    },
    timeoutMs,
  );

  it(
    'a node that leaves takes its rows along, and nobody else’s',
    async () => {
      const its = [...country.addresses.of['host-3'], ...country.addresses.of.c];
      const isIts = (key: string): boolean =>
        its.some((address) => key.startsWith(`${address}/`)) || key.includes('node-3/');
      const rowsOfIt = async (): Promise<string[]> => {
        const tables = ['bpf.ipcache', 'routes', 'health.probes', 'bpf.nodes'];
        return (await Promise.all(tables.map((table) => keysOf(country, table, 'node-1')))).flat().filter(isIts);
      };
      expect(await rowsOfIt()).not.toEqual([]);
      // It is cut off first, so that its agent does not say that it is still there.
      await underlay(country, 'partition', 'node-3');
      for (const resource of ['pod/c', 'pod/host-3'])
        await country.cluster.kubectl('delete', '-n', 'demo', resource, '--force', '--grace-period=0', '--wait=false');
      for (const resource of ['node/node-3', 'ciliumnode/node-3', 'ciliumendpoint/c'])
        await country.cluster.kubectl('delete', '-n', 'demo', resource, '--ignore-not-found', '--wait=false');
      await expect.poll(rowsOfIt, { timeout: 30_000 }).toEqual([]);
      const stays = pods.filter((pod) => pod !== 'c');
      const isThere = ({ from, to }: Question): boolean =>
        ![from, to].some((end) => end === 'c' || end === 'host-3') && stays.length > 0;
      expect(await wrong(peerQuestions(country, { sizes: [1_400] }).filter(isThere))).toEqual([]);
    },
    timeoutMs,
  );
}

const isAll = (all: Record<string, Asked>): true | undefined =>
  Object.values(all).every(({ status }) => status === 'reachable') || undefined;

async function identityOf({ cluster }: Country, pod: string): Promise<number> {
  const { stdout } = await cluster.kubectl('get', 'ciliumendpoint', '-n', 'demo', pod, '-o', 'json');
  return (JSON.parse(stdout) as { status: { identity: { id: number } } }).status.identity.id;
}
