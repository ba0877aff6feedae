/**
 * Leaves out of @kubernetes/client-node what the agent never calls: 23 MB of generated classes, one for each API group,
 * which would stay in memory for good. The agent talks through KubernetesObjectApi and list/watch alone.
 *
 * - Import this before the client. A class left out is undefined, so calling it fails at once and loudly.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const GENERATED_CLASSES = /\/client-node\/dist\/gen\/types\/ObjectParamAPI\.js$/;

registerHooks({
  load(url, context, next) {
    if (!GENERATED_CLASSES.test(url)) return next(url, context);
    const index = readFileSync(fileURLToPath(new URL('../index.js', url)), 'utf8');
    const names = new Set(index.match(/\bObject\w+Api\b/g));
    return {
      format: 'module',
      shortCircuit: true,
      source: [...names].map((name) => `export const ${name} = undefined;`).join('\n'),
    };
  },
});
