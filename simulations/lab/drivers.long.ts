/** The drivers of WireGuard and IPsec on Debian's kernels, which have both. */
import { test } from 'vitest';
import { testsPass } from './in-guest.ts';
import { labSeries } from './kernels.ts';

const timeoutMs = 420_000;

test.each(labSeries)(
  'Linux %s: the drivers of WireGuard and IPsec keep their laws and lose no packet',
  async (series) => {
    await testsPass(series, ['datapath/drivers/'], timeoutMs);
  },
);
