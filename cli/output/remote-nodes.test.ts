/** Other nodes as people see them: which state, and what each probe said. */
import { describe, expect, test } from 'vitest';
import { type NodesView, type ProbeView, reached } from '../../observe/remote-nodes.ts';
import { coloursFor } from './colours.ts';
import { clusterHealth, nodesText } from './remote-nodes.ts';

const probe = (over: Partial<ProbeView>): ProbeView => ({
  ...{ target: 'node', protocol: 'ICMP', address: '192.0.2.2', port: 0, status: 'reachable', latencyMs: 0.25 },
  ...over,
});

test.each<[string, ProbeView[], string]>([
  ['one answer is enough', [probe({ status: 'unreachable' }), probe({ protocol: 'TCP' })], 'reachable'],
  ['none at all is silence', [probe({ status: 'unreachable' })], 'unreachable'],
  ['who was not asked is not known', [probe({ status: 'unreachable' }), probe({ status: 'unknown' })], 'unknown'],
  ['of another target nothing follows', [probe({ target: 'endpoint' })], 'unknown'],
])('%s', (_what, probes, status) => {
  expect(reached(probes, 'node')).toBe(status);
});

describe('table', () => {
  const plain = coloursFor({ isTTY: false } as typeof process.stdout);
  test('has a line for each node, and what stands in its way', () => {
    const view: NodesView = {
      node: 'node-1',
      nodes: [
        {
          ...{ name: 'node-2', state: 'unreachable', address: '192.0.2.2', podCidrs: [] },
          problems: ['10.0.2.0/24 is in use by node node-9'],
          probes: [
            probe({ status: 'unreachable', error: 'no reply in 5000 ms' }),
            probe({ protocol: 'TCP', status: 'unknown' }),
          ],
        },
        { name: 'node-3', state: 'reachable', address: '192.0.2.3', podCidrs: [], problems: [], probes: [probe({})] },
      ],
    };
    const text = nodesText(view, plain);
    expect(text).toMatch(
      /^node-2 +unreachable +192\.0\.2\.2 +192\.0\.2\.2: no reply in 5000 ms +not asked yet +- +-$/m,
    );
    expect(text).toMatch(/^node-3 +reachable +192\.0\.2\.3 +ok 0\.25 ms +- +- +-$/m);
    expect(text).toContain('  node-2: 10.0.2.0/24 is in use by node node-9\n');
    expect(nodesText({ node: 'node-1', nodes: [] }, plain)).toBe('no other nodes\n');
  });
});

describe('health of the cluster in one line', () => {
  const plain = coloursFor({ isTTY: false } as typeof process.stdout);
  const health = (...nodes: ProbeView[][]): string =>
    clusterHealth(
      {
        node: 'node-1',
        nodes: nodes.map((probes, i) => ({
          ...{ name: `node-${i + 2}`, state: 'reachable', address: '', podCidrs: [], problems: [], probes },
        })),
      },
      plain,
    );
  const silent = [probe({}), probe({ protocol: 'TCP', status: 'unreachable' })];
  test.each<[string, ProbeView[][], string]>([
    ['this node is one of them', [[probe({})], [probe({ status: 'unknown' })]], '3/3 reachable'],
    ['one probe without an answer is said', [[probe({})], silent], '2/3 reachable; no answer from node-3: node TCP'],
    ['many are not all named', Array.from({ length: 9 }, () => silent), ' and 6 more'],
    ['where nobody is asked there is none', [[], []], ''],
  ])('%s', (_what, nodes, text) =>
    text ? expect(health(...nodes)).toContain(text) : expect(health(...nodes)).toBe(''),
  );
});
