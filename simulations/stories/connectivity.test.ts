/**
 * Who can talk to whom under each of many policies, with real packets: nine pods in three namespaces, the node and the world, three
 * ports, TCP and UDP, IPv4 and IPv6. The oracle says what is right, and for nearly all policies people said it too (cases.test.ts).
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { KubeObject } from '../../cluster/events.ts';
import { judgeAll } from '../policy-oracle/oracle.ts';
import { pingCases, pingers } from './connectivity/cases/icmp.ts';
import { cases } from './connectivity/cases/index.ts';
import { PoliciesInForce } from './connectivity/policies.ts';
import { flowOf, pairText, Town } from './connectivity/town.ts';
import { leftovers } from './embedded.ts';

/** Silence that lasts as long is a drop; who should have answered is asked again with more patience. */
const SILENCE_MS = 250;
/** Of the cases, those whose names match; for looking at one. */
const only = process.env.CASE ? new RegExp(process.env.CASE) : /./;

const name = `axt-${process.pid}-matrix`;
const dir = mkdtempSync(join(tmpdir(), `${name}-`));
let town: Town;
let policies: PoliciesInForce;
let objects: KubeObject[];

beforeAll(async () => {
  town = await Town.build(name, dir);
  policies = new PoliciesInForce(town.cluster);
  const { stdout } = await town.cluster.kubectl('get', 'pods,nodes,namespaces', '-A', '-o', 'json');
  objects = (JSON.parse(stdout) as { items: KubeObject[] }).items;
}, 120_000);
afterAll(async () => {
  policies?.close();
  await town?.down();
  rmSync(dir, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

/** Pairs that behave otherwise than they should. */
async function differences(made: readonly KubeObject[]): Promise<string[]> {
  const cluster = {
    objects: [...objects, ...made],
    clusterName: name,
    enforcement: 'default',
    hostFirewall: false,
  } as const;
  const expected = judgeAll(cluster, town.pairs.map(flowOf)).map(({ verdict }) => verdict === 'allowed');
  const reached = await town.probe(expected, SILENCE_MS);
  return town.pairs.flatMap((pair, i) =>
    reached[i] === expected[i] ? [] : [`${pairText(pair)} ${reached[i] ? 'passes' : 'is dropped'}`],
  );
}

describe('without a policy', () => {
  it('everybody reaches everybody', async () => {
    expect(await differences([])).toEqual([]);
  });
});

describe('under a policy', () => {
  it.each(cases.filter((one) => only.test(one.name)))('$name', async ({ yaml }) => {
    expect(await differences(await policies.replace(yaml))).toEqual([]);
  });
});

describe('pings to red/web under a policy', () => {
  it.each(pingCases.filter((one) => only.test(one.name)))('$name', async ({ yaml, expect: lines }) => {
    const made = await policies.replace(yaml);
    const addresses = [...new Set(town.pairs.filter(({ to }) => to === 'red/web').map(({ probe }) => probe[1]))];
    const asked = pingers.flatMap((from) => addresses.map((address) => ({ from, address })));
    const words = asked.map(({ from, address }) => `${from} ${address.includes(':') ? 'IPv6' : 'IPv4'}`);
    const cluster = {
      objects: [...objects, ...made],
      clusterName: name,
      enforcement: 'default',
      hostFirewall: false,
    } as const;
    const flows = asked.map(({ from, address }, id) => {
      const isSix = address.includes(':');
      return {
        id,
        from: { pod: from },
        to: { ip: address },
        protocol: isSix ? 'ICMPv6' : 'ICMP',
        port: isSix ? 128 : 8,
      };
    });
    const right = judgeAll(cluster, flows).flatMap(({ verdict }, i) => (verdict === 'allowed' ? (words[i] ?? '') : []));
    expect(right, 'the oracle').toEqual(words.filter((word) => lines.includes(word)));
    const pings = asked.map(({ from, address }) =>
      town.cluster.exec(from, ['ping', '-c', '2', '-i', '0.2', '-W', '1', address]),
    );
    const answered = (await Promise.all(pings)).flatMap(({ code }, i) => (code === 0 ? (words[i] ?? '') : []));
    expect(answered).toEqual(right);
  });
});
