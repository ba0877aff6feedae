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
