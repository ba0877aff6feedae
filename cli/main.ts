/** Finds the verb, runs it, and turns what it throws into a message and an exit code. One file per verb, in `verbs/`. */
import { readdirSync } from 'node:fs';
import { meant, UsageError } from './usage.ts';

/** What a file in `verbs/` exports. */
export interface Verb {
  /** One line, for the list of verbs. */
  summary: string;
  usage: string;
  /** Resolves with the exit code. */
  run(args: string[]): Promise<number>;
}

const folder = new URL('./verbs/', import.meta.url);

function verbNames(): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
    .map((file) => file.slice(0, -'.ts'.length))
    .sort();
}

async function load(name: string): Promise<Verb> {
  return (await import(new URL(`${name}.ts`, folder).href)) as Verb;
}

async function help(): Promise<string> {
  const names = verbNames();
  const width = Math.max(...names.map((name) => name.length));
  const lines = await Promise.all(names.map(async (name) => `  ${name.padEnd(width)}  ${(await load(name)).summary}`));
  return ['Usage: axoneme VERB [ARGUMENTS]', '', ...lines, '', 'axoneme VERB --help tells more of one.', ''].join('\n');
}

async function main(args: string[]): Promise<number> {
  const [name, ...rest] = args;
  if (name === undefined || name === 'help' || name === '--help' || name === '-h') {
    process.stdout.write(await help());
    return name === undefined ? 2 : 0;
  }
  const names = verbNames();
  if (!names.includes(name)) {
    process.stderr.write(`axoneme: unknown verb ${name}${meant(name, names)}\nknown are ${names.join(', ')}\n`);
    return 2;
  }
  const verb = await load(name);
  const own = rest.includes('--') ? rest.slice(0, rest.indexOf('--')) : rest;
  if (own.includes('--help') || own.includes('-h')) {
    process.stdout.write(`${verb.summary}\n\n${verb.usage.trim()}\n`);
    return 0;
  }
  try {
    return await verb.run(rest);
  } catch (error) {
    if (error instanceof UsageError) {
      process.stderr.write(`axoneme ${name}: ${error.message}\n\n${verb.usage.trim()}\n`);
      return 2;
    }
    const detail = process.env.AXONEME_DEBUG && error instanceof Error ? error.stack : undefined;
    process.stderr.write(`axoneme ${name}: ${detail ?? (error instanceof Error ? error.message : String(error))}\n`);
    return 1;
  }
}

// A reader that has seen enough (`| head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await main(process.argv.slice(2));
