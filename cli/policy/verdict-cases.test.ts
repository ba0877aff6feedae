/** Verdicts as the documentation of Kubernetes and of Cilium says, case by case (testdata/cases.yaml), by the model and by the real programs. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { answerAll, type Engine } from '../../simulations/policy-engines/answer.ts';
import { ModelEngine, ProgramEngine } from '../../simulations/policy-engines/engines.ts';
import type { Entity, Flow, FlowEnd } from '../../simulations/policy-oracle/flow.ts';
import { readPolicyManifests } from './manifests.ts';
import { readPolicies } from './policies.ts';

const dir = mkdtempSync(join(tmpdir(), `axt-${process.pid}-cases-`));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
const read = (file: string): string => readFileSync(new URL(`testdata/${file}`, import.meta.url), 'utf8');

interface Case {
  name: string;
  manifests: string;
  /** `FROM > TO:PORT/PROTOCOL VERDICT` */
  lines: string[];
}
const cluster = read('cluster.yaml');
const cases = read('cases.yaml')
  .split('# ====\n')
  .map((text): Case => {
    const lines = text.split('\n');
    const said = lines.filter((line) => line.startsWith('#> ')).map((line) => line.slice(3));
    return { name: lines.findLast((line) => line.startsWith('# '))?.slice(2) ?? '', manifests: text, lines: said };
  });

const entities: readonly string[] = ['host', 'remote-node', 'world', 'kube-apiserver'];
function endOf(text: string): FlowEnd {
  if (entities.includes(text)) return { entity: text as Entity };
  return text.includes('/') ? { pod: text } : { ip: text };
}
function flowOf(line: string): Flow {
  const [, from = '', to = '', port = '', protocol = ''] = /^(\S+) > (\S+):(\d+)\/(\w+) /.exec(line) ?? [];
  return { id: line, from: endOf(from), to: endOf(to), port: Number(port), protocol: protocol as Flow['protocol'] };
}

async function verdicts({ manifests, lines }: Case, engine: Engine): Promise<string[]> {
  const file = join(dir, 'all.yaml');
  writeFileSync(file, `${cluster}\n---\n${manifests}`);
  const { objects } = readPolicyManifests(file);
  const { policies, problems } = readPolicies(objects);
  expect(problems.filter((problem) => problem.includes('not valid'))).toEqual([]);
  const world = { objects, clusterName: 'default', enforcement: 'default', hostFirewall: true } as const;
  const answers = await answerAll(world, policies, lines.map(flowOf), engine);
  return answers.map(({ id, verdict }) => `${String(id).replace(/ \S+$/, '')} ${verdict}`);
}

describe.each([
  ['model', () => new ModelEngine()],
  ['bpf', () => new ProgramEngine('cases')],
] as const)('engine %s', (_, make) => {
  const engine = make();
  afterAll(() => {
    if (engine instanceof ProgramEngine) engine.close();
  });
  test.each(cases)('$name', async (one) => {
    expect(one.lines.length).toBeGreaterThan(0);
    expect(await verdicts(one, engine)).toEqual(one.lines);
  });
});
