/** A file of lines that does not grow for ever. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { logFile } from './log-file.ts';

test('keeps the last lines in two files of a size, and begins anew', () => {
  const folder = mkdtempSync(join(tmpdir(), `axt-${process.pid}-log-`));
  const path = join(folder, 'agent.log');
  const log = logFile(path, () => 0, 100);
  for (let i = 0; i < 10; i++) log(`line ${i}`);
  expect(readdirSync(folder).sort()).toEqual(['agent.before.log', 'agent.log']);
  const both = ['agent.before.log', 'agent.log'].map((name) => readFileSync(join(folder, name), 'utf8')).join('');
  expect(both.match(/line \d/g)).toEqual(['line 6', 'line 7', 'line 8', 'line 9']);
  expect(both).toMatch(/^1970-01-01T00:00:00.000Z line 6\n/);
  log('2026-01-02T03:04:05Z told');
  expect(readFileSync(path, 'utf8')).toMatch(/^2026-01-02T03:04:05Z told$/m);
  logFile(path)('again');
  expect(readFileSync(path, 'utf8')).toMatch(/^\S+ again\n$/);
  rmSync(folder, { recursive: true });
  expect(() => log('nowhere')).not.toThrow();
});
