/**
 * Runs on a lab kernel: our programs on two pods, wired by hand, and a connection between them over each family. Prints what it
 * finds as JSON; a program that the verifier refuses is told with the end of the verifier's log.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { NativeError, supportsTcx } from '../../native/index.ts';
import { attachDatapath, type Datapath, type WiredNode, wireNode } from '../wired-node.ts';

const objectPath = join(import.meta.dirname, '../../bpf/build/datapath.o');
const verifierLogChars = 4_000;
const server = `require('node:http').createServer((_, answer) => answer.end('hello')).listen(8080, '::', () => console.log('ready'))`;

async function talk({ pods: [from, to] }: WiredNode, { object }: Datapath) {
  if (from === undefined || to === undefined) throw new Error('two pods were asked for');
  const web = spawn('nsenter', [`--net=${to.netns}`, process.execPath, '-e', server]);
  const curl = ['curl', '--silent', '--show-error', '--max-time', '20'];
  const get = (address: string) =>
    execFileSync('nsenter', [`--net=${from.netns}`, ...curl, `http://${address}:8080/`], { encoding: 'utf8' });
  try {
    await once(web.stdout, 'data');
    return {
      tcx: supportsTcx(),
      programs: object.programs().map(({ name }) => name),
      ipv4: get(to.ipv4),
      ipv6: get(`[${to.ipv6}]`),
      connections: object.map('conntrack').entries().length,
    };
  } finally {
    web.kill();
  }
}

const node = wireNode(`axt-${process.pid}-`, 2);
try {
  const datapath = attachDatapath(node, objectPath);
  try {
    console.log(JSON.stringify(await talk(node, datapath)));
  } finally {
    datapath.close();
  }
} catch (error) {
  if (!(error instanceof NativeError)) throw error;
  console.error(`${error.message}\n${error.verifierLog?.slice(-verifierLogChars) ?? ''}`);
  process.exitCode = 1;
} finally {
  node.remove();
}
