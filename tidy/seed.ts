/**
 * In CI every property test starts from one seed, so that a submission is judged by its change and not by chance;
 * everywhere else each run looks at new cases. `CI_SEED=N` chooses another.
 */
import fc from 'fast-check';

if (process.env.CI) fc.configureGlobal({ seed: Number(process.env.CI_SEED ?? 1) });
