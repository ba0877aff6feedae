/** The drivers of WireGuard, IPsec and netkit on Debian's kernels, which have them, and pods that netkit links to their node. */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { bootAndRun } from './boot.ts';
import { testsPass } from './in-guest.ts';
import { kernelOf, labSeries } from './kernels.ts';

const timeoutMs = 420_000;

test.each(labSeries)(
  'Linux %s: the drivers of WireGuard and IPsec keep their laws and lose no packet',
  async (series) => {
    await testsPass(series, ['datapath/drivers/'], timeoutMs);
  },
);

test('Linux 6.12: an embedded cluster whose pods netkit links to their node', async () => {
  const command = `sh simulations/lab/cluster.sh '{"datapathMode":"netkit"}'`;
  const folder = join(import.meta.dirname, '../..');
  const outcome = await bootAndRun(kernelOf('6.12'), { folder, command, timeoutMs: 840_000 });
  expect(outcome.code, `${outcome.output}\n${outcome.console}`).toBe(0);
  expect(outcome.output.trim().split('\n')).toEqual(['server', 'server', 'netkit', 'left: 0 namespaces, 0 pins']);
});
