/** Installs a release on a node that is there, in a process of its own that may be killed: node install.ts PREFIX NODE(JSON) VERSION */
import type { WiredNode } from '../wired-node.ts';
import { Installed } from './installed.ts';

const [prefix = '', node = '', version = ''] = process.argv.slice(2);
console.log('loading');
await new Installed(prefix, JSON.parse(node) as WiredNode).install(version);
process.exit(0);
