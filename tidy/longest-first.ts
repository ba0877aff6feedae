/**
 * The order of test files: those that take long come first, so that none of them is left for the end with one processor at work.
 *
 * - A fresh clone knows no durations, and a file's size, which vitest goes by, says nothing of a story's.
 */
import { BaseSequencer, type TestSpecification } from 'vitest/node';

/** Folders and files whose tests take ten seconds and more. */
const LONG =
  /\/(simulations\/(stories|upgrade|policy-fuzz|prefix-check)|cli\/up\/|datapath\/drivers\/xdp|bpf\/test\/overlay)/;

export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isLong = ({ moduleId }: TestSpecification): boolean => LONG.test(moduleId);
    return [...sorted.filter(isLong), ...sorted.filter((file) => !isLong(file))];
  }
}
