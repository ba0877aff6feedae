/** Debian's kernels take the addon and the programs, and pods talk through them. A boot for each question. */
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bootAndRun } from './boot.ts';
import { kernelOf, labSeries } from './kernels.ts';

const root = join(import.meta.dirname, '../..');
/** An emulated processor is some twenty times slower, and there are an API server and an agent to start. */
const clusterTimeoutMs = 840_000;
const node = 'node_modules/node/bin/node --disable-warning=ExperimentalWarning';

describe.each(labSeries)('Linux %s', (series) => {
  const inGuest = async (command: string, timeoutMs = 300_000) => {
    const outcome = await bootAndRun(kernelOf(series), { folder: root, command, timeoutMs });
    expect(outcome.code, `${outcome.output}\n${outcome.console}`).toBe(0);
    return outcome.output;
  };

  test('loads the addon and our programs, and two pods talk through them', async () => {
    const [release, json = ''] = (await inGuest(`uname -r; ${node} simulations/lab/pod-to-pod.ts`)).trim().split('\n');
    expect(release).toMatch(new RegExp(`^${series.replace('.', '\\.')}\\.`));
    const found = JSON.parse(json);
    expect(found).toMatchObject({ ipv4: 'hello', ipv6: 'hello', tcx: series !== '6.1' });
    expect(found.programs).toEqual([
      'from_endpoint',
      'to_endpoint',
      'from_netdev',
      'to_netdev',
      'from_overlay',
      'from_host',
      'from_wireguard',
    ]);
    expect(found.connections).toBe(2);
  });

  test('carries an embedded cluster: agent, CNI plugin, a request from pod to pod, and nothing left behind', async () => {
    const output = await inGuest('sh simulations/lab/cluster.sh', clusterTimeoutMs);
    expect(output.trim().split('\n')).toEqual(['server', 'server', 'veth', 'left: 0 namespaces, 0 pins']);
  });
});
