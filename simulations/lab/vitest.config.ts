/** Tests that run in a guest of the kernel lab: what is beside the code as `*.guest.ts`. One process: the processor is emulated. */
import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['**/*.guest.ts'],
    pool: 'threads',
    isolate: false,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
