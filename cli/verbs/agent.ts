/** `axoneme agent --config FILE`: the node agent, against any Kubernetes API server. */
import { flushCompileCache } from 'node:module';
import { parseArgs } from 'node:util';
import { loadAgentConfig } from '../agent-config.ts';

export const summary = 'run the node agent';
export const usage = 'axoneme agent --config FILE [--record DIR] [--check]';

/** When the first lists are in: what was only needed to take them in goes back to the system, once. */
const LOADED_AFTER_MS = 20_000;

export async function run(args: string[]): Promise<number> {
  const options = { config: { type: 'string' }, record: { type: 'string' }, check: { type: 'boolean' } } as const;
  const { values } = parseArgs({ args, options });
  if (values.check) return check(values.config);
  if (!values.config) {
    process.stderr.write(`axoneme agent: --config is missing, expected the path of a JSON file\nusage: ${usage}\n`);
    return 2;
  }
  const config = loadAgentConfig(values.config);
  const { startAgent } = await load();
  const agent = await startAgent({ ...config, record: values.record ?? config.record });
  // Whoever starts after this one finds the code compiled, also when this one is killed.
  flushCompileCache();
  setTimeout(
    () => void globalThis.gc?.({ type: 'major', flavor: 'last-resort', execution: 'async' }),
    LOADED_AFTER_MS,
  ).unref();
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve(name));
  });
  process.stderr.write(`axoneme agent: ${signal}, stopping; programs, maps and routes stay in place\n`);
  await agent.stop();
  return 0;
}

async function load(): Promise<typeof import('../agent/agent.ts')> {
  await import('../agent/lean-client.ts');
  return import('../agent/agent.ts');
}

/** Loads all code, and the configuration if one is named, and starts nothing. Code compiled here need not be kept by the agent. */
async function check(config: string | undefined): Promise<number> {
  await load();
  if (config) {
    loadAgentConfig(config);
    process.stdout.write(`axoneme agent: ${config} is fine\n`);
  }
  return 0;
}
