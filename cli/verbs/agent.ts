/** `axoneme agent --config FILE`: the node agent, against any Kubernetes API server. */
import { parseArgs } from 'node:util';
import { loadAgentConfig } from '../agent-config.ts';

export const summary = 'run the node agent';
export const usage = 'axoneme agent --config FILE [--record DIR]';

export async function run(args: string[]): Promise<number> {
  const { values } = parseArgs({ args, options: { config: { type: 'string' }, record: { type: 'string' } } });
  if (!values.config) {
    process.stderr.write(`axoneme agent: --config is missing, expected the path of a JSON file\nusage: ${usage}\n`);
    return 2;
  }
  const config = loadAgentConfig(values.config);
  await import('../agent/lean-client.ts');
  const { startAgent } = await import('../agent/agent.ts');
  const agent = await startAgent({ ...config, record: values.record ?? config.record });
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => resolve(name));
  });
  process.stderr.write(`axoneme agent: ${signal}, stopping; programs, maps and routes stay in place\n`);
  await agent.stop();
  return 0;
}
