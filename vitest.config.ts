/**
 * The suites: `pure` needs neither root nor kernel and runs in seconds, `system` is everything else on this
 * machine, `lab` boots other kernels, `long` is what takes an hour. A run that leaves anything behind fails (tidy/leaks.ts).
 */
import { availableParallelism } from 'node:os';
import { configDefaults, defineConfig } from 'vitest/config';
import { LongestFirst } from './tidy/longest-first.ts';

/** Rooms whose tests touch nothing but memory and temporary files. */
const pureRooms = ['machines', 'policy', 'state', 'reconcilers', 'tidy'];
const labTests = ['simulations/lab/**/*.lab.ts'];
const longTests = ['simulations/lab/**/*.long.ts'];

export default defineConfig({
  test: {
    pool: 'forks',
    // Stories wait more than they compute.
    maxWorkers: Math.max(2, Math.ceil(1.5 * availableParallelism())),
    testTimeout: 30_000,
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
    globalSetup: ['tidy/leaks.ts'],
    setupFiles: ['tidy/seed.ts'],
    sequence: { sequencer: LongestFirst },
    projects: [
      {
        extends: true,
        test: { name: 'pure', include: pureRooms.map((room) => `${room}/**/*.test.ts`) },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['**/*.test.ts'],
          exclude: [...configDefaults.exclude, ...pureRooms.map((room) => `${room}/**`), ...labTests, ...longTests],
        },
      },
      {
        extends: true,
        test: { name: 'lab', include: labTests, testTimeout: 900_000, hookTimeout: 900_000, maxWorkers: 1 },
      },
      {
        extends: true,
        test: { name: 'long', include: longTests, testTimeout: 900_000, hookTimeout: 900_000, maxWorkers: 1 },
      },
    ],
  },
});
