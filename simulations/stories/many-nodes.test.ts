/** Three nodes over native routing: everybody reaches everybody and every service, with real packets of both families. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { leftovers } from './embedded.ts';
import { Country } from './many-nodes/country.ts';
import { differences, peerQuestions, serviceQuestions } from './many-nodes/matrix.ts';

const name = `axt-${process.pid}-nodes`;
const dir = mkdtempSync(join(tmpdir(), `${name}-`));
let country: Country;

beforeAll(async () => {
  country = await Country.build(name, dir, []);
}, 120_000);
afterAll(async () => {
  await country?.down();
  rmSync(dir, { recursive: true, force: true });
  expect(await leftovers(name)).toEqual([]);
}, 90_000);

it('pods and nodes reach each other', async () => {
  expect(await differences(country, peerQuestions(country))).toEqual([]);
}, 120_000);

it('a service is reached at its address and at its port of each node', async () => {
  expect(await differences(country, serviceQuestions(country))).toEqual([]);
}, 120_000);
