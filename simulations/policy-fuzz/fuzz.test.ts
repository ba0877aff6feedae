/**
 * Random clusters and policies: the resolver's entries in the packet model, the real programs with the same entries, and the oracle that
 * walks every rule say the same of every flow.
 */
import * as fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { KubeObject } from '../../cluster/events.ts';
import { parsePolicy } from '../../policy/parse.ts';
import { problemText } from '../../policy/rule.ts';
import { answerAll } from '../policy-engines/answer.ts';
import { ModelEngine, ProgramEngine } from '../policy-engines/engines.ts';
import { type Cluster, judgeAll, type Verdict } from '../policy-oracle/oracle.ts';
import { type Scenario, scenarios } from './generate.ts';

const FLOWS = 100;
const runs = Number(process.env.SCENARIOS ?? 600);
const FLOWS_MIN = 20_000;
/** `SEED,PATH` of a failure, as it prints them. */
const replayed = process.env.REPLAY;

let programs: ProgramEngine;
const model = new ModelEngine();
const seen: Record<string, number> = {};
let asked = 0;

beforeAll(() => {
  programs = new ProgramEngine('policy-fuzz');
});
afterAll(() => programs?.close());

const policiesOf = (objects: readonly KubeObject[]) =>
  objects
    .filter(({ kind }) => kind.endsWith('NetworkPolicy'))
    .map((object) => {
      const { policy, problems } = parsePolicy(object);
      if (!policy || problems.length > 0)
        throw new Error(`${object.metadata.name} is refused: ${problems.map(problemText).join('; ')}`);
      return policy;
    });

const shown = ({ verdict, egress, ingress, matchedBy }: Verdict): string =>
  `${verdict} (egress ${egress}, ingress ${ingress}) by ${matchedBy.join(', ') || 'nobody'}`;

/** `left` policies are kept from resolver and programs. */
async function disagreements({ objects, flows, hostFirewall, enforcement }: Scenario, left = 0): Promise<string[]> {
  const cluster: Cluster = { objects, clusterName: 'default', enforcement, hostFirewall };
  const policies = policiesOf(objects).slice(left);
  const right = judgeAll(cluster, flows);
  const byModel = await answerAll(cluster, policies, flows, model);
  const byPrograms = await answerAll(cluster, policies, flows, programs);
  asked += flows.length;
  for (const { verdict, egress, ingress } of right)
    for (const kind of [verdict, `egress ${egress}`, `ingress ${ingress}`]) seen[kind] = (seen[kind] ?? 0) + 1;
  return flows.flatMap((flow, i) => {
    const texts = { oracle: right[i], resolver: byModel[i], programs: byPrograms[i] };
    const said = Object.entries(texts).map(([who, verdict]) => [who, verdict ? shown(verdict) : ''] as const);
    if (new Set(said.map(([, text]) => text)).size === 1) return [];
    return [`${JSON.stringify(flow)}\n${said.map(([who, text]) => `  ${who.padEnd(9)} ${text}`).join('\n')}`];
  });
}

test('resolver, programs and oracle agree', async () => {
  await fc.assert(
    fc.asyncProperty(scenarios(FLOWS), async (scenario) => {
      const wrong = await disagreements(scenario);
      if (wrong.length === 0) return;
      throw new Error(
        `${wrong.slice(0, 5).join('\n')}\nin\n${scenario.objects.map((one) => JSON.stringify(one)).join('\n')}`,
      );
    }),
    { numRuns: runs, ...(replayed && { seed: Number(replayed.split(',')[0]), path: replayed.split(',')[1] ?? '' }) },
  );
  if (replayed || process.env.SCENARIOS) return;
  expect(asked).toBeGreaterThanOrEqual(FLOWS_MIN);
  // What a test never saw it has not tested.
  for (const kind of [
    'allowed',
    'denied',
    'redirected-denied',
    'egress denied',
    'ingress denied',
    'egress allowed',
    'ingress allowed',
  ])
    expect(seen[kind], `${kind} of ${JSON.stringify(seen)}`).toBeGreaterThan(runs / 25);
}, 120_000);

test('a harness that sees nothing would be seen: without one of the policies they differ', async () => {
  let differing = 0;
  for (const scenario of fc.sample(scenarios(FLOWS), 30))
    if ((await disagreements(scenario, 1)).length > 0) differing++;
  expect(differing).toBeGreaterThan(3);
});
