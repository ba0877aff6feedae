/** Associations between pods of different nodes, at their addresses and at the node ports of a service; see `sctp-ends.c`. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { run, until } from '../embedded.ts';
import { type Country, hosts, pods } from './country.ts';

const PORT = 7_777;
const NODE_PORT = 30_086;
const service = `apiVersion: v1
kind: Service
metadata: {namespace: demo, name: association}
spec:
  type: NodePort
  selector: {kind: pod}
  ipFamilyPolicy: RequireDualStack
  ports: [{name: sctp, protocol: SCTP, port: 3868, targetPort: ${PORT}, nodePort: ${NODE_PORT}}]
`;

/** Asks all questions, each until it is answered; throws when one is not in time. Files go to `dir`. */
export async function associate({ cluster, addresses }: Country, dir: string, timeoutMs: number): Promise<void> {
  const ends = join(dir, 'sctp-ends');
  execFileSync('cc', ['-O2', '-Wall', '-Werror', '-o', ends, new URL('../sctp-ends.c', import.meta.url).pathname]);
  const seconds = String(Math.ceil(timeoutMs / 1_000));
  const serving = pods.map((pod) =>
    cluster.exec(`demo/${pod}`, ['timeout', seconds, ends, 'serve', String(PORT), pod]),
  );
  const file = join(dir, 'association.yaml');
  writeFileSync(file, service);
  const { code, stderr } = await cluster.kubectl('apply', '-f', file);
  if (code !== 0) throw new Error(stderr);
  let ownPort = 20_000;
  const asks = (from: string, address: string, port: number, isAnswer: (by: string) => boolean): Promise<true> =>
    until(`${from} has an association with ${address}, port ${port}`, timeoutMs, async () => {
      const words = [ends, 'ask', '-', address, String(port), String(ownPort++)];
      return isAnswer((await cluster.exec(`demo/${from}`, words)).stdout.trim()) || undefined;
    });
  try {
    for (const from of pods) {
      for (const to of pods.filter((pod) => pod !== from))
        for (const address of addresses.of[to]) await asks(from, address, PORT, (by) => by === to);
      for (const node of hosts)
        for (const address of addresses.of[node])
          await asks(from, address, NODE_PORT, (by) => (pods as readonly string[]).includes(by));
    }
  } finally {
    await cluster.kubectl('delete', '-f', file, '--wait=false');
    await run('pkill', ['-f', `^${ends} serve`]);
    await Promise.all(serving);
  }
}
