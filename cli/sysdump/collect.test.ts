/** A dump without an agent: what is left of it, nothing secret in it, and no larger than it may be. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { collect, FILE_BYTES_MAX, redactLines } from './collect.ts';

const work = mkdtempSync(join(tmpdir(), `axt-${process.pid}-sysdump-`));
const [stateDir, logs] = [join(work, 'state'), join(work, 'logs')];
const place = { netns: '', stateDir, pinRoot: '/sys/fs/bpf/none', logs: [logs] };
const body = 'MHcCAQEEIBq7tvF3v9y4cE0bq9wVjDk1xU0oG0cPlantedKeyBody';
const secrets = [
  'hunter2-in-a-row',
  'hunter2-in-json',
  'hunter2-in-yaml',
  'hunter2-in-url',
  body,
  'eyJhbGciOiJIUzI1NiJ9.cGxhbnRlZA.sig',
];

beforeAll(() => {
  mkdirSync(stateDir);
  mkdirSync(logs);
  const database = new Database(join(stateDir, 'state.db'));
  database.exec('CREATE TABLE rows (key TEXT, value TEXT)');
  database.prepare('INSERT INTO rows VALUES (?, ?)').run('a', JSON.stringify({ password: secrets[0], device: 'eth0' }));
  database.close();
  writeFileSync(
    join(logs, 'node-1.log'),
    [
      '2026-11-23T05:00:00Z agent started',
      JSON.stringify({ event: { kind: 'Secret', data: { x: secrets[1] } }, seq: 1 }),
      `password: ${secrets[2]}`,
      `proxy at https://user:${secrets[3]}@proxy.example`,
      '-----BEGIN EC PRIVATE KEY-----',
      body,
      '-----END EC PRIVATE KEY-----',
      `authorization: Bearer ${secrets[5]}`,
      'the last line',
    ].join('\n'),
  );
  writeFileSync(join(logs, 'long.log'), 'a line of a long log\n'.repeat(FILE_BYTES_MAX / 16));
});
afterAll(() => rmSync(work, { recursive: true, force: true }));

const files = (root: string): string[] =>
  readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

it('has what the machine knows, and nothing that is secret', async () => {
  const root = join(work, 'dump');
  const errors = await collect(root, undefined, place, () => {});
  expect(errors[0]).toMatch(/agent did not answer/);
  const all = files(root);
  const text = all.map((file) => readFileSync(file, 'utf8')).join('\n');
  for (const secret of secrets) expect(text).not.toContain(secret);
  expect(readFileSync(join(root, 'state/rows.ndjson'), 'utf8')).toContain('eth0');
  const log = readFileSync(join(root, 'logs/node-1.log'), 'utf8');
  expect(log).toMatch(/agent started[\s\S]*the last line/);
  expect(JSON.parse(readFileSync(join(root, 'node/versions.json'), 'utf8'))).toMatchObject({
    node: process.version,
    features: expect.anything(),
  });
  for (const file of all) {
    expect(statSync(file).size).toBeLessThanOrEqual(FILE_BYTES_MAX + 16);
    expect(statSync(file).mode & 0o077, file).toBe(0);
  }
}, 60_000);

it('is no larger than it may be, and says what it left out', async () => {
  const errors = await collect(join(work, 'small'), undefined, place, () => {}, 0);
  expect(errors.filter((line) => line.includes('left out')).length).toBeGreaterThan(5);
}, 60_000);

it('hides a key of which the tail of a log has only the end', () => {
  expect(redactLines(`${body}\n-----END PRIVATE KEY-----\nnext`)).toBe('[redacted]\nnext');
});
