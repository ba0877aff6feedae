/**
 * Takes the types out of the page's modules and prints them as JSON, `{name: code}`.
 *
 * - A process of its own: the compiler that Node brings would otherwise stay in the agent's memory (15 MB).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';

const directory = process.argv[2] ?? '';
const modules = readdirSync(directory).filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'));
const stripped = modules.map((name) => [name, stripTypeScriptTypes(readFileSync(join(directory, name), 'utf8'))]);
process.stdout.write(JSON.stringify(Object.fromEntries(stripped)));
