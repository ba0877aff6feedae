/** What is expected by hand is what the oracle says: of every policy, every pair. */
import { expect, test } from 'vitest';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../../../cluster/events.ts';
import { judgeAll } from '../../../policy-oracle/oracle.ts';
import { flowOf, outside, pairsOf, pairText, pods, townManifests } from '../town.ts';
import { isExpected } from './expectation.ts';
import { cases } from './index.ts';

const read = (yaml: string): KubeObject[] =>
  parseAllDocuments(yaml).flatMap((document) => (document.toJS() as KubeObject | null) ?? []);
const town = read(townManifests(() => ['prober'])).map((object) =>
  object.kind === 'Pod' ? { ...object, spec: { ...(object.spec as object), nodeName: 'node-1' } } : object,
);
const node = { apiVersion: 'v1', kind: 'Node', metadata: { name: 'node-1', labels: {} } };
const pairs = pairsOf(
  new Map([
    ...pods.map((pod, i): [string, string[]] => [pod, [`10.0.1.${i + 2}`, `fd00::${i + 2}`]]),
    ['host', ['172.28.1.10', 'fd00:28::10']],
    ['outside', [outside.v4, outside.v6]],
  ]),
);

test('there are at least 120 policies, each with a name of its own, nearly all with expectations by hand', () => {
  expect(cases.length).toBeGreaterThanOrEqual(120);
  expect(new Set(cases.map(({ name }) => name)).size).toBe(cases.length);
});

test.each(cases.filter(({ expect: lines }) => lines !== undefined))('$name', ({ yaml, expect: lines = [] }) => {
  const cluster = {
    objects: [...town, node, ...read(yaml)],
    clusterName: 'default',
    enforcement: 'default',
    hostFirewall: false,
  } as const;
  const verdicts = judgeAll(cluster, pairs.map(flowOf));
  const wrong = pairs.flatMap((pair, i) => {
    const isAllowed = verdicts[i]?.verdict === 'allowed';
    return isAllowed === isExpected(lines, pair) ? [] : [`${pairText(pair)}: the oracle says ${verdicts[i]?.verdict}`];
  });
  expect(wrong).toEqual([]);
});
