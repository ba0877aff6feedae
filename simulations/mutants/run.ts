/**
 * Breaks the project on purpose, one way at a time, and sees whether what guards it notices; 100 % is the bar.
 *
 *   node simulations/mutants/run.ts [--only TEXT] [--list]
 *
 * - Each mutant is a copy of the committed tree with one change. Whatever ends the run, the original is as it was.
 * - The exit code is 0 only when every mutant was caught; what caught it is told with each.
 */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ask, dismiss, judges, judgesOf } from './judges.ts';
import { type Mutant, mutants } from './list.ts';
import { Tree } from './tree.ts';

const { values: flags } = parseArgs({
  options: { only: { type: 'string', default: '' }, list: { type: 'boolean', default: false } },
});
const chosen = mutants.filter(({ name, file }) => name.includes(flags.only) || file.includes(flags.only));
const print = (text: string): void => void process.stdout.write(`${text}\n`);
const progress = (text: string): void => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
};

if (flags.list) for (const { name, file } of chosen) print(`${file}  ${name}`);
else if (chosen.length === 0) {
  process.stderr.write(`no mutant has ${JSON.stringify(flags.only)} in its name or file\n`);
  process.exitCode = 2;
} else process.exitCode = await judged();

async function judged(): Promise<number> {
  const tree = new Tree(join(import.meta.dirname, '../..'));
  const stop = (): never => {
    dismiss();
    tree.remove();
    progress('');
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, stop);
  try {
    for (const judge of judges) {
      progress(`nothing is wrong yet: ${judge.name}`);
      const found = await ask(judge, tree.root);
      if (found) throw new Error(`without a mutant, mend that first: ${found}`);
    }
    const survivors: Mutant[] = [];
    for (const [i, mutant] of chosen.entries()) {
      const began = Date.now();
      const place = `${String(i + 1).padStart(2)}/${chosen.length}`;
      const by = await tree.changed(mutant, () => firstToNotice(mutant, tree, place));
      if (!by) survivors.push(mutant);
      const seconds = Math.round((Date.now() - began) / 1000);
      progress('');
      print(`${place}  ${by ? 'caught  ' : 'SURVIVED'}  ${mutant.name}  (${mutant.file}, ${seconds} s)`);
      if (by) print(`                by ${by}`);
    }
    const caught = chosen.length - survivors.length;
    // What is not whole is not rounded up to it.
    print(
      `mutation score ${Math.floor((100 * caught) / chosen.length)} %: ${caught} of ${chosen.length} mutants caught`,
    );
    for (const { name, file } of survivors) print(`  survived: ${name} (${file})`);
    return survivors.length > 0 ? 1 : 0;
  } finally {
    progress('');
    tree.remove();
  }
}

async function firstToNotice({ name, file }: Mutant, { root }: Tree, place: string): Promise<string | undefined> {
  for (const judge of judgesOf(file)) {
    progress(`${place}  ${name}: ${judge.name} …`);
    const found = await ask(judge, root);
    if (found) return found;
  }
  return undefined;
}
