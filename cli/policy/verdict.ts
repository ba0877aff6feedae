/** `policy verdict`: what becomes of flows in a cluster that exists only as manifests. */
import { readFileSync } from 'node:fs';
import type { Policy } from '../../policy/rule.ts';
import { answerAll } from '../../simulations/policy-engines/answer.ts';
import { type Cluster, NoSuchEnd, partyOf } from '../../simulations/policy-oracle/cluster.ts';
import type { Flow, Verdict } from '../../simulations/policy-oracle/flow.ts';
import { print, printJson } from '../output/print.ts';
import { type Cell, formatTable } from '../output/table.ts';
import { UsageError } from '../usage.ts';
import { parseFlows } from './flows.ts';
import { readPolicyManifests } from './manifests.ts';
import { readPolicies } from './policies.ts';

export interface VerdictOptions {
  manifests: string;
  flows: string;
  engine: 'model' | 'bpf';
  enforcement: 'default' | 'always' | 'never';
  isJson: boolean;
}

/** A flow that cannot be asked about is denied, and the exit code says that there is one. */
interface Answer extends Verdict {
  error?: string;
}

export async function runVerdict(options: VerdictOptions): Promise<number> {
  const { objects, notes } = readPolicyManifests(options.manifests);
  const flows = parseFlows(readFlows(options.flows), options.flows);
  const { policies, problems } = readPolicies(objects);
  for (const text of [...notes, ...problems]) say(text);
  const cluster: Cluster = {
    objects,
    clusterName: 'default',
    enforcement: options.enforcement,
    // Policies of nodes are asked about as if every node enforced them.
    hostFirewall: true,
  };
  const errors = flows.map((flow) => errorOf(cluster, flow));
  const sound = flows.filter((_, i) => errors[i] === undefined);
  const verdicts = (await ask(options.engine, cluster, policies, sound)).values();
  const answers = flows.map((flow, i): Answer => {
    const error = errors[i];
    return error === undefined ? (verdicts.next().value as Verdict) : unanswered(flow, error);
  });
  for (const { id, error } of answers) if (error !== undefined) say(`flow ${id}: ${error}`);
  if (options.isJson) printJson(answers);
  else print(tableOf(flows, answers));
  return answers.some(({ error }) => error !== undefined) ? 1 : 0;
}

async function ask(
  name: VerdictOptions['engine'],
  cluster: Cluster,
  policies: readonly Policy[],
  flows: readonly Flow[],
): Promise<Verdict[]> {
  const { ModelEngine, ProgramEngine } = await import('../../simulations/policy-engines/engines.ts');
  if (name === 'model') return answerAll(cluster, policies, flows, new ModelEngine());
  const engine = new ProgramEngine('verdict');
  try {
    return await answerAll(cluster, policies, flows, engine);
  } finally {
    engine.close();
  }
}

function errorOf(cluster: Cluster, { from, to }: Flow): string | undefined {
  try {
    partyOf(cluster, from, to);
    partyOf(cluster, to, from);
    return undefined;
  } catch (error) {
    if (error instanceof NoSuchEnd) return error.message;
    throw error;
  }
}

function readFlows(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`flows ${path}: ${error instanceof Error ? error.message : error}`);
  }
}

const say = (text: string): boolean => process.stderr.write(`axoneme policy: ${text}\n`);

const unanswered = ({ id }: Flow, error: string): Answer => ({
  id,
  verdict: 'denied',
  ingress: 'not-enforced',
  egress: 'not-enforced',
  matchedBy: [],
  error,
});

function tableOf(flows: readonly Flow[], answers: readonly Answer[]): string {
  const end = (one: Flow['from']): string => ('pod' in one ? one.pod : 'ip' in one ? one.ip : one.entity);
  const rows = answers.map(({ id, verdict, egress, ingress, matchedBy }, i): Cell[] => {
    const { from, to, port, protocol } = flows[i] as Flow;
    return [id, end(from), end(to), `${port}/${protocol}`, egress, ingress, verdict, matchedBy];
  });
  return formatTable(['ID', 'FROM', 'TO', 'PORT', 'EGRESS', 'INGRESS', 'VERDICT', 'POLICIES'], rows);
}
