/**
 * Leaves out of @kubernetes/client-node what the agent never calls: its generated classes, one for each API group and each kind,
 * which would stay in memory for good. The agent takes a kubeconfig's credentials from it and speaks JSON itself (`cluster/client.ts`).
 *
 * - Import this before the client. A class left out is undefined, so calling it fails at once and loudly.
 */
import { readFileSync } from 'node:fs';
import { registerHooks } from 'node:module';
import { fileURLToPath } from 'node:url';

const GENERATED = /\/client-node\/dist\/gen\/(types\/ObjectParamAPI|models\/all|models\/ObjectSerializer)\.js$/;

/** What the client's own files need of these modules to be loaded. */
function stubOf(url: string): string {
  if (url.endsWith('ObjectSerializer.js')) return 'export class ObjectSerializer {}';
  if (url.endsWith('all.js')) return 'export {}';
  const index = readFileSync(fileURLToPath(new URL('../index.js', url)), 'utf8');
  return [...new Set(index.match(/\bObject\w+Api\b/g))].map((name) => `export const ${name} = undefined;`).join('\n');
}

registerHooks({
  load(url, context, next) {
    if (!GENERATED.test(url)) return next(url, context);
    return { format: 'module', shortCircuit: true, source: stubOf(url) };
  },
});
