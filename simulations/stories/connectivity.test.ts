/** Who can talk to whom under each of many policies, with real packets, against the oracle. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pairText, Town } from './connectivity/town.ts';
import { leftovers } from './embedded.ts';

const name = `axt-${process.pid}-matrix`;
const dir = mkdtempSync(join(tmpdir(), `${name}-`));
let town: Town;

beforeAll(async () => {
  town = await Town.build(name, dir);
}, 120_000);
afterAll(async () => {
  await town?.down();
  rmSync(dir, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

describe('without a policy', () => {
  it('everybody reaches everybody', async () => {
    const began = Date.now();
    const reached = await town.probe(
      town.pairs.map(() => true),
      400,
    );
    console.log(town.pairs.length, Date.now() - began);
    expect(town.pairs.filter((_, i) => !reached[i]).map(pairText)).toEqual([]);
  });
});
