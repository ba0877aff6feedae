/** Runs tests that are beside the code as `*.guest.ts` in a guest, and says whether they passed. */
import { join } from 'node:path';
import { expect } from 'vitest';
import { bootAndRun } from './boot.ts';
import { kernelOf, type Series } from './kernels.ts';

const root = join(import.meta.dirname, '../..');
const node = 'node_modules/node/bin/node --disable-warning=ExperimentalWarning';
const vitest = `${node} node_modules/vitest/vitest.mjs run --config simulations/lab/vitest.config.ts --root .`;

/** Fails with all that the guest said. `files` are parts of paths. */
export async function testsPass(
  series: Series,
  files: readonly string[],
  timeoutMs: number,
  environment: Readonly<Record<string, string | number>> = {},
): Promise<void> {
  const variables = Object.entries({ CI: 1, NO_COLOR: 1, ...environment }).map(([name, value]) => `${name}=${value}`);
  const command = `env ${variables.join(' ')} ${vitest} --reporter=verbose ${files.join(' ')}`;
  const outcome = await bootAndRun(kernelOf(series), { folder: root, command, timeoutMs });
  expect(outcome.code, `${outcome.output}\n${outcome.console}`).toBe(0);
  expect(outcome.output).toMatch(/Tests {2}\d+ passed/);
}
